//! What the program wants to be told of patches that the program itself applies or dialled for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) type Callback = Arc<dyn Fn(u32) + Send + Sync>;

static CALLBACKS: Mutex<Vec<Callback>> = Mutex::new(Vec::new());

pub(crate) fn register(callback: Callback) {
    CALLBACKS.lock().unwrap_or_else(PoisonError::into_inner).push(callback);
}

/// Calls every callback, in the order in which they were registered. One may register another.
pub(crate) fn tell(patch: u32) {
    let callbacks = CALLBACKS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    callbacks.iter().for_each(|callback| call(callback, patch));
}

/// Calls one of them.
pub(crate) fn call(callback: &Callback, patch: u32) {
    // The panic's message went where the program's panics go.
    drop(catch_unwind(AssertUnwindSafe(|| callback(patch))));
}
