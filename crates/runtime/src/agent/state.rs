//! What outlives a patch, and a `fork`.

use super::address::{Island, SlotAddress, Target};
use super::environment::Invitation;
use super::fork_lock::{ForkGuard, ForkLock};
use super::memory;
use super::thread::nap_while;
use livepatch_proto::{Origin, Redirected, Redirection, Shim};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

/// What a commit changes, apart from the program. Never allocated or freed under the lock: an
/// allocator's own preparation for a `fork` may come before the agent's, and hold its locks.
pub(crate) struct Live {
    lasting: Option<Lasting>,
    settling: Option<Settling>,
}

/// What patches left for as long as the process lives.
#[derive(Clone, Default)]
pub(crate) struct Lasting {
    /// The islands of all patches that went live.
    pub(crate) islands: Arc<[Island]>,
    /// The functions that they redirected.
    pub(crate) redirected: Arc<[Redirected]>,
    /// The shims that stay at some of them.
    pub(crate) shims: Arc<[Shim]>,
}

/// A patch whose code is changed, without effect so far: what is left to do cannot fail.
pub(crate) struct Settling {
    /// Its number.
    pub(crate) patch: u32,
    /// Where slots will point.
    pub(crate) slots: Vec<(SlotAddress, Target)>,
    /// What there is for ever, of its own included.
    pub(crate) lasting: Lasting,
}

/// A server, and what it needs to know.
#[derive(Debug)]
pub(crate) struct Session {
    /// Whom to dial.
    pub(crate) invitation: Invitation,
    /// The self-test's result.
    pub(crate) redirection: Redirection,
}

static LIVE: ForkLock<Live> = ForkLock::new(Live { lasting: None, settling: None });
static CURRENT: AtomicU32 = AtomicU32::new(0);
/// The process that forks, or did last; the parent of this one, if that is how it came to be.
static FORKING: AtomicU32 = AtomicU32::new(0);
static PARENT: AtomicU32 = AtomicU32::new(0);
static LOADING: AtomicBool = AtomicBool::new(false);
/// The latest session. Those before it are leaked: some thread may have one in its hands yet.
static SESSION: AtomicPtr<Session> = AtomicPtr::new(std::ptr::null_mut());

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

/// A session begins. Whatever this process was forked from is of another one.
pub(crate) fn begin_session(session: Session) {
    PARENT.store(0, Ordering::Release);
    SESSION.store(Box::into_raw(Box::new(session)), Ordering::Release);
}

pub(crate) fn session() -> Option<&'static Session> {
    // SAFETY: the pointer is null or a leaked box, complete before the Release store that published it.
    unsafe { SESSION.load(Ordering::Acquire).as_ref() }
}

/// What patches left so far.
pub(crate) fn lasting() -> Lasting {
    let lasting = LIVE.lock().lasting.clone();
    lasting.unwrap_or_default()
}

/// Holds off `fork`. Nothing must be allocated or freed until the guard is dropped.
pub(crate) fn commit() -> ForkGuard<'static, Live> {
    LIVE.lock()
}

impl Live {
    /// A commit's last step. What was recorded as lasting so far changes places with `lasting`.
    pub(crate) fn set_current(&mut self, patch: u32, lasting: Option<&mut Lasting>) {
        if let Some(lasting) = lasting {
            match &mut self.lasting {
                Some(old) => std::mem::swap(old, lasting),
                none => *none = Some(lasting.clone()),
            }
        }
        CURRENT.store(patch, Ordering::Release);
    }

    /// The code of a patch is changed; [`Self::go_live`] does the rest.
    pub(crate) fn settle(&mut self, patch: Settling) {
        self.settling = Some(patch);
    }

    /// Points the slots of the patch that settles to its bodies: the patch is live. What is left of it
    /// is to be dropped when the lock is given back.
    #[must_use]
    pub(crate) fn go_live(&mut self) -> Option<Settling> {
        let mut patch = self.settling.take()?;
        patch.slots.iter().for_each(|&(slot, target)| memory::store_slot(slot, target));
        self.set_current(patch.patch, Some(&mut patch.lasting));
        Some(patch)
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
    nap_while(Duration::from_millis(50), || LOADING.load(Ordering::SeqCst));
    LIVE.acquire();
    FORKING.store(std::process::id(), Ordering::Release);
}

/// After a `fork`, in the parent.
pub(crate) fn release() {
    LIVE.release();
}

/// After a `fork`, in the child.
///
/// A patch that settled in the parent is live in the child at once: the one thread that is left stands
/// in `fork`, and the thread that would have gone on with it is not there.
pub(crate) fn release_in_child() {
    LOADING.store(false, Ordering::SeqCst);
    PARENT.store(FORKING.load(Ordering::Acquire), Ordering::Release);
    // SAFETY: the thread that forked took the lock in `hold`, which makes no guard.
    let mut live = unsafe { LIVE.adopt() };
    let settled = live.go_live();
    drop(live);
    drop(settled);
}
