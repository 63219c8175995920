//! Signals: other numbers, sets of 32 bits, and another structure.

use super::Symbols;
use super::errno::{fail, to_darwin};
use std::ffi::c_int;

/// Linux's number by Darwin's less 1 (`sys/signal.h`); 0 where there is none.
const NUMBERS: [c_int; 31] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    0,
    libc::SIGFPE,
    libc::SIGKILL,
    libc::SIGBUS,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGURG,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGCHLD,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGIO,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGWINCH,
    0,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

fn number(darwin: c_int) -> Option<c_int> {
    let index = usize::try_from(darwin).ok()?.checked_sub(1)?;
    NUMBERS.get(index).copied().filter(|&linux| linux != 0)
}

fn set_to_linux(set: u32) -> libc::sigset_t {
    // SAFETY: a set of plain numbers, which is made empty; the functions take any signal.
    unsafe {
        let mut real = std::mem::zeroed();
        libc::sigemptyset(&raw mut real);
        for darwin in (1..=31).filter(|signal| set & (1 << (signal - 1)) != 0) {
            if let Some(signal) = number(darwin) {
                libc::sigaddset(&raw mut real, signal);
            }
        }
        real
    }
}

fn set_to_darwin(real: &libc::sigset_t) -> u32 {
    // SAFETY: a set, and any signal.
    let has = |signal| unsafe { libc::sigismember(real, signal) == 1 };
    let all = (1..=31).filter(|&darwin| number(darwin).is_some_and(has));
    all.fold(0, |set, darwin| set | (1 << (darwin - 1)))
}

unsafe extern "C" fn signal(darwin: c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
    match number(darwin) {
        // SAFETY: the caller's handler, which is given Linux's number.
        Some(signal) => unsafe { libc::signal(signal, handler) },
        None => {
            fail(libc::EINVAL);
            libc::SIG_ERR
        }
    }
}

/// `struct sigaction`.
#[repr(C)]
struct Action {
    handler: libc::sighandler_t,
    mask: u32,
    flags: c_int,
}

/// Darwin's flags, and Linux's.
const FLAGS: [(c_int, c_int); 7] = [
    (0x1, libc::SA_ONSTACK),
    (0x2, libc::SA_RESTART),
    (0x4, libc::SA_RESETHAND),
    (0x8, libc::SA_NOCLDSTOP),
    (0x10, libc::SA_NODEFER),
    (0x20, libc::SA_NOCLDWAIT),
    (0x40, libc::SA_SIGINFO),
];

/// Handlers are given Linux's number and its structure: those that look at them are not for this system.
unsafe extern "C" fn sigaction(darwin: c_int, new: *const Action, old: *mut Action) -> c_int {
    let Some(signal) = number(darwin) else { return fail(libc::EINVAL) };
    // SAFETY: the caller's structures, and room for Linux's.
    unsafe {
        let (mut real, mut before): (libc::sigaction, libc::sigaction) = std::mem::zeroed();
        if !new.is_null() {
            real.sa_sigaction = (*new).handler;
            real.sa_mask = set_to_linux((*new).mask);
            let set = FLAGS.iter().filter(|(darwin, _)| (*new).flags & darwin != 0);
            real.sa_flags = set.fold(0, |flags, (_, linux)| flags | linux);
        }
        let new = if new.is_null() { std::ptr::null() } else { &raw const real };
        let result = libc::sigaction(signal, new, &raw mut before);
        if result == 0 && !old.is_null() {
            let set = FLAGS.iter().filter(|(_, linux)| before.sa_flags & linux != 0);
            let flags = set.fold(0, |flags, (darwin, _)| flags | darwin);
            old.write(Action { handler: before.sa_sigaction, mask: set_to_darwin(&before.sa_mask), flags });
        }
        result
    }
}

/// `SIG_BLOCK` and its kin are numbered from 1.
unsafe extern "C" fn sigmask(how: c_int, new: *const u32, old: *mut u32) -> c_int {
    // SAFETY: the caller's sets, and room for Linux's.
    unsafe {
        let mut before = std::mem::zeroed();
        let real = (!new.is_null()).then(|| set_to_linux(*new));
        let real = real.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let result = libc::pthread_sigmask(how - 1, real, &raw mut before);
        if result == 0 && !old.is_null() {
            *old = set_to_darwin(&before);
        }
        to_darwin(result)
    }
}

unsafe extern "C" fn sigprocmask(how: c_int, new: *const u32, old: *mut u32) -> c_int {
    // SAFETY: the caller's sets.
    match unsafe { sigmask(how, new, old) } {
        0 => 0,
        error => fail(super::errno::to_linux(error)),
    }
}

unsafe extern "C" fn raise(darwin: c_int) -> c_int {
    // SAFETY: what the caller asks for.
    number(darwin).map_or_else(|| fail(libc::EINVAL), |signal| unsafe { libc::raise(signal) })
}

unsafe extern "C" fn kill(process: c_int, darwin: c_int) -> c_int {
    let signal = if darwin == 0 { Some(0) } else { number(darwin) };
    // SAFETY: what the caller asks for.
    signal.map_or_else(|| fail(libc::EINVAL), |signal| unsafe { libc::kill(process, signal) })
}

unsafe extern "C" fn emptyset(set: *mut u32) -> c_int {
    // SAFETY: the caller's set.
    unsafe { *set = 0 };
    0
}

unsafe extern "C" fn fillset(set: *mut u32) -> c_int {
    // SAFETY: the caller's set.
    unsafe { *set = u32::MAX };
    0
}

fn bit(darwin: c_int) -> u32 {
    if (1..=32).contains(&darwin) { 1 << (darwin - 1) } else { 0 }
}

unsafe extern "C" fn addset(set: *mut u32, darwin: c_int) -> c_int {
    // SAFETY: the caller's set.
    unsafe { *set |= bit(darwin) };
    0
}

unsafe extern "C" fn delset(set: *mut u32, darwin: c_int) -> c_int {
    // SAFETY: the caller's set.
    unsafe { *set &= !bit(darwin) };
    0
}

unsafe extern "C" fn ismember(set: *const u32, darwin: c_int) -> c_int {
    // SAFETY: the caller's set.
    unsafe { c_int::from(*set & bit(darwin) != 0) }
}

/// Jumps: glibc's buffer is longer, but writes no more than 80 bytes of it when signals are 8; Darwin's has 148.
mod jumps {
    use std::ffi::c_void;

    unsafe extern "C" {
        pub(super) fn setjmp(buffer: *mut c_void) -> i32;
        pub(super) fn _setjmp(buffer: *mut c_void) -> i32;
        pub(super) fn __sigsetjmp(buffer: *mut c_void, mask: i32) -> i32;
        pub(super) fn longjmp(buffer: *mut c_void, value: i32) -> !;
        pub(super) fn siglongjmp(buffer: *mut c_void, value: i32) -> !;
    }
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("signal", signal as *const ()),
        ("sigaction", sigaction as *const ()),
        ("sigprocmask", sigprocmask as *const ()),
        ("pthread_sigmask", sigmask as *const ()),
        ("raise", raise as *const ()),
        ("kill", kill as *const ()),
        ("sigemptyset", emptyset as *const ()),
        ("sigfillset", fillset as *const ()),
        ("sigaddset", addset as *const ()),
        ("sigdelset", delset as *const ()),
        ("sigismember", ismember as *const ()),
        ("setjmp", jumps::setjmp as *const ()),
        ("_setjmp", jumps::_setjmp as *const ()),
        ("sigsetjmp", jumps::__sigsetjmp as *const ()),
        ("longjmp", jumps::longjmp as *const ()),
        ("_longjmp", jumps::longjmp as *const ()),
        ("siglongjmp", jumps::siglongjmp as *const ()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_there_and_back() {
        // 7 and 29 (SIGEMT, SIGINFO) are nothing on Linux.
        let known = (1..=31).filter(|&signal| number(signal).is_some()).map(bit).sum::<u32>();
        assert_eq!(set_to_darwin(&set_to_linux(u32::MAX)), known);
        assert_eq!(number(10), Some(libc::SIGBUS));
        assert_eq!(number(30), Some(libc::SIGUSR1));
        assert_eq!(size_of::<Action>(), 16);
    }
}
