//! What outlives a patch, and a `fork`.

use super::address::Island;
use super::environment::Invitation;
use super::fork_lock::{ForkGuard, ForkLock};
use livepatch_proto::{Origin, Redirection};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What a commit changes, apart from the program. Never allocated or freed under the lock: an
/// allocator's own preparation for a `fork` may come before the agent's, and hold its locks.
pub(crate) struct Live {
    islands: Option<Arc<[Island]>>,
}

/// What the constructor found out, once.
#[derive(Debug)]
pub(crate) struct Session {
    /// Whom to dial.
    pub(crate) invitation: Invitation,
    /// The self-test's result.
    pub(crate) redirection: Redirection,
}

static LIVE: ForkLock<Live> = ForkLock::new(Live { islands: None });
static CURRENT: AtomicU32 = AtomicU32::new(0);
/// The process that forks, or did last; the parent of this one, if that is how it came to be.
static FORKING: AtomicU32 = AtomicU32::new(0);
static PARENT: AtomicU32 = AtomicU32::new(0);
static LOADING: AtomicBool = AtomicBool::new(false);
static SESSION: OnceLock<Session> = OnceLock::new();

/// The patch the process is at.
pub(crate) fn current() -> u32 {
    CURRENT.load(Ordering::Acquire)
}

/// How this process came to be.
pub(crate) fn origin() -> Origin {
    match PARENT.load(Ordering::Acquire) {
        0 => Origin::Started,
        parent => Origin::Forked { parent },
    }
}

pub(crate) fn set_session(session: Session) {
    // The constructor runs once.
    drop(SESSION.set(session));
}

pub(crate) fn session() -> Option<&'static Session> {
    SESSION.get()
}

/// The islands of all patches that went live.
pub(crate) fn islands() -> Arc<[Island]> {
    let islands = LIVE.lock().islands.clone();
    islands.unwrap_or_default()
}

/// Holds off `fork`. Nothing must be allocated or freed until the guard is dropped.
pub(crate) fn commit() -> ForkGuard<'static, Live> {
    LIVE.lock()
}

impl Live {
    /// A commit's last step. The islands that were recorded so far change places with `islands`.
    pub(crate) fn set_current(&mut self, patch: u32, islands: Option<&mut Arc<[Island]>>) {
        if let Some(islands) = islands {
            match &mut self.islands {
                Some(old) => std::mem::swap(old, islands),
                none => *none = Some(islands.clone()),
            }
        }
        CURRENT.store(patch, Ordering::Release);
    }
}

/// Asks `fork` to wait a little while `work` keeps the dynamic linker busy, so that a child does not
/// inherit its list half changed. Only a little: a library's constructor may fork.
pub(crate) fn while_loading<T>(work: impl FnOnce() -> T) -> T {
    LOADING.store(true, Ordering::SeqCst);
    let value = work();
    LOADING.store(false, Ordering::SeqCst);
    value
}

/// Before a `fork`.
pub(crate) fn hold() {
    let begun = Instant::now();
    while LOADING.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_millis(50) {
        std::thread::sleep(Duration::from_micros(20));
    }
    LIVE.acquire();
    FORKING.store(std::process::id(), Ordering::Release);
}

/// After a `fork`, in the parent.
pub(crate) fn release() {
    LIVE.release();
}

/// After a `fork`, in the child.
pub(crate) fn release_in_child() {
    LOADING.store(false, Ordering::SeqCst);
    PARENT.store(FORKING.load(Ordering::Acquire), Ordering::Release);
    LIVE.release();
}
