//! Clocks, by Darwin's numbers and Mach's names; ports of Mach are numbers that nobody answers.

use super::Symbols;
use super::errno::fail;
use std::ffi::c_int;

/// Linux's clock for one of Darwin's.
fn clock(id: c_int) -> Option<libc::clockid_t> {
    Some(match id {
        0 => libc::CLOCK_REALTIME,
        4 | 5 => libc::CLOCK_MONOTONIC_RAW,
        6 | 8 | 9 => libc::CLOCK_MONOTONIC,
        12 => libc::CLOCK_PROCESS_CPUTIME_ID,
        16 => libc::CLOCK_THREAD_CPUTIME_ID,
        _ => return None,
    })
}

unsafe extern "C" fn clock_gettime(id: c_int, to: *mut libc::timespec) -> c_int {
    match clock(id) {
        // SAFETY: the caller's room.
        Some(id) => unsafe { libc::clock_gettime(id, to) },
        None => fail(libc::EINVAL),
    }
}

unsafe extern "C" fn clock_getres(id: c_int, to: *mut libc::timespec) -> c_int {
    match clock(id) {
        // SAFETY: the caller's room, or none.
        Some(id) => unsafe { libc::clock_getres(id, to) },
        None => fail(libc::EINVAL),
    }
}

extern "C" fn nanoseconds(id: c_int) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a time.
    unsafe { clock_gettime(id, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(super) extern "C" fn absolute_time() -> u64 {
    nanoseconds(6)
}

/// Absolute times are nanoseconds.
unsafe extern "C" fn timebase(to: *mut [u32; 2]) -> c_int {
    // SAFETY: the caller's room for two numbers.
    unsafe { to.write([1, 1]) };
    0
}

extern "C" fn host() -> u32 {
    1
}

extern "C" fn clock_service(_host: u32, clock: c_int, to: *mut u32) -> c_int {
    // SAFETY: the caller's room. CALENDAR_CLOCK is 1, which is REALTIME; the others are monotonic.
    unsafe { *to = if clock == 1 { 0 } else { 6 } };
    0
}

/// `mach_timespec_t` has 32 bits for each part.
unsafe extern "C" fn clock_time(clock: u32, to: *mut [u32; 2]) -> c_int {
    let all = nanoseconds(clock as c_int);
    // SAFETY: the caller's room.
    unsafe { to.write([(all / 1_000_000_000) as u32, (all % 1_000_000_000) as u32]) };
    0
}

extern "C" fn port_done(_task: u32, _port: u32) -> c_int {
    0
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("clock_gettime", clock_gettime as *const ()),
        ("clock_getres", clock_getres as *const ()),
        ("clock_gettime_nsec_np", nanoseconds as *const ()),
        ("mach_absolute_time", absolute_time as *const ()),
        ("mach_continuous_time", absolute_time as *const ()),
        ("mach_timebase_info", timebase as *const ()),
        ("mach_host_self", host as *const ()),
        ("host_get_clock_service", clock_service as *const ()),
        ("clock_get_time", clock_time as *const ()),
        ("mach_port_deallocate", port_done as *const ()),
    ]
}
