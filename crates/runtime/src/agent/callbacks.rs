//! What the program wants to be told (`livepatch::on_patch`, `livepatch::version`).

use super::state;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

type Function = extern "C" fn(*const c_void, u32);

/// A callback that was registered; they are never removed. The list is only ever pushed to its front,
/// so it needs no lock that a `fork` could leave held.
struct Callback {
    function: Function,
    data: *const c_void,
    next: *mut Callback,
}

static FIRST: AtomicPtr<Callback> = AtomicPtr::new(std::ptr::null_mut());

/// Called by name from `livepatch::on_patch`.
#[cfg_attr(feature = "agent", unsafe(no_mangle))]
extern "C" fn livepatch_on_patch(function: Function, data: *const c_void) {
    let mut first = FIRST.load(Ordering::Relaxed);
    let callback = Box::into_raw(Box::new(Callback { function, data, next: first }));
    while let Err(now_first) = FIRST.compare_exchange(first, callback, Ordering::Release, Ordering::Relaxed) {
        first = now_first;
        // SAFETY: the box is leaked, and nobody else knows it before an exchange succeeds.
        unsafe { (*callback).next = first };
    }
}

/// Called by name from `livepatch::version`.
#[cfg_attr(feature = "agent", unsafe(no_mangle))]
extern "C" fn livepatch_version() -> u32 {
    state::current()
}

/// Calls every callback, in no particular order.
pub(crate) fn tell(patch: u32) {
    let mut next = FIRST.load(Ordering::Acquire);
    // SAFETY: entries are leaked boxes, complete before the Release store that made them reachable.
    while let Some(callback) = unsafe { next.as_ref() } {
        (callback.function)(callback.data, patch);
        next = callback.next;
    }
}
