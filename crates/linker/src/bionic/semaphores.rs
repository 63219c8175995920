//! Semaphores. bionic's `sem_t` is four words, aligned to four bytes; glibc's is used by eight bytes at a time, which
//! machines other than x86-64 do aligned only. So these are not glibc's: a count in the first word, and whoever waits
//! for it to grow sleeps on it (`futex(2)`; shared between processes or not is the same here).

use super::Symbols;
use libc::{c_int, timespec};
use std::sync::atomic::{AtomicU32, Ordering};

/// `SEM_VALUE_MAX` of bionic.
const MOST: u32 = 0x3fff_ffff;

fn fail(error: c_int) -> c_int {
    // SAFETY: this thread's variable.
    unsafe { *libc::__errno_location() = error };
    -1
}

unsafe extern "C" fn init(semaphore: *mut AtomicU32, _shared: c_int, value: u32) -> c_int {
    if value > MOST {
        return fail(libc::EINVAL);
    }
    // SAFETY: room for a semaphore, which nobody uses yet.
    unsafe { semaphore.write(AtomicU32::new(value)) };
    0
}

unsafe extern "C" fn destroy(_semaphore: *mut AtomicU32) -> c_int {
    0
}

unsafe extern "C" fn post(semaphore: *const AtomicU32) -> c_int {
    // SAFETY: the caller's semaphore.
    let count = unsafe { &*semaphore };
    let grown =
        count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count < MOST).then(|| count + 1));
    if grown.is_err() {
        return fail(libc::EOVERFLOW);
    }
    // SAFETY: wakes who sleeps at this address; nothing is read or written. It may be gone already: then nobody does.
    unsafe { libc::syscall(libc::SYS_futex, semaphore, libc::FUTEX_WAKE, 1) };
    0
}

/// Takes one if there is one.
fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

unsafe extern "C" fn trywait(semaphore: *const AtomicU32) -> c_int {
    // SAFETY: the caller's semaphore.
    if take(unsafe { &*semaphore }) { 0 } else { fail(libc::EAGAIN) }
}

/// Waits until a time of a clock, if one is given.
///
/// # Safety
/// A semaphore, and null or a time.
unsafe fn wait_until(semaphore: *const AtomicU32, clock: c_int, until: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    while !take(unsafe { &*semaphore }) {
        let operation = libc::FUTEX_WAIT_BITSET | clock;
        // SAFETY: sleeps as long as the count is 0, which is a word of the caller's.
        let slept = unsafe {
            let (nobody, any) = (std::ptr::null::<u32>(), u32::MAX);
            libc::syscall(libc::SYS_futex, semaphore, operation, 0, until, nobody, any)
        };
        // SAFETY: this thread's variable.
        let error = if slept == 0 { 0 } else { unsafe { *libc::__errno_location() } };
        if matches!(error, libc::EINTR | libc::ETIMEDOUT | libc::EINVAL) {
            return -1;
        }
    }
    0
}

unsafe extern "C" fn wait(semaphore: *const AtomicU32) -> c_int {
    // SAFETY: the caller's semaphore.
    unsafe { wait_until(semaphore, 0, std::ptr::null()) }
}

unsafe extern "C" fn timedwait(semaphore: *const AtomicU32, until: *const timespec) -> c_int {
    // SAFETY: the caller's semaphore and time.
    unsafe { wait_until(semaphore, libc::FUTEX_CLOCK_REALTIME, until) }
}

unsafe extern "C" fn timedwait_monotonic(semaphore: *const AtomicU32, until: *const timespec) -> c_int {
    // SAFETY: the caller's semaphore and time.
    unsafe { wait_until(semaphore, 0, until) }
}

unsafe extern "C" fn clockwait(
    semaphore: *const AtomicU32,
    clock: libc::clockid_t,
    until: *const timespec,
) -> c_int {
    let clock = match clock {
        libc::CLOCK_REALTIME => libc::FUTEX_CLOCK_REALTIME,
        libc::CLOCK_MONOTONIC => 0,
        _ => return fail(libc::EINVAL),
    };
    // SAFETY: the caller's semaphore and time.
    unsafe { wait_until(semaphore, clock, until) }
}

unsafe extern "C" fn getvalue(semaphore: *const AtomicU32, value: *mut c_int) -> c_int {
    // SAFETY: the caller's semaphore, and room for a number.
    unsafe { value.write((*semaphore).load(Ordering::Relaxed).cast_signed()) };
    0
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("sem_init", init as *const ()),
        ("sem_destroy", destroy as *const ()),
        ("sem_post", post as *const ()),
        ("sem_trywait", trywait as *const ()),
        ("sem_wait", wait as *const ()),
        ("sem_timedwait", timedwait as *const ()),
        ("sem_timedwait_monotonic_np", timedwait_monotonic as *const ()),
        ("sem_clockwait", clockwait as *const ()),
        ("sem_getvalue", getvalue as *const ()),
    ]
}
