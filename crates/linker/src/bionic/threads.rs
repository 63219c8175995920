//! Threads. bionic's and glibc's structures have the same sizes, and those that are initialised as usual are all
//! zeros in both; recursive mutexes and those that check for errors are not.

use super::Symbols;
use libc::{pthread_cond_t, pthread_mutex_t, timespec};
use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The first word of `PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP` and `PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP` (bionic,
/// `pthread.h`: the type is in bits 14 and 15).
const RECURSIVE: i32 = 0x4000;
const ERROR_CHECK: i32 = 0x8000;
/// Which word of glibc's mutex says of what kind it is (`__kind`); its kinds have the same numbers.
const KIND: usize = 4;

/// Makes glibc's initial value of bionic's, once.
///
/// # Safety
/// A mutex of bionic's that is initialised, statically or by glibc's function.
unsafe fn adopt(mutex: *mut pthread_mutex_t) {
    static ADOPTING: Mutex<()> = Mutex::new(());
    let words = mutex.cast::<AtomicI32>();
    // SAFETY: a mutex has ten words, all of which are used atomically or while nobody else uses it: that is
    // so until its first word is set to 0 here, as everybody comes by here first.
    unsafe {
        let first = &*words;
        let magic = first.load(Ordering::Acquire);
        if magic != RECURSIVE && magic != ERROR_CHECK {
            return;
        }
        let _adopting = ADOPTING.lock().unwrap_or_else(PoisonError::into_inner);
        if first.load(Ordering::Acquire) == magic {
            (*words.add(KIND)).store(magic >> 14, Ordering::Relaxed);
            first.store(0, Ordering::Release);
        }
    }
}

unsafe extern "C" fn lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    unsafe {
        adopt(mutex);
        libc::pthread_mutex_lock(mutex)
    }
}

unsafe extern "C" fn trylock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    unsafe {
        adopt(mutex);
        libc::pthread_mutex_trylock(mutex)
    }
}

unsafe extern "C" fn timedlock(mutex: *mut pthread_mutex_t, time: *const timespec) -> c_int {
    // SAFETY: the caller's mutex and time.
    unsafe {
        adopt(mutex);
        libc::pthread_mutex_timedlock(mutex, time)
    }
}

unsafe extern "C" fn unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    unsafe {
        adopt(mutex);
        libc::pthread_mutex_unlock(mutex)
    }
}

unsafe extern "C" fn destroy(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    unsafe {
        adopt(mutex);
        libc::pthread_mutex_destroy(mutex)
    }
}

unsafe extern "C" {
    fn pthread_cond_clockwait(
        condition: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: libc::clockid_t,
        time: *const timespec,
    ) -> c_int;
}

/// bionic's own, from before `pthread_cond_clockwait`.
unsafe extern "C" fn timedwait_monotonic(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: the caller's condition variable, its mutex, which it has locked, and time.
    unsafe { pthread_cond_clockwait(condition, mutex, libc::CLOCK_MONOTONIC, time) }
}

unsafe extern "C" fn gettid_np(thread: libc::pthread_t) -> c_int {
    // SAFETY: it asks about this thread; of others, glibc does not say.
    unsafe { if thread == libc::pthread_self() { libc::gettid() } else { -1 } }
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("pthread_mutex_lock", lock as *const ()),
        ("pthread_mutex_trylock", trylock as *const ()),
        ("pthread_mutex_timedlock", timedlock as *const ()),
        ("pthread_mutex_unlock", unlock as *const ()),
        ("pthread_mutex_destroy", destroy as *const ()),
        ("pthread_cond_timedwait_monotonic_np", timedwait_monotonic as *const ()),
        ("pthread_cond_timedwait_monotonic", timedwait_monotonic as *const ()),
        ("pthread_gettid_np", gettid_np as *const ()),
    ]
}
