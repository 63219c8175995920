//! Threads. Darwin's objects are as large as glibc's or larger, so glibc's live in them; those that are initialised
//! statically begin with a signature, by which they are known when they are first used.

use super::Symbols;
use super::errno::to_darwin;
use libc::{pthread_cond_t, pthread_mutex_t, pthread_mutexattr_t, pthread_rwlock_t, pthread_t, timespec};
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// `_PTHREAD_*_SIG_init` (`pthread_impl.h`).
const MUTEX: u32 = 0x32AA_ABA7;
const ERROR_CHECK_MUTEX: u32 = 0x32AA_ABA1;
const RECURSIVE_MUTEX: u32 = 0x32AA_ABA2;
const FIRST_FIT_MUTEX: u32 = 0x32AA_ABA3;
const CONDITION: u32 = 0x3CB0_B1BB;
const RWLOCK: u32 = 0x2DA8_B3B4;
const ONCE: u32 = 0x30B1_BCBA;

/// Which word of glibc's mutex says of what kind it is (`__kind`).
const KIND: usize = 4;

/// Makes glibc's initial value of a signature, once.
///
/// # Safety
/// An object of Darwin's that is initialised, statically or by glibc's function.
unsafe fn adopt(object: *mut c_void) {
    static ADOPTING: Mutex<()> = Mutex::new(());
    let words = object.cast::<AtomicU32>();
    // SAFETY: an object of several words. Its first one is a signature only as long as nobody has used it, as
    // everybody comes by here first; all words behind it are zeros then, as glibc's initial ones are.
    unsafe {
        let first = &*words;
        let signature = first.load(Ordering::Acquire);
        let kind = match signature {
            MUTEX | FIRST_FIT_MUTEX | CONDITION | RWLOCK | ONCE => libc::PTHREAD_MUTEX_NORMAL,
            ERROR_CHECK_MUTEX => libc::PTHREAD_MUTEX_ERRORCHECK,
            RECURSIVE_MUTEX => libc::PTHREAD_MUTEX_RECURSIVE,
            _ => return,
        };
        let _adopting = ADOPTING.lock().unwrap_or_else(PoisonError::into_inner);
        if first.load(Ordering::Acquire) == signature {
            if kind != libc::PTHREAD_MUTEX_NORMAL {
                (*words.add(KIND)).store(kind.cast_unsigned(), Ordering::Relaxed);
            }
            first.store(0, Ordering::Release);
        }
    }
}

/// Functions whose first argument is an object that may have a signature, and whose result is an error number.
macro_rules! adopting {
    ($($name:ident($first:ident: $type:ty $(, $argument:ident: $other:ty)*);)*) => {
        mod ours {
            use super::*;

            $(pub(in super::super) unsafe extern "C" fn $name($first: *mut $type $(, $argument: $other)*) -> c_int {
                // SAFETY: the caller's object and other arguments.
                unsafe {
                    adopt($first.cast());
                    to_darwin(real::$name($first $(, $argument)*))
                }
            })*
        }

        mod real {
            use super::*;

            unsafe extern "C" {
                $(pub(super) fn $name($first: *mut $type $(, $argument: $other)*) -> c_int;)*
            }
        }

        fn adopting() -> Symbols {
            vec![$((stringify!($name), ours::$name as *const ()),)*]
        }
    };
}

adopting! {
    pthread_mutex_lock(mutex: pthread_mutex_t);
    pthread_mutex_trylock(mutex: pthread_mutex_t);
    pthread_mutex_unlock(mutex: pthread_mutex_t);
    pthread_mutex_destroy(mutex: pthread_mutex_t);
    pthread_cond_signal(condition: pthread_cond_t);
    pthread_cond_broadcast(condition: pthread_cond_t);
    pthread_cond_destroy(condition: pthread_cond_t);
    pthread_rwlock_rdlock(lock: pthread_rwlock_t);
    pthread_rwlock_wrlock(lock: pthread_rwlock_t);
    pthread_rwlock_tryrdlock(lock: pthread_rwlock_t);
    pthread_rwlock_trywrlock(lock: pthread_rwlock_t);
    pthread_rwlock_unlock(lock: pthread_rwlock_t);
    pthread_rwlock_destroy(lock: pthread_rwlock_t);
    pthread_once(once: c_int, function: unsafe extern "C" fn());
}

pub(super) use ours::{
    pthread_cond_broadcast as broadcast, pthread_cond_destroy as destroy_condition,
    pthread_cond_signal as signal, pthread_mutex_destroy as destroy_mutex, pthread_mutex_lock as lock,
    pthread_mutex_trylock as trylock, pthread_mutex_unlock as unlock,
};

pub(super) unsafe extern "C" fn wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's objects.
    unsafe {
        adopt(condition.cast());
        adopt(mutex.cast());
        to_darwin(libc::pthread_cond_wait(condition, mutex))
    }
}

pub(super) unsafe extern "C" fn timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's objects and time.
    unsafe {
        adopt(condition.cast());
        adopt(mutex.cast());
        to_darwin(libc::pthread_cond_timedwait(condition, mutex, until))
    }
}

unsafe extern "C" fn timedwait_relative(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    wait: *const timespec,
) -> c_int {
    // SAFETY: the caller's objects and time; room for the present time.
    unsafe {
        let mut until: timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut until);
        let nanoseconds = until.tv_nsec + (*wait).tv_nsec;
        until.tv_sec =
            until.tv_sec.saturating_add((*wait).tv_sec).saturating_add(nanoseconds / 1_000_000_000);
        until.tv_nsec = nanoseconds % 1_000_000_000;
        timedwait(condition, mutex, &raw const until)
    }
}

/// Darwin's kinds are 0, 1 (checks errors) and 2 (recursive), glibc's the other way round.
unsafe extern "C" fn mutexattr_settype(attributes: *mut pthread_mutexattr_t, kind: c_int) -> c_int {
    let kind = match kind {
        1 => libc::PTHREAD_MUTEX_ERRORCHECK,
        2 => libc::PTHREAD_MUTEX_RECURSIVE,
        _ => libc::PTHREAD_MUTEX_NORMAL,
    };
    // SAFETY: the caller's object.
    unsafe { libc::pthread_mutexattr_settype(attributes, kind) }
}

/// Policies that glibc has others of, and that change nothing about what a lock means.
unsafe extern "C" fn nothing(_: *mut c_void, _: c_int) -> c_int {
    0
}

/// 1 is joinable, 2 detached; glibc begins with 0.
unsafe extern "C" fn setdetachstate(attributes: *mut libc::pthread_attr_t, state: c_int) -> c_int {
    // SAFETY: the caller's object.
    to_darwin(unsafe { libc::pthread_attr_setdetachstate(attributes, state - 1) })
}

unsafe extern "C" fn getdetachstate(attributes: *const libc::pthread_attr_t, state: *mut c_int) -> c_int {
    unsafe extern "C" {
        fn pthread_attr_getdetachstate(attributes: *const libc::pthread_attr_t, state: *mut c_int) -> c_int;
    }
    // SAFETY: the caller's object, and room for a number.
    unsafe {
        let result = pthread_attr_getdetachstate(attributes, state);
        *state += 1;
        to_darwin(result)
    }
}

unsafe extern "C" fn create(
    thread: *mut pthread_t,
    attributes: *const libc::pthread_attr_t,
    function: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the caller's room, object and function.
    to_darwin(unsafe { libc::pthread_create(thread, attributes, function, argument) })
}

/// A key is as long as a pointer.
unsafe extern "C" fn key_create(
    key: *mut u64,
    destructor: Option<unsafe extern "C" fn(*mut c_void)>,
) -> c_int {
    let mut real = 0;
    // SAFETY: room for a key, and the caller's function.
    unsafe {
        let result = libc::pthread_key_create(&raw mut real, destructor);
        *key = real.into();
        to_darwin(result)
    }
}

/// It names the calling thread.
unsafe extern "C" fn setname(name: *const c_char) -> c_int {
    // SAFETY: the caller's text, of which 15 bytes count on Linux.
    unsafe {
        let mut short = [0; 16];
        libc::strncpy(short.as_mut_ptr(), name, 15);
        libc::pthread_setname_np(libc::pthread_self(), short.as_ptr())
    }
}

unsafe extern "C" fn threadid(thread: pthread_t, id: *mut u64) -> c_int {
    // SAFETY: room for a number. Of other threads, their own address is the only number that is known.
    unsafe {
        *id = match thread == 0 || thread == libc::pthread_self() {
            true => libc::gettid() as u64,
            false => thread,
        };
    }
    0
}

extern "C" fn is_main() -> c_int {
    // SAFETY: they take nothing.
    unsafe { c_int::from(libc::gettid() == libc::getpid()) }
}

extern "C" fn mach_thread(thread: pthread_t) -> u32 {
    thread as u32
}

/// Lowest address, and size.
fn stack(thread: pthread_t) -> (usize, usize) {
    let (mut start, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: room for attributes, which are destroyed again.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(thread, &raw mut attributes) == 0 {
            libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut size);
            libc::pthread_attr_destroy(&raw mut attributes);
        }
    }
    (start as usize, size)
}

/// Darwin says the highest address.
extern "C" fn stack_address(thread: pthread_t) -> *mut c_void {
    let (start, size) = stack(thread);
    (start + size) as *mut c_void
}

extern "C" fn stack_size(thread: pthread_t) -> usize {
    stack(thread).1
}

extern "C" fn set_quality(_class: u32, _priority: c_int) -> c_int {
    0
}

pub(super) fn symbols() -> Symbols {
    let mut all = adopting();
    all.extend([
        ("pthread_cond_wait", wait as *const ()),
        ("pthread_cond_timedwait", timedwait as *const ()),
        ("pthread_cond_timedwait_relative_np", timedwait_relative as *const ()),
        ("pthread_mutexattr_settype", mutexattr_settype as *const ()),
        ("pthread_mutexattr_setpolicy_np", nothing as *const ()),
        ("pthread_attr_setdetachstate", setdetachstate as *const ()),
        ("pthread_attr_getdetachstate", getdetachstate as *const ()),
        ("pthread_attr_setscope", nothing as *const ()),
        ("pthread_create", create as *const ()),
        ("pthread_key_create", key_create as *const ()),
        ("pthread_setname_np", setname as *const ()),
        ("pthread_threadid_np", threadid as *const ()),
        ("pthread_main_np", is_main as *const ()),
        ("pthread_mach_thread_np", mach_thread as *const ()),
        ("pthread_get_stackaddr_np", stack_address as *const ()),
        ("pthread_get_stacksize_np", stack_size as *const ()),
        ("pthread_set_qos_class_self_np", set_quality as *const ()),
    ]);
    all
}
