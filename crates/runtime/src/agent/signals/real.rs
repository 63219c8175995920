//! The C library's own functions for signals, past the agent's (`interpose`).

use super::TRAP_SIGNALS;
use crate::agent::next::Next;
use std::ffi::c_int;

pub(crate) type SigAction =
    unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
pub(crate) type SigMask = unsafe extern "C" fn(c_int, *const libc::sigset_t, *mut libc::sigset_t) -> c_int;
pub(crate) type Signal = unsafe extern "C" fn(c_int, libc::sighandler_t) -> libc::sighandler_t;

pub(crate) static SIGACTION: Next = Next::new(c"sigaction");
pub(crate) static SIGNAL: Next = Next::new(c"signal");
pub(crate) static SIGPROCMASK: Next = Next::new(c"sigprocmask");
pub(crate) static PTHREAD_SIGMASK: Next = Next::new(c"pthread_sigmask");

/// Looks all of them up, so that signal handlers need not.
pub(crate) fn prepare() -> bool {
    [&SIGACTION, &SIGNAL, &SIGPROCMASK, &PTHREAD_SIGMASK].iter().all(|next| next.address() != 0)
}

/// # Safety
/// As for the C library's `sigaction`.
pub(crate) unsafe fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the address is that of the C library's function of this signature.
    let next: SigAction = unsafe { std::mem::transmute(SIGACTION.address()) };
    // SAFETY: the caller's promise.
    unsafe { next(signal, new, old) }
}

/// # Safety
/// As for the C library's `pthread_sigmask`.
pub(crate) unsafe fn pthread_sigmask(
    how: c_int,
    set: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    // SAFETY: the address is that of the C library's function of this signature.
    let next: SigMask = unsafe { std::mem::transmute(PTHREAD_SIGMASK.address()) };
    // SAFETY: the caller's promise.
    unsafe { next(how, set, old) }
}

fn change(how: c_int, fill: impl FnOnce(&mut libc::sigset_t)) -> libc::sigset_t {
    // SAFETY: `sigset_t` is plain data; both sets are ours.
    unsafe {
        let (mut set, mut old) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&raw mut set);
        fill(&mut set);
        pthread_sigmask(how, &raw const set, &raw mut old);
        old
    }
}

fn add(set: &mut libc::sigset_t, signal: c_int) {
    // SAFETY: the set is initialised.
    unsafe { libc::sigaddset(set, signal) };
}

/// Takes a trap signal out of a set.
pub(crate) fn remove_traps(set: &mut libc::sigset_t) {
    for signal in TRAP_SIGNALS {
        // SAFETY: the set is initialised.
        unsafe { libc::sigdelset(set, signal) };
    }
}

/// Blocks every signal in this thread; returns the mask for [`restore`].
pub(crate) fn block_everything() -> libc::sigset_t {
    change(libc::SIG_SETMASK, |set| {
        // SAFETY: the set is ours.
        unsafe { libc::sigfillset(set) };
    })
}

/// Blocks every signal in this thread but those that its own instructions raise.
pub(crate) fn block_asynchronous() -> libc::sigset_t {
    change(libc::SIG_SETMASK, |set| {
        // SAFETY: the set is ours.
        unsafe { libc::sigfillset(set) };
        remove_traps(set);
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
            // SAFETY: the set is initialised.
            unsafe { libc::sigdelset(set, signal) };
        }
    })
}

pub(crate) fn restore(mask: &libc::sigset_t) {
    // SAFETY: the mask came from the kernel.
    unsafe { pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// Lets the trap signals through in this thread, whatever it inherited.
pub(crate) fn unblock_traps() {
    change(libc::SIG_UNBLOCK, |set| TRAP_SIGNALS.iter().for_each(|&signal| add(set, signal)));
}

/// Blocks signals in this thread, the trap signals never.
pub(crate) fn block(mask: u64) {
    if mask != 0 {
        change(libc::SIG_BLOCK, |set| {
            (1..=64).filter(|signal| mask >> (signal - 1) & 1 == 1).for_each(|signal| add(set, signal));
            remove_traps(set);
        });
    }
}

/// A set as the kernel numbers it.
pub(crate) fn to_bits(set: &libc::sigset_t) -> u64 {
    // SAFETY: the set is initialised.
    let has = |signal: c_int| unsafe { libc::sigismember(set, signal) } == 1;
    (1..=64).filter(|&signal| has(signal)).fold(0, |bits, signal| bits | 1 << (signal - 1))
}

/// The set of those numbers.
pub(crate) fn from_bits(bits: u64) -> libc::sigset_t {
    // SAFETY: `sigset_t` is plain data, and emptied first.
    let mut set = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        set
    };
    (1..=64).filter(|signal| bits >> (signal - 1) & 1 == 1).for_each(|signal| add(&mut set, signal));
    set
}
