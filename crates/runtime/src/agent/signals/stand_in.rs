//! A handler in place of the default action of SIGSEGV, SIGBUS, SIGFPE and SIGABRT: it tells the server,
//! then lets the default action be.
//!
//! It is installed only where the program wants the default action, and is reported to the program as
//! that. A handler of the program's own is installed as it is: what it sees and does is its own affair.
//! std's handler, which knows stack overflows, asks for the default action at any other fault, and so
//! comes here.

use super::{Record, Wish, real, tell};
use std::ffi::{c_int, c_void};

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGABRT];

/// With which flags and mask the program asked for the default action, should it want to know.
static RECORDS: [Record; SIGNALS.len()] = [const { Record::new() }; SIGNALS.len()];

fn record(signal: c_int) -> Option<&'static Record> {
    SIGNALS.iter().position(|&ours| ours == signal).map(|at| &RECORDS[at])
}

/// Whether [`fn@sigaction`] deals with this signal.
pub(crate) fn covers(signal: c_int) -> bool {
    record(signal).is_some()
}

/// Stands in wherever the default action would be taken.
pub(crate) fn install() {
    for (signal, record) in SIGNALS.into_iter().zip(&RECORDS) {
        let now = query(signal);
        if now.sa_sigaction == libc::SIG_DFL {
            // Where it fails, the crash is told by how the process ended, and no more.
            let _ = stand_in(signal, record, &now);
        }
    }
}

/// Does what [`install`] does in a program that runs already, whose handlers pass the agent by: it comes
/// before those of faults as well, so as to be there when they ask for the default action.
pub(crate) fn install_late() {
    for (signal, record) in SIGNALS.into_iter().zip(&RECORDS) {
        let now = query(signal);
        let is_ours = [on_crash as *const () as usize, on_fault as *const () as usize];
        if signal != libc::SIGABRT
            && now.sa_sigaction != libc::SIG_DFL
            && now.sa_sigaction != libc::SIG_IGN
            && !is_ours.contains(&now.sa_sigaction)
        {
            let everything = real::block_everything();
            record.replace(Wish::of(&now));
            real::restore(&everything);
            // Everything else of the action is as the program wants it.
            let mut action = now;
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags |= libc::SA_SIGINFO;
            // SAFETY: the handler does what the program's does, and is async-signal-safe besides.
            unsafe { real::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        }
    }
}

/// Calls the program's handler. Where that asks for the default action, stands in for it.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(record) = record(signal) else { return };
    // SAFETY: the program registered this address as a handler; one without SA_SIGINFO ignores the second
    // and third argument.
    unsafe {
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
            std::mem::transmute(record.read().handler);
        handler(signal, info, context);
    }
    let now = query(signal);
    if now.sa_sigaction == libc::SIG_DFL {
        let _ = stand_in(signal, record, &now);
    }
}

/// What is installed now.
fn query(signal: c_int) -> libc::sigaction {
    // SAFETY: all zeros is an action, which is filled in.
    unsafe {
        let mut action = std::mem::zeroed();
        real::sigaction(signal, std::ptr::null(), &raw mut action);
        action
    }
}

/// Installs the handler instead of `wanted`; what was installed before, as the program sees it, or the
/// error that `sigaction` returns.
fn stand_in(signal: c_int, record: &Record, wanted: &libc::sigaction) -> Result<libc::sigaction, c_int> {
    // SAFETY: `sigaction` is plain data for which all zeros is a value; the handler is async-signal-safe
    // and has the signature that SA_SIGINFO asks for.
    let (failed, mut old) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_crash as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut old = std::mem::zeroed();
        (real::sigaction(signal, &raw const action, &raw mut old), old)
    };
    if failed != 0 {
        return Err(failed);
    }
    let everything = real::block_everything();
    let before = record.replace(Wish::of(wanted));
    real::restore(&everything);
    disguise(&mut old, before);
    Ok(old)
}

/// Shows the program the default action where this stands in for it.
fn disguise(action: &mut libc::sigaction, wish: Wish) {
    if action.sa_sigaction == on_crash as *const () as usize {
        action.sa_sigaction = libc::SIG_DFL;
        action.sa_flags = wish.flags;
        action.sa_mask = real::from_bits(wish.mask);
    }
}

/// Changes and tells the action for a signal that [`covers`] names.
///
/// # Safety
/// As for sigaction(2).
pub(crate) unsafe fn sigaction(
    signal: c_int,
    new: Option<&libc::sigaction>,
    old: *mut libc::sigaction,
) -> c_int {
    let Some(record) = record(signal) else { return libc::EINVAL };
    let before = match new {
        Some(new) if new.sa_sigaction == libc::SIG_DFL => match stand_in(signal, record, new) {
            Ok(before) => before,
            Err(failed) => return failed,
        },
        new => {
            let wish = record.read();
            // SAFETY: all zeros is an action, which is filled in; `new` is one, or null.
            let (failed, mut before) = unsafe {
                let mut before = std::mem::zeroed();
                let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
                (real::sigaction(signal, new, &raw mut before), before)
            };
            if failed != 0 {
                return failed;
            }
            disguise(&mut before, wish);
            before
        }
    };
    if !old.is_null() {
        // SAFETY: the caller's promise.
        unsafe { old.write(before) };
    }
    0
}

/// Whether the program would be ended by `signal`: it wants the default action.
pub(crate) fn is_fatal(signal: c_int) -> bool {
    let handler = query(signal).sa_sigaction;
    handler == libc::SIG_DFL || handler == on_crash as *const () as usize
}

/// Lets the default action be, from now on.
pub(crate) fn withdraw(signal: c_int) {
    // SAFETY: all zeros is the default action.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        real::sigaction(signal, &raw const default, std::ptr::null_mut());
    }
}

/// Async-signal-safe. The signal is blocked while it runs.
extern "C" fn on_crash(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel calls this with a filled-in `siginfo_t` and `ucontext_t`.
    let code = unsafe {
        tell(signal, info, context);
        (*info).si_code
    };
    withdraw(signal);
    // A fault is raised again by its instruction, once this handler returns.
    if code > 0 && code != libc::SI_KERNEL {
        return;
    }
    // Anything else is sent again, and arrives then.
    // SAFETY: the kernel copies the signal's information, which it made itself.
    unsafe {
        let (process, thread) = (libc::getpid(), libc::gettid());
        if libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, info) != 0 {
            libc::syscall(libc::SYS_tgkill, process, thread, signal);
        }
    }
}
