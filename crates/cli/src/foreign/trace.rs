//! Stopping one thread of another process, for a moment (ptrace(2)).
//!
//! The thread is seized, not attached to: no signal is sent, and the process's other threads run on. All of
//! this must happen in one thread of ours; when that ends, the kernel lets go of what it still holds.

use super::stack::Registers;
use livepatch_object::address::RuntimeAddress;
use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long a thread may take to stop: only one deep inside the kernel takes longer.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_micros(200);

/// What the kernel notes where a system call was interrupted, and is to be made again (its errno.h).
const ERESTARTSYS: i64 = 512;
const ERESTARTNOINTR: i64 = 513;
const ERESTARTNOHAND: i64 = 514;
const ERESTART_RESTARTBLOCK: i64 = 516;
/// The system call that goes on with one that had a time limit.
const SYS_RESTART: u64 = 219;
/// No system call.
const NONE: u64 = u64::MAX;

/// A thread could not be stopped, or did not stay.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The kernel does not allow it.
    #[error("it may not be traced")]
    Forbidden,
    /// It has ended.
    #[error("it has ended")]
    Ended,
    /// It was stopped by a signal.
    #[error("it is stopped")]
    Stopped,
    /// A signal came at the wrong moment; another try may work.
    #[error("a signal came between")]
    Interrupted,
    /// The same, with a real-time signal, which has no name: the kernel delivers it once the thread that
    /// traces has ended.
    #[error("a real-time signal came between")]
    RealTime,
    /// It does not stop.
    #[error("it does not stop")]
    Unresponsive,
    /// Something else.
    #[error("ptrace failed")]
    System(#[source] Errno),
}

impl From<Errno> for TraceError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::ESRCH => Self::Ended,
            Errno::EPERM => Self::Forbidden,
            other => Self::System(other),
        }
    }
}

/// A thread that is stopped.
#[derive(Debug)]
pub struct Stopped {
    thread: Pid,
    /// As they were when it stopped.
    registers: user_regs_struct,
    /// They were changed since.
    changed: bool,
}

/// A stop, as `waitpid` tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// By [`ptrace::interrupt`].
    Interrupt,
    /// Before or after a system call.
    SystemCall,
    /// With a signal that is about to be delivered.
    Signal(Signal),
    /// With its whole process.
    Group,
}

impl Stopped {
    /// Stops a thread.
    pub fn stop(thread: u32) -> Result<Self, TraceError> {
        let thread = Pid::from_raw(i32::try_from(thread).map_err(|_| TraceError::Ended)?);
        ptrace::seize(thread, ptrace::Options::PTRACE_O_TRACESYSGOOD)?;
        ptrace::interrupt(thread)?;
        match until_stopped(thread)? {
            Stop::Group => {
                ptrace::detach(thread, None)?;
                Err(TraceError::Stopped)
            }
            _ => Ok(Self { thread, registers: ptrace::getregs(thread)?, changed: false }),
        }
    }

    /// Where it stands.
    pub fn registers(&self) -> Registers {
        let at = |register| RuntimeAddress(register);
        Registers { pc: at(self.registers.rip), sp: at(self.registers.rsp), bp: at(self.registers.rbp) }
    }

    /// Makes a system call in its place; `at` is where a `syscall` instruction is. What the call returned.
    pub fn system_call(
        &mut self,
        at: RuntimeAddress,
        number: u64,
        arguments: [u64; 6],
    ) -> Result<u64, TraceError> {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let call = user_regs_struct {
            rip: at.0,
            rax: number,
            orig_rax: NONE,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..self.registers
        };
        ptrace::setregs(self.thread, call)?;
        self.changed = true;
        let mut sides = 0..2;
        while sides.next().is_some() {
            ptrace::syscall(self.thread, None)?;
            let stop = wait(self.thread).inspect_err(|_| {
                let _ = ptrace::setregs(self.thread, self.registers);
            })?;
            match stop {
                Stop::SystemCall => {}
                // It runs on all the same, and stops with the others when it is let go.
                Stop::Interrupt | Stop::Group => sides.start -= 1,
                Stop::Signal(signal) => {
                    self.deliver(signal)?;
                    return Err(TraceError::Interrupted);
                }
            }
        }
        Ok(ptrace::getregs(self.thread)?.rax)
    }

    /// Delivers a signal that came between, to the thread as it was. It is not stopped any more.
    fn deliver(&self, signal: Signal) -> Result<(), TraceError> {
        ptrace::setregs(self.thread, self.registers)?;
        Ok(ptrace::detach(self.thread, signal)?)
    }

    /// Has it go on elsewhere, with that stack pointer and that in `rbx`.
    pub fn go_to(&mut self, at: RuntimeAddress, sp: RuntimeAddress, rbx: u64) -> Result<(), TraceError> {
        let there = user_regs_struct { rip: at.0, rsp: sp.0, rbx, orig_rax: NONE, ..self.registers };
        ptrace::setregs(self.thread, there)?;
        self.changed = true;
        Ok(ptrace::cont(self.thread, None)?)
    }

    /// Looks after it while it goes elsewhere: signals are passed on. False once it is no more.
    pub fn attend(&self) -> bool {
        match poll(self.thread) {
            Ok(None) => true,
            Ok(Some(Stop::Signal(signal))) => ptrace::cont(self.thread, signal).is_ok(),
            Ok(Some(_)) => ptrace::cont(self.thread, None).is_ok(),
            Err(error) => !matches!(error, TraceError::Ended),
        }
    }

    /// Stops it again, wherever it is; [`Stopped::release`] has it go on where it was first.
    pub fn stop_again(&mut self) -> Result<(), TraceError> {
        ptrace::interrupt(self.thread)?;
        until_stopped(self.thread).map(drop)
    }

    /// The registers with which it would go on where it was stopped without the kernel's help: a system call
    /// that was interrupted is made again. As `attach::block::REGISTERS` has them, and `rip`.
    pub fn own_registers(&self) -> ([u64; 17], u64) {
        let r = again(self.registers);
        let registers = [
            r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13,
            r.r14, r.r15, r.eflags,
        ];
        (registers, r.rip)
    }

    /// Lets it go on where it was stopped.
    pub fn release(self) -> Result<(), TraceError> {
        if !self.changed {
            return Ok(ptrace::detach(self.thread, None)?);
        }
        // Only where a thread is interrupted does the kernel look whether a system call is to be made again,
        // or a handler to be called first.
        ptrace::interrupt(self.thread)?;
        ptrace::cont(self.thread, None)?;
        match wait(self.thread)? {
            Stop::Signal(signal) => self.deliver(signal),
            Stop::Interrupt | Stop::Group => {
                ptrace::setregs(self.thread, self.registers)?;
                Ok(ptrace::detach(self.thread, None)?)
            }
            Stop::SystemCall => {
                ptrace::setregs(self.thread, again(self.registers))?;
                Ok(ptrace::detach(self.thread, None)?)
            }
        }
    }
}

/// Registers that make an interrupted system call again: its instruction is two bytes long.
fn again(registers: user_regs_struct) -> user_regs_struct {
    let interrupted = registers.orig_rax != NONE;
    let repeated = match -registers.rax.cast_signed() {
        ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND if interrupted => registers.orig_rax,
        ERESTART_RESTARTBLOCK if interrupted => SYS_RESTART,
        _ => return user_regs_struct { orig_rax: NONE, ..registers },
    };
    let rip = registers.rip.wrapping_sub(2);
    user_regs_struct { rax: repeated, rip, orig_rax: NONE, ..registers }
}

/// Waits until a thread stops because it was interrupted, or with its process; signals that come before are
/// delivered.
fn until_stopped(thread: Pid) -> Result<Stop, TraceError> {
    loop {
        match wait(thread)? {
            stop @ (Stop::Interrupt | Stop::Group) => return Ok(stop),
            Stop::SystemCall => ptrace::cont(thread, None)?,
            Stop::Signal(signal) => ptrace::cont(thread, signal)?,
        }
    }
}

fn wait(thread: Pid) -> Result<Stop, TraceError> {
    let since = Instant::now();
    loop {
        if let Some(stop) = poll(thread)? {
            return Ok(stop);
        }
        if since.elapsed() > PATIENCE {
            return Err(TraceError::Unresponsive);
        }
        std::thread::sleep(POLL);
    }
}

fn poll(thread: Pid) -> Result<Option<Stop>, TraceError> {
    let look = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(thread), look | WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED) {
        // Not taken: a stop that was waited for would lose its signal.
        Err(Errno::EINVAL) => return Err(TraceError::RealTime),
        Ok(WaitStatus::StillAlive) => return Ok(None),
        _ => {}
    }
    match waitpid(thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::PtraceSyscall(_)) => Ok(Some(Stop::SystemCall)),
        Ok(WaitStatus::PtraceEvent(_, Signal::SIGTRAP, _)) => Ok(Some(Stop::Interrupt)),
        Ok(WaitStatus::PtraceEvent(..)) => Ok(Some(Stop::Group)),
        Ok(WaitStatus::Stopped(_, signal)) => Ok(Some(Stop::Signal(signal))),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => Err(TraceError::Ended),
        Ok(WaitStatus::StillAlive | WaitStatus::Continued(_)) | Err(Errno::EINTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
