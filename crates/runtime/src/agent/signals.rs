//! The agent's handler for trap signals, and the program's wishes about them.
//!
//! The agent's handler stays installed for SIGTRAP and SIGILL. What the program asks for is recorded,
//! reported back to it as if it were installed, and obeyed for every trap that is not the agent's.
//! For the signals of other crashes, see [`stand_in`].

pub(crate) mod real;
pub(crate) mod stand_in;

use super::crash;
use super::entry;
use super::memory::{self, SystemError};
use super::trap_table::{Continuation, TRAPS};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// The signals that the agent handles.
pub(crate) const TRAP_SIGNALS: [c_int; 2] = [libc::SIGTRAP, libc::SIGILL];

static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Whether the agent's handlers are installed.
pub(crate) fn active() -> bool {
    ACTIVE.load(Ordering::Acquire)
}

/// What the program wants to happen on a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    /// `SIG_DFL`, `SIG_IGN` or the address of a handler.
    pub(crate) handler: usize,
    /// `SA_…`.
    pub(crate) flags: c_int,
    /// Signals that are blocked while the handler runs, as the kernel numbers them: bit `signal - 1`.
    pub(crate) mask: u64,
}

impl Wish {
    pub(crate) fn of(action: &libc::sigaction) -> Self {
        Self { handler: action.sa_sigaction, flags: action.sa_flags, mask: real::to_bits(&action.sa_mask) }
    }
}

/// A [`Wish`] that signal handlers can read: a sequence lock. The sequence is odd during a change.
struct Record {
    sequence: AtomicU32,
    handler: AtomicUsize,
    flags: AtomicU32,
    mask: AtomicU64,
}

impl Record {
    const fn new() -> Self {
        Self {
            sequence: AtomicU32::new(0),
            handler: AtomicUsize::new(libc::SIG_DFL),
            flags: AtomicU32::new(0),
            mask: AtomicU64::new(0),
        }
    }

    fn read(&self) -> Wish {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let wish = Wish {
                handler: self.handler.load(Ordering::Relaxed),
                flags: self.flags.load(Ordering::Relaxed).cast_signed(),
                mask: self.mask.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return wish;
            }
            std::hint::spin_loop();
        }
    }

    /// Replaces the wish. Signals must be blocked in this thread, or a handler could wait for itself.
    fn replace(&self, new: Wish) -> Wish {
        let before = loop {
            let sequence = self.sequence.load(Ordering::Relaxed);
            let odd = sequence.wrapping_add(1);
            if sequence.is_multiple_of(2)
                && self.sequence.compare_exchange(sequence, odd, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                break sequence;
            }
            std::hint::spin_loop();
        };
        fence(Ordering::Release);
        let old = Wish {
            handler: self.handler.swap(new.handler, Ordering::Relaxed),
            flags: self.flags.swap(new.flags.cast_unsigned(), Ordering::Relaxed).cast_signed(),
            mask: self.mask.swap(new.mask, Ordering::Relaxed),
        };
        self.sequence.store(before.wrapping_add(2), Ordering::Release);
        old
    }
}

static TRAP_RECORD: Record = Record::new();
static ILL_RECORD: Record = Record::new();

fn record(signal: c_int) -> &'static Record {
    if signal == libc::SIGTRAP { &TRAP_RECORD } else { &ILL_RECORD }
}

/// What the program wants to happen on a trap signal.
pub(crate) fn wish(signal: c_int) -> Wish {
    record(signal).read()
}

/// Records what the program wants from now on, and returns what it wanted before.
pub(crate) fn set_wish(signal: c_int, new: Wish) -> Wish {
    let everything = real::block_everything();
    let old = record(signal).replace(new);
    real::restore(&everything);
    // Whether an interrupted system call restarts is up to the action that is installed.
    if (old.flags ^ new.flags) & libc::SA_RESTART != 0 {
        let _ = install_for(signal, new.flags & libc::SA_RESTART);
    }
    old
}

/// Installs the agent's handlers. What was installed before becomes the program's wish.
pub(crate) fn install() -> Result<(), SystemError> {
    for signal in TRAP_SIGNALS {
        let old = install_for(signal, libc::SA_RESTART)?;
        record(signal).replace(Wish::of(&old));
    }
    stand_in::install();
    ACTIVE.store(true, Ordering::Release);
    real::unblock_traps();
    Ok(())
}

/// Installs the agent's handlers again where the program replaced them past the C library's functions.
/// Says whether it had.
pub(crate) fn reinstall() -> Result<bool, SystemError> {
    let mut replaced = false;
    for signal in TRAP_SIGNALS {
        // SAFETY: all zeros is an action, which is filled in.
        let action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            real::sigaction(signal, std::ptr::null(), &raw mut action);
            action
        };
        if action.sa_sigaction != on_trap as *const () as usize {
            install_for(signal, action.sa_flags & libc::SA_RESTART)?;
            set_wish(signal, Wish::of(&action));
            replaced = true;
        }
    }
    Ok(replaced)
}

fn install_for(signal: c_int, more: c_int) -> Result<libc::sigaction, SystemError> {
    // SAFETY: `sigaction` is plain data for which all zeros is a value; the handler is async-signal-safe
    // (see there) and has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER | more;
        let mut old: libc::sigaction = std::mem::zeroed();
        match real::sigaction(signal, &raw const action, &raw mut old) {
            0 => Ok(old),
            _ => Err(SystemError::last("sigaction")),
        }
    }
}

/// Async-signal-safe: reads atomics, and calls only what is. Leaves `errno` alone.
extern "C" fn on_trap(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel calls this with a filled-in `siginfo_t` and `ucontext_t`.
    let (synchronous, address) = unsafe { ((*info).si_code > 0, entry::trap_address(signal, context)) };
    if synchronous && let Some(to) = TRAPS.lookup(address) {
        let target = match to {
            Continuation::Address(address) => address,
            // SAFETY: slots in the table were checked, and their islands stay while they are in it.
            Continuation::Slot(slot) => unsafe { memory::load_slot(slot) },
        };
        // SAFETY: the table says that this is the same place in the program as the trap's.
        unsafe { entry::continue_at(context, target) };
        return;
    }
    pass_on(signal, synchronous, info, context);
}

/// Does what the program wants to happen, or what the kernel would do without the agent.
fn pass_on(signal: c_int, synchronous: bool, info: *mut libc::siginfo_t, context: *mut c_void) {
    let wish = wish(signal);
    match wish.handler {
        libc::SIG_IGN if !synchronous => {}
        // The kernel does not let a program ignore a trap of its own.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the caller's arguments are a running handler's.
            unsafe { tell(signal, info, context) };
            die(signal, synchronous);
        }
        handler => {
            if wish.flags & libc::SA_RESETHAND != 0 {
                let everything = real::block_everything();
                record(signal).replace(Wish { handler: libc::SIG_DFL, ..wish });
                real::restore(&everything);
            }
            // The kernel takes this back with the rest of the context when this handler returns.
            real::block(wish.mask);
            // SAFETY: the program registered this address as a handler; one without SA_SIGINFO ignores
            // the second and third argument.
            unsafe {
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
        }
    }
}

/// Tells the server that the program is about to end by `signal`, unless another process sent it.
///
/// # Safety
/// The arguments must be those of a signal handler that is running.
unsafe fn tell(signal: c_int, info: *const libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the caller's promise; only signals that were sent (`si_code` 0 or less) have a sender.
    let (code, sent) = unsafe {
        let code = (*info).si_code;
        (code, code <= 0 && (*info).si_pid() != libc::getpid())
    };
    if !sent {
        // SAFETY: the caller's promise.
        crash::tell(signal, code, unsafe { entry::registers(signal, context) });
    }
}

/// Ends the process by this signal, as its default action does.
fn die(signal: c_int, synchronous: bool) {
    // SAFETY: all zeros is the default action; both calls are async-signal-safe.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        real::sigaction(signal, &raw const default, std::ptr::null_mut());
        if synchronous && signal == libc::SIGILL {
            // The invalid instruction runs again once the handler returns.
            return;
        }
        libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_whole() {
        static RECORD: Record = Record::new();
        let wish = |n: usize| Wish { handler: n, flags: n as c_int, mask: n as u64 };
        RECORD.replace(wish(7));
        let reader = std::thread::spawn(|| {
            for _ in 0..20_000 {
                let seen = RECORD.read();
                assert!(seen.handler == seen.flags as usize && seen.handler as u64 == seen.mask, "{seen:?}");
            }
        });
        for n in 0..20_000 {
            RECORD.replace(wish(n));
        }
        assert!(reader.join().is_ok());
    }

    #[test]
    fn sets_survive_the_way_through_bits() {
        let bits = 1 << (libc::SIGTRAP - 1) | 1 << (libc::SIGUSR1 - 1) | 1 << 63;
        assert_eq!(real::to_bits(&real::from_bits(bits)), bits);
    }
}
