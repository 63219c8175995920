//! A lock that `fork` takes too: a child never sees its contents half changed, nor the lock held.

use super::thread::nap;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

/// A value behind a lock that is held for microseconds, and never across a call that may wait for a
/// lock of the program or the C library other than the allocator's.
pub(crate) struct ForkLock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard only, and `held` lets one guard exist at a time.
unsafe impl<T: Send> Sync for ForkLock<T> {}

impl<T> ForkLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock.
    pub(crate) fn lock(&self) -> ForkGuard<'_, T> {
        self.acquire();
        ForkGuard(self)
    }

    /// Takes the lock without a guard: before a `fork`.
    pub(crate) fn acquire(&self) {
        while self.held.swap(true, Ordering::Acquire) {
            nap();
        }
    }

    /// A guard for the lock that [`Self::acquire`] took: after a `fork`, in the child.
    ///
    /// # Safety
    /// This thread, or the one that it is a copy of, holds the lock, and has no guard for it.
    pub(crate) unsafe fn adopt(&self) -> ForkGuard<'_, T> {
        ForkGuard(self)
    }

    /// Gives the lock back that [`Self::acquire`] took: after a `fork`, in the parent.
    pub(crate) fn release(&self) {
        self.held.store(false, Ordering::Release);
    }
}

/// Access to the value of a [`ForkLock`].
pub(crate) struct ForkGuard<'a, T>(&'a ForkLock<T>);

impl<T> Deref for ForkGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for ForkGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and `&mut self` is the only use of this guard.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for ForkGuard<'_, T> {
    fn drop(&mut self) {
        self.0.release();
    }
}
