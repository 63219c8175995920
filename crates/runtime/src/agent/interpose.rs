//! The functions of the C library that the program reaches through the agent.
//!
//! These keep SIGTRAP and SIGILL deliverable, with the agent's handler first, and have it stand in for the
//! default action of crashes; [`threads`] has those that make threads, [`loading`] those that load
//! libraries, [`mod@abort`] the one that ends the program. Uninvited, they pass everything through as it is.

mod abort;
mod loading;
mod threads;

use super::signals::{TRAP_SIGNALS, Wish, active, real, set_wish, stand_in, wish};
use std::ffi::c_int;

fn ours(signal: c_int) -> bool {
    TRAP_SIGNALS.contains(&signal) && active()
}

/// # Safety
/// As for sigaction(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    if ours(signal) {
        // SAFETY: the caller's promise: null, or an action to read and one to write.
        unsafe { sigaction_of_trap(signal, new, old) };
        return 0;
    }
    if !active() {
        // SAFETY: the caller's promise.
        return unsafe { real::sigaction(signal, new, old) };
    }
    if new.is_null() {
        // SAFETY: the caller's promise.
        return unsafe {
            if stand_in::covers(signal) {
                stand_in::sigaction(signal, None, old)
            } else {
                real::sigaction(signal, new, old)
            }
        };
    }
    // SAFETY: the caller's promise: `new` is an action to read.
    let mut action = unsafe { *new };
    real::remove_traps(&mut action.sa_mask);
    if stand_in::covers(signal) {
        // SAFETY: the caller's promise, for `old`.
        return unsafe { stand_in::sigaction(signal, Some(&action), old) };
    }
    // SAFETY: the caller's promise, for `old`.
    unsafe { real::sigaction(signal, &raw const action, old) }
}

/// # Safety
/// As for sigaction(2).
unsafe fn sigaction_of_trap(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) {
    let before = if new.is_null() {
        wish(signal)
    } else {
        // SAFETY: the caller's promise; `new` is read before `old`, which may be the same, is written.
        let action = unsafe { *new };
        set_wish(signal, Wish::of(&action))
    };
    if !old.is_null() {
        // SAFETY: the caller's promise; all zeros is an action.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = before.handler;
            action.sa_flags = before.flags;
            action.sa_mask = real::from_bits(before.mask);
            old.write(action);
        }
    }
}

/// The name under which glibc has it too.
///
/// # Safety
/// As for sigaction(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { sigaction(signal, new, old) }
}

/// # Safety
/// As for signal(2): `handler` is `SIG_DFL`, `SIG_IGN` or a handler.
#[unsafe(no_mangle)]
unsafe extern "C" fn signal(signal: c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
    let stands_in = active() && stand_in::covers(signal);
    if !ours(signal) && !stands_in {
        // SAFETY: the address is that of the C library's function of this signature.
        let next: real::Signal = unsafe { std::mem::transmute(real::SIGNAL.address()) };
        // SAFETY: the caller's promise.
        return unsafe { next(signal, handler) };
    }
    if handler == libc::SIG_ERR {
        // SAFETY: this thread's `errno` is always there.
        unsafe { *libc::__errno_location() = libc::EINVAL };
        return libc::SIG_ERR;
    }
    if stands_in {
        // SAFETY: the caller's promise.
        return unsafe { signal_of_crash(signal, handler) };
    }
    // The semantics of BSD, as glibc's `signal` has them.
    set_wish(signal, Wish { handler, flags: libc::SA_RESTART, mask: 1 << (signal - 1) }).handler
}

/// # Safety
/// As for [`signal`].
unsafe fn signal_of_crash(signal: c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: plain data, for which all zeros is a value; `before` is filled in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        action.sa_mask = real::from_bits(1 << (signal - 1));
        let mut before: libc::sigaction = std::mem::zeroed();
        match stand_in::sigaction(signal, Some(&action), &raw mut before) {
            0 => before.sa_sigaction,
            _ => libc::SIG_ERR,
        }
    }
}

/// # Safety
/// As for sigprocmask(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, set: *const libc::sigset_t, old: *mut libc::sigset_t) -> c_int {
    // SAFETY: the address is that of the C library's function of this signature.
    let next: real::SigMask = unsafe { std::mem::transmute(real::SIGPROCMASK.address()) };
    // SAFETY: the caller's promise.
    unsafe { masked(next, how, set, old) }
}

/// # Safety
/// As for pthread_sigmask(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    // SAFETY: the address is that of the C library's function of this signature.
    let next: real::SigMask = unsafe { std::mem::transmute(real::PTHREAD_SIGMASK.address()) };
    // SAFETY: the caller's promise.
    unsafe { masked(next, how, set, old) }
}

/// Calls `next` with a set that blocks no trap signal.
///
/// # Safety
/// As for `next`.
unsafe fn masked(
    next: real::SigMask,
    how: c_int,
    set: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    if set.is_null() || how == libc::SIG_UNBLOCK || !active() {
        // SAFETY: the caller's promise.
        return unsafe { next(how, set, old) };
    }
    // SAFETY: the caller's promise: `set` is a set to read.
    let mut set = unsafe { *set };
    real::remove_traps(&mut set);
    // SAFETY: the caller's promise, for `old`.
    unsafe { next(how, &raw const set, old) }
}
