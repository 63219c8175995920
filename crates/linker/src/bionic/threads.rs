//! Threads. What glibc uses of its structures fits into bionic's, and those that are initialised as usual are all
//! zeros in both; recursive mutexes and those that check for errors are not. On AArch64 glibc's mutexes and attributes
//! are longer, by bytes that it fills with zeros and does not use.

use super::Symbols;
use libc::{pthread_cond_t, pthread_mutex_t, timespec};
use std::ffi::c_int;
use std::mem::MaybeUninit;
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

/// Bytes of bionic's mutexes and attributes on 64-bit machines.
const MUTEX: usize = 40;
const ATTRIBUTES: usize = 56;

/// Has glibc fill one of its own structures, of which the first bytes are what bionic's is.
///
/// # Safety
/// There is room for `length` bytes, which are no more than glibc's structure has.
unsafe fn fill<T>(to: *mut T, length: usize, make: impl FnOnce(*mut T) -> c_int) -> c_int {
    let mut made = MaybeUninit::<T>::zeroed();
    let result = make(made.as_mut_ptr());
    if result == 0 {
        // SAFETY: the caller's promise; `made` is another place.
        unsafe { to.cast::<u8>().copy_from_nonoverlapping(made.as_ptr().cast(), length) };
    }
    result
}

unsafe extern "C" fn mutex_init(
    mutex: *mut pthread_mutex_t,
    attributes: *const libc::pthread_mutexattr_t,
) -> c_int {
    // SAFETY: the caller's attributes, and room for a mutex of bionic's.
    unsafe { fill(mutex, MUTEX, |mutex| libc::pthread_mutex_init(mutex, attributes)) }
}

unsafe extern "C" fn attr_init(attributes: *mut libc::pthread_attr_t) -> c_int {
    // SAFETY: room for attributes of bionic's.
    unsafe { fill(attributes, ATTRIBUTES, |attributes| libc::pthread_attr_init(attributes)) }
}

/// What bionic takes, glibc takes for too little on some machines: it counts in what its own structures need.
unsafe extern "C" fn attr_setstacksize(attributes: *mut libc::pthread_attr_t, size: usize) -> c_int {
    const LEAST: usize = 8192;
    // SAFETY: it takes any number.
    let least = usize::try_from(unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) }).unwrap_or(LEAST);
    let size = if size < LEAST { size } else { size.max(least) };
    // SAFETY: the caller's attributes.
    unsafe { libc::pthread_attr_setstacksize(attributes, size) }
}

unsafe extern "C" fn getattr_np(thread: libc::pthread_t, attributes: *mut libc::pthread_attr_t) -> c_int {
    // SAFETY: the caller's thread, and room for attributes of bionic's.
    unsafe { fill(attributes, ATTRIBUTES, |attributes| libc::pthread_getattr_np(thread, attributes)) }
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
        ("pthread_mutex_init", mutex_init as *const ()),
        ("pthread_attr_init", attr_init as *const ()),
        ("pthread_getattr_np", getattr_np as *const ()),
        ("pthread_attr_setstacksize", attr_setstacksize as *const ()),
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
