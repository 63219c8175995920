//! The image from which the C library makes the reserve of every new thread, and its changes.
//!
//! The C library copies it whenever it likes, in the middle of a change too. So changes are counted, as
//! in a sequence lock: odd during one. A new thread that sees another count than its maker did copies
//! the image itself (`threads::begin`).

use super::{SIZE, arch, bytes, no_reserve};
use crate::agent::address::Span;
use crate::agent::loader;
use crate::agent::memory::{Protection, protect};
use crate::agent::thread::nap_while;
use livepatch_proto::{ApplyError, TlsInit};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

static EDITS: AtomicU32 = AtomicU32::new(0);
/// Where the image is; 0 before the first change.
static IMAGE: AtomicU64 = AtomicU64::new(0);

/// How long a thread waits for a change to be over: it takes microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the image was changed, doubled; odd during a change.
pub(crate) fn edits() -> u32 {
    EDITS.load(Ordering::SeqCst)
}

/// The image, and what of the module is read-only by now.
fn find() -> Option<(Span, Option<Span>)> {
    let here = super::block(arch::thread_pointer())?;
    loader::visit_modules(|module| {
        let distance = here.wrapping_sub(module.tls_block);
        let Some(image) =
            module.tls_image().filter(|image| module.tls_block != 0 && distance < image.length())
        else {
            return ControlFlow::Continue(());
        };
        let found = Span::new(image.start() + distance, SIZE.into()).filter(|span| image.contains(*span));
        ControlFlow::Break(found.map(|span| (span, module.relro())))
    })
    .flatten()
}

/// Writes initial values, which passed `check`, for threads that start from now on; returns what was
/// there before. On an error nothing has changed.
pub(super) fn edit(inits: &[TlsInit]) -> Result<Vec<TlsInit>, ApplyError> {
    let (span, relro) = find().ok_or_else(no_reserve)?;
    let pages = span.pages();
    protect(pages, Protection::ReadWrite)?;
    IMAGE.store(span.start(), Ordering::Release);
    EDITS.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the checked values lie in the image, which is mapped as long as the agent is, and writable
    // now. Only the agent's thread writes; who reads meanwhile sees an odd count, or two.
    let old = unsafe { bytes::exchange(span.start(), inits) };
    EDITS.fetch_add(1, Ordering::SeqCst);
    if let Some(closed) = relro.and_then(|relro| relro.read_only_within(pages)) {
        // A page that stays writable works as well.
        let _ = protect(closed, Protection::Read);
    }
    Ok(old)
}

/// Copies the image to this thread's own reserve, unless it was changed `known` times as it is now.
/// Returns how often it was changed when it was copied.
///
/// To be called before the thread runs code of the program, so that nothing of worth is overwritten.
pub(crate) fn copy_unless(known: u32) -> u32 {
    let mut copied = known;
    nap_while(PATIENCE, || {
        let now = EDITS.load(Ordering::SeqCst);
        if now.is_multiple_of(2) && now == copied {
            return false;
        }
        let Some(own) = super::block(arch::thread_pointer()) else { return false };
        // SAFETY: the reserve is this thread's own, and mapped; the image is, once there was a change.
        unsafe { bytes::copy(IMAGE.load(Ordering::Acquire), own, SIZE) };
        fence(Ordering::Acquire);
        copied = now;
        // Whether it was changed meanwhile.
        now % 2 == 1 || EDITS.load(Ordering::SeqCst) != now
    });
    copied
}

/// After a `fork`, in the child: nobody is in the middle of a change any more.
pub(crate) fn in_child() {
    if edits() % 2 == 1 {
        EDITS.fetch_add(1, Ordering::SeqCst);
    }
}
