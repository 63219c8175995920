//! Mutexes and condition variables of `libc++`, which are those of `threads` with other names: they begin with the same
//! signatures, where this system's `libc++` counts on glibc's zeros.

use super::Symbols;
use super::threads::{
    broadcast, destroy_condition, destroy_mutex, lock, signal, timedwait, trylock, unlock, wait,
};
use libc::{pthread_cond_t, pthread_mutex_t, timespec};

/// `std::unique_lock<std::mutex>`.
#[repr(C)]
struct UniqueLock {
    mutex: *mut pthread_mutex_t,
    owns: bool,
}

unsafe extern "C" fn mutex_trylock(mutex: *mut pthread_mutex_t) -> bool {
    // SAFETY: the caller's mutex.
    unsafe { trylock(mutex) == 0 }
}

unsafe extern "C" fn condition_wait(condition: *mut pthread_cond_t, lock: *const UniqueLock) {
    // SAFETY: the caller's objects; its mutex is locked.
    unsafe { wait(condition, (*lock).mutex) };
}

/// The time is nanoseconds since 1970.
unsafe extern "C" fn condition_timedwait(
    condition: *mut pthread_cond_t,
    lock: *const UniqueLock,
    until: i64,
) {
    let until = timespec { tv_sec: until / 1_000_000_000, tv_nsec: until % 1_000_000_000 };
    // SAFETY: the caller's objects; its mutex is locked.
    unsafe { timedwait(condition, (*lock).mutex, &raw const until) };
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("_ZNSt3__15mutex4lockEv", lock as *const ()),
        ("_ZNSt3__15mutex8try_lockEv", mutex_trylock as *const ()),
        ("_ZNSt3__15mutex6unlockEv", unlock as *const ()),
        ("_ZNSt3__15mutexD1Ev", destroy_mutex as *const ()),
        ("_ZNSt3__15mutexD2Ev", destroy_mutex as *const ()),
        ("_ZNSt3__118condition_variable10notify_oneEv", signal as *const ()),
        ("_ZNSt3__118condition_variable10notify_allEv", broadcast as *const ()),
        ("_ZNSt3__118condition_variable4waitERNS_11unique_lockINS_5mutexEEE", condition_wait as *const ()),
        (
            "_ZNSt3__118condition_variable15__do_timed_waitERNS_11unique_lockINS_5mutexEEENS_6chrono10time_pointINS5_12system_clockENS5_8durationIxNS_5ratioILl1ELl1000000000EEEEEEE",
            condition_timedwait as *const (),
        ),
        ("_ZNSt3__118condition_variableD1Ev", destroy_condition as *const ()),
        ("_ZNSt3__118condition_variableD2Ev", destroy_condition as *const ()),
    ]
}
