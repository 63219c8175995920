//! Locks that are one word, operations on words, and what runs once.

use super::Symbols;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may wait.
const AWAITED: u32 = 2;

fn futex(word: &AtomicU32, operation: c_int, value: u32) {
    let none = std::ptr::null::<libc::timespec>();
    // SAFETY: the word's address, as the kernel has it; it is only compared and waited on.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, none)
    };
}

/// Darwin's lock begins as 0, and says nothing about other values (`os/lock.h`).
unsafe extern "C" fn lock(word: *mut u32) {
    // SAFETY: the caller's lock, which is accessed by these functions only.
    let word = unsafe { AtomicU32::from_ptr(word) };
    if word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        return;
    }
    while word.swap(AWAITED, Ordering::Acquire) != FREE {
        futex(word, libc::FUTEX_WAIT, AWAITED);
    }
}

unsafe extern "C" fn trylock(word: *mut u32) -> bool {
    // SAFETY: as in `lock`.
    let word = unsafe { AtomicU32::from_ptr(word) };
    word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

unsafe extern "C" fn unlock(word: *mut u32) {
    // SAFETY: as in `lock`.
    let word = unsafe { AtomicU32::from_ptr(word) };
    if word.swap(FREE, Ordering::Release) == AWAITED {
        futex(word, libc::FUTEX_WAKE, 1);
    }
}

unsafe extern "C" fn assert_nothing(_: *mut u32) {}

const RUNNING: i64 = 1;
/// What code that was compiled for Darwin looks for itself before it calls (`dispatch/once.h`).
const DONE: i64 = -1;

type Function = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" fn once_f(predicate: *mut i64, context: *mut c_void, function: Function) {
    // SAFETY: the caller's word, which is used for this only.
    let predicate = unsafe { AtomicI64::from_ptr(predicate) };
    match predicate.compare_exchange(0, RUNNING, Ordering::Acquire, Ordering::Acquire) {
        Ok(_) => {
            // SAFETY: the caller's function and its argument.
            unsafe { function(context) };
            predicate.store(DONE, Ordering::Release);
        }
        Err(_) => {
            while predicate.load(Ordering::Acquire) != DONE {
                std::thread::yield_now();
            }
        }
    }
}

/// What a block begins with ("Block Implementation Specification").
#[repr(C)]
struct Block {
    class: *const c_void,
    flags: i32,
    reserved: i32,
    invoke: Function,
}

unsafe extern "C" fn once(predicate: *mut i64, block: *mut Block) {
    // SAFETY: the caller's word and block, which is passed to its own function.
    unsafe { once_f(predicate, block.cast(), (*block).invoke) };
}

/// `dispatch_semaphore_t`: a count, and those who wait until it is more than 0.
struct Semaphore {
    count: Mutex<i64>,
    raised: Condvar,
}

extern "C" fn semaphore_create(count: i64) -> *mut Semaphore {
    match count < 0 {
        true => std::ptr::null_mut(),
        false => Box::into_raw(Box::new(Semaphore { count: Mutex::new(count), raised: Condvar::new() })),
    }
}

/// Times are nanoseconds of the clock that `mach_absolute_time` reads; 0 is now, all ones is never.
unsafe extern "C" fn semaphore_wait(semaphore: *const Semaphore, until: u64) -> i64 {
    // SAFETY: what `semaphore_create` returned.
    let semaphore = unsafe { &*semaphore };
    let count = semaphore.count.lock().unwrap_or_else(PoisonError::into_inner);
    let is_none = |count: &mut i64| *count <= 0;
    let mut count = match until {
        u64::MAX => semaphore.raised.wait_while(count, is_none).unwrap_or_else(PoisonError::into_inner),
        until => {
            let left = Duration::from_nanos(until.saturating_sub(super::clocks::absolute_time()));
            let waited = semaphore.raised.wait_timeout_while(count, left, is_none);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    };
    if *count <= 0 {
        // As Darwin numbers KERN_OPERATION_TIMED_OUT.
        return 49;
    }
    *count -= 1;
    0
}

unsafe extern "C" fn semaphore_signal(semaphore: *const Semaphore) -> i64 {
    // SAFETY: what `semaphore_create` returned.
    let semaphore = unsafe { &*semaphore };
    *semaphore.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    semaphore.raised.notify_one();
    0
}

/// There are no other objects of dispatch's here.
unsafe extern "C" fn release(semaphore: *mut Semaphore) {
    // SAFETY: what `semaphore_create` returned, and nobody uses any more.
    drop(unsafe { Box::from_raw(semaphore) });
}

extern "C" fn time(when: u64, delta: i64) -> u64 {
    let from = if when == 0 { super::clocks::absolute_time() } else { when };
    from.saturating_add_signed(delta)
}

unsafe extern "C" fn add32(by: i32, word: *mut i32) -> i32 {
    // SAFETY: the caller's word.
    unsafe { AtomicI32::from_ptr(word) }.fetch_add(by, Ordering::SeqCst).wrapping_add(by)
}

unsafe extern "C" fn add64(by: i64, word: *mut i64) -> i64 {
    // SAFETY: the caller's word.
    unsafe { AtomicI64::from_ptr(word) }.fetch_add(by, Ordering::SeqCst).wrapping_add(by)
}

unsafe extern "C" fn increment32(word: *mut i32) -> i32 {
    // SAFETY: the caller's word.
    unsafe { add32(1, word) }
}

unsafe extern "C" fn decrement32(word: *mut i32) -> i32 {
    // SAFETY: the caller's word.
    unsafe { add32(-1, word) }
}

unsafe extern "C" fn increment64(word: *mut i64) -> i64 {
    // SAFETY: the caller's word.
    unsafe { add64(1, word) }
}

unsafe extern "C" fn decrement64(word: *mut i64) -> i64 {
    // SAFETY: the caller's word.
    unsafe { add64(-1, word) }
}

unsafe extern "C" fn exchange32(old: i32, new: i32, word: *mut i32) -> bool {
    // SAFETY: the caller's word.
    let word = unsafe { AtomicI32::from_ptr(word) };
    word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

unsafe extern "C" fn exchange64(old: i64, new: i64, word: *mut i64) -> bool {
    // SAFETY: the caller's word.
    let word = unsafe { AtomicI64::from_ptr(word) };
    word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

extern "C" fn barrier() {
    fence(Ordering::SeqCst);
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("os_unfair_lock_lock", lock as *const ()),
        ("os_unfair_lock_lock_with_options", lock as *const ()),
        ("os_unfair_lock_trylock", trylock as *const ()),
        ("os_unfair_lock_unlock", unlock as *const ()),
        ("os_unfair_lock_assert_owner", assert_nothing as *const ()),
        ("os_unfair_lock_assert_not_owner", assert_nothing as *const ()),
        ("OSSpinLockLock", lock as *const ()),
        ("OSSpinLockTry", trylock as *const ()),
        ("OSSpinLockUnlock", unlock as *const ()),
        ("dispatch_once", once as *const ()),
        ("dispatch_once_f", once_f as *const ()),
        ("dispatch_semaphore_create", semaphore_create as *const ()),
        ("dispatch_semaphore_wait", semaphore_wait as *const ()),
        ("dispatch_semaphore_signal", semaphore_signal as *const ()),
        ("dispatch_release", release as *const ()),
        ("dispatch_time", time as *const ()),
        ("OSAtomicAdd32", add32 as *const ()),
        ("OSAtomicAdd32Barrier", add32 as *const ()),
        ("OSAtomicAdd64", add64 as *const ()),
        ("OSAtomicAdd64Barrier", add64 as *const ()),
        ("OSAtomicIncrement32", increment32 as *const ()),
        ("OSAtomicIncrement32Barrier", increment32 as *const ()),
        ("OSAtomicDecrement32", decrement32 as *const ()),
        ("OSAtomicDecrement32Barrier", decrement32 as *const ()),
        ("OSAtomicIncrement64", increment64 as *const ()),
        ("OSAtomicIncrement64Barrier", increment64 as *const ()),
        ("OSAtomicDecrement64", decrement64 as *const ()),
        ("OSAtomicDecrement64Barrier", decrement64 as *const ()),
        ("OSAtomicCompareAndSwap32", exchange32 as *const ()),
        ("OSAtomicCompareAndSwap32Barrier", exchange32 as *const ()),
        ("OSAtomicCompareAndSwapInt", exchange32 as *const ()),
        ("OSAtomicCompareAndSwapIntBarrier", exchange32 as *const ()),
        ("OSAtomicCompareAndSwap64", exchange64 as *const ()),
        ("OSAtomicCompareAndSwap64Barrier", exchange64 as *const ()),
        ("OSAtomicCompareAndSwapLong", exchange64 as *const ()),
        ("OSAtomicCompareAndSwapLongBarrier", exchange64 as *const ()),
        ("OSAtomicCompareAndSwapPtr", exchange64 as *const ()),
        ("OSAtomicCompareAndSwapPtrBarrier", exchange64 as *const ()),
        ("OSMemoryBarrier", barrier as *const ()),
    ]
}
