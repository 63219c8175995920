//! The jump table that holds now, for every thread. Hazard: a pointer that one thread replaces while others
//! follow it.

use crate::jump_table::JumpTable;
use std::sync::atomic::{AtomicPtr, Ordering};

static CURRENT: AtomicPtr<JumpTable> = AtomicPtr::new(std::ptr::null_mut());

/// The table; none as long as nothing is redirected.
#[inline]
pub(crate) fn current() -> Option<&'static JumpTable> {
    // SAFETY: `publish` stored the pointer, made from a reference that holds for ever to a table that nobody
    // writes; it was complete before the Release store that this Acquire load sees.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

/// Has every later call ask `table`. Calls that are under way may still ask the one before, which stays.
pub(crate) fn publish(table: Option<&'static JumpTable>) {
    let table = table.map_or(std::ptr::null_mut(), |table| std::ptr::from_ref(table).cast_mut());
    CURRENT.store(table, Ordering::Release);
}
