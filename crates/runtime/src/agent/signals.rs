//! The agent's handler for trap signals, and the program's wishes about them.
//!
//! The agent's handler stays installed for SIGTRAP and SIGILL. What the program asks for is recorded,
//! reported back to it as if it were installed, and obeyed for every trap that is not the agent's.

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
        libc::SIG_DFL | libc::SIG_IGN => die(signal, synchronous),
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

/// The C library's own functions, past the agent's (`interpose`).
pub(crate) mod real {
    use super::{AtomicUsize, Ordering, TRAP_SIGNALS, c_int};
    use std::ffi::CStr;

    /// A function of the C library that is looked up once.
    pub(crate) struct Next {
        name: &'static CStr,
        address: AtomicUsize,
    }

    impl Next {
        pub(crate) const fn new(name: &'static CStr) -> Self {
            Self { name, address: AtomicUsize::new(0) }
        }

        /// The function's address. Not 0: the agent needs the C library that has these.
        pub(crate) fn address(&self) -> usize {
            match self.address.load(Ordering::Relaxed) {
                0 => self.find(),
                known => known,
            }
        }

        #[cold]
        fn find(&self) -> usize {
            // SAFETY: `dlsym` only reads the name.
            let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) } as usize;
            self.address.store(found, Ordering::Relaxed);
            found
        }
    }

    pub(crate) type SigAction =
        unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
    pub(crate) type SigMask =
        unsafe extern "C" fn(c_int, *const libc::sigset_t, *mut libc::sigset_t) -> c_int;
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
