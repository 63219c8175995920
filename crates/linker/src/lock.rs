//! One lock over all loading and unloading in the process, which its owner may take again: constructors that
//! run under it load libraries themselves.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, PoisonError};

struct Owner {
    thread: u64,
    depth: u32,
    /// How many threads wait.
    waiting: u32,
}

static OWNER: Mutex<Owner> = Mutex::new(Owner { thread: 0, depth: 0, waiting: 0 });
static FREE: Condvar = Condvar::new();

/// Holds the lock until it is dropped, by the thread that took it.
pub(crate) struct Held {
    not_send: PhantomData<*const ()>,
}

/// Waits until no other thread loads or unloads.
pub(crate) fn hold() -> Held {
    let me = this_thread();
    let mut owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner);
    while owner.depth > 0 && owner.thread != me {
        owner.waiting += 1;
        owner = FREE.wait(owner).unwrap_or_else(PoisonError::into_inner);
        owner.waiting -= 1;
    }
    owner.thread = me;
    owner.depth += 1;
    Held { not_send: PhantomData }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner);
        owner.depth -= 1;
        if owner.depth == 0 && owner.waiting > 0 {
            FREE.notify_one();
        }
    }
}

/// A number that no other thread has, never 0. Never given out twice, other than a thread's address.
fn this_thread() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static MINE: Cell<u64> = const { Cell::new(0) });
    MINE.with(|mine| {
        if mine.get() == 0 {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        mine.get()
    })
}
