//! What else of the system differs by a name, a number or a structure.

use super::Symbols;
use std::ffi::{c_char, c_int, c_long, c_void};

/// `_SC_*`: bionic's, and glibc's. What is not here, bionic does not know either or nobody has asked for.
const SYSCONF: [(c_int, c_int); 38] = [
    (0x00, libc::_SC_ARG_MAX),
    (0x05, libc::_SC_CHILD_MAX),
    (0x06, libc::_SC_CLK_TCK),
    (0x09, libc::_SC_LINE_MAX),
    (0x0a, libc::_SC_NGROUPS_MAX),
    (0x0b, libc::_SC_OPEN_MAX),
    (0x17, libc::_SC_JOB_CONTROL),
    (0x18, libc::_SC_SAVED_IDS),
    (0x19, libc::_SC_VERSION),
    (0x1b, libc::_SC_STREAM_MAX),
    (0x25, libc::_SC_ATEXIT_MAX),
    (0x26, libc::_SC_IOV_MAX),
    (0x27, libc::_SC_PAGESIZE),
    (0x28, libc::_SC_PAGESIZE),
    (0x34, libc::_SC_RTSIG_MAX),
    (0x36, libc::_SC_SEM_VALUE_MAX),
    (0x3b, libc::_SC_MAPPED_FILES),
    (0x42, libc::_SC_REALTIME_SIGNALS),
    (0x43, libc::_SC_SEMAPHORES),
    (0x46, libc::_SC_TIMERS),
    (0x47, libc::_SC_GETGR_R_SIZE_MAX),
    (0x48, libc::_SC_GETPW_R_SIZE_MAX),
    (0x49, libc::_SC_LOGIN_NAME_MAX),
    (0x4a, libc::_SC_THREAD_DESTRUCTOR_ITERATIONS),
    (0x4b, libc::_SC_THREAD_KEYS_MAX),
    (0x4c, libc::_SC_THREAD_STACK_MIN),
    (0x4e, libc::_SC_TTY_NAME_MAX),
    (0x4f, libc::_SC_THREADS),
    (0x60, libc::_SC_NPROCESSORS_CONF),
    (0x61, libc::_SC_NPROCESSORS_ONLN),
    (0x62, libc::_SC_PHYS_PAGES),
    (0x63, libc::_SC_AVPHYS_PAGES),
    (0x64, libc::_SC_MONOTONIC_CLOCK),
    (0x6d, libc::_SC_CLOCK_SELECTION),
    (0x6e, libc::_SC_CPUTIME),
    (0x6f, libc::_SC_HOST_NAME_MAX),
    (0x79, libc::_SC_SYMLOOP_MAX),
    (0x7a, libc::_SC_THREAD_CPUTIME),
];

unsafe extern "C" fn sysconf(name: c_int) -> c_long {
    match SYSCONF.iter().find(|(own, _)| *own == name) {
        // SAFETY: it takes any number.
        Some((_, real)) => unsafe { libc::sysconf(*real) },
        None => {
            // SAFETY: this thread's variable.
            unsafe { *libc::__errno_location() = libc::EINVAL };
            -1
        }
    }
}

unsafe extern "C" fn errno() -> *mut c_int {
    // SAFETY: it takes nothing.
    unsafe { libc::__errno_location() }
}

/// Under this name glibc has another function than POSIX.
unsafe extern "C" fn strerror_r(number: c_int, to: *mut c_char, room: usize) -> c_int {
    unsafe extern "C" {
        fn __xpg_strerror_r(number: c_int, to: *mut c_char, room: usize) -> c_int;
    }
    // SAFETY: the caller's room.
    unsafe { __xpg_strerror_r(number, to, room) }
}

/// The other one.
unsafe extern "C" fn gnu_strerror_r(number: c_int, to: *mut c_char, room: usize) -> *mut c_char {
    // SAFETY: the caller's room.
    unsafe {
        strerror_r(number, to, room);
    }
    to
}

/// `mallinfo` returns ten numbers: of `int` in glibc, of `size_t` in bionic as in glibc's newer function.
unsafe extern "C" fn mallinfo() -> libc::mallinfo2 {
    // SAFETY: it takes nothing.
    unsafe { libc::mallinfo2() }
}

/// `struct termios` is the kernel's, not glibc's, which is longer.
unsafe extern "C" fn tcgetattr(file: c_int, to: *mut c_void) -> c_int {
    // SAFETY: the caller's room for the kernel's structure.
    unsafe { libc::ioctl(file, libc::TCGETS, to) }
}

unsafe extern "C" fn tcsetattr(file: c_int, when: c_int, from: *const c_void) -> c_int {
    let request = match when {
        0 => libc::TCSETS,
        1 => libc::TCSETSW,
        _ => libc::TCSETSF,
    };
    // SAFETY: the caller's structure, which is the kernel's.
    unsafe { libc::ioctl(file, request, from) }
}

unsafe extern "C" fn getprogname() -> *const c_char {
    unsafe extern "C" {
        static program_invocation_short_name: *const c_char;
    }
    // SAFETY: glibc's variable.
    unsafe { program_invocation_short_name }
}

unsafe extern "C" fn device_api_level() -> c_int {
    34
}

/// Whether files are closed by those that opened them is not watched.
unsafe extern "C" fn fdsan_nothing(_: c_int, _: u64, _: u64) {}

unsafe extern "C" fn fdsan_close(file: c_int, _: u64) -> c_int {
    // SAFETY: it takes any number.
    unsafe { libc::close(file) }
}

unsafe extern "C" fn fdsan_tag(_: c_int, value: u64) -> u64 {
    value
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("__errno", errno as *const ()),
        ("sysconf", sysconf as *const ()),
        ("strerror_r", strerror_r as *const ()),
        ("__gnu_strerror_r", gnu_strerror_r as *const ()),
        ("mallinfo", mallinfo as *const ()),
        ("tcgetattr", tcgetattr as *const ()),
        ("tcsetattr", tcsetattr as *const ()),
        ("getprogname", getprogname as *const ()),
        ("android_get_device_api_level", device_api_level as *const ()),
        ("android_get_application_target_sdk_version", device_api_level as *const ()),
        ("android_fdsan_exchange_owner_tag", fdsan_nothing as *const ()),
        ("android_fdsan_close_with_tag", fdsan_close as *const ()),
        ("android_fdsan_create_owner_tag", fdsan_tag as *const ()),
    ]
}
