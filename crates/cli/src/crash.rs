//! Crashes of the program: by which signal, and in which of its functions.

use crate::foreign::maps::Maps;
use crate::foreign::memory::Memory;
use crate::foreign::stack::{Registers, Unwinding};
use livepatch_build::session::CodeAt;
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::Crash;
use serde::Serialize;
use signal_hook::consts::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};

/// A process that is about to end by a signal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crashed {
    /// Its process id.
    pub pid: u32,
    /// The process that it was forked from, if it was.
    pub parent: Option<u32>,
    /// The signal's number.
    pub signal: i32,
    /// The instruction that crashed, and the calls that led there.
    pub frames: Vec<RuntimeAddress>,
}

/// Looks at a process that waits to end. What cannot be found out is left out.
pub fn look(crash: &Crash) -> Crashed {
    let registers = Registers {
        pc: RuntimeAddress(crash.pc.0),
        sp: RuntimeAddress(crash.sp.0),
        bp: RuntimeAddress(crash.bp.0),
    };
    let read = Maps::read(crash.pid).and_then(|maps| Ok((maps, Memory::open(crash.pid)?)));
    let frames = read
        .map_or(vec![registers.pc], |(maps, memory)| Unwinding::new(&maps, &memory).stack(registers).frames);
    Crashed {
        pid: crash.pid,
        parent: Some(crash.parent).filter(|&parent| parent != 0),
        signal: crash.signal.cast_signed(),
        frames,
    }
}

/// The name of a signal that a program crashes by; none for other signals.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    let names = [
        (SIGABRT, "SIGABRT"),
        (SIGBUS, "SIGBUS"),
        (SIGFPE, "SIGFPE"),
        (SIGILL, "SIGILL"),
        (SIGSEGV, "SIGSEGV"),
        (SIGTRAP, "SIGTRAP"),
    ];
    names.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

/// A function of the program, as it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Function {
    /// Its name.
    pub function: String,
    /// The patch that brought this body of it; none for the one that the program was started with.
    pub patch: Option<u32>,
}

/// Where a crash happened, as far as it is the program's own code.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Whereabouts {
    /// The function that crashed.
    pub function: Option<Function>,
    /// The innermost function of a patch that it was called from, if it is not of a patch itself.
    pub called_from: Option<Function>,
}

impl Crashed {
    /// Finds the functions, with `code_at` for those of the program.
    pub fn whereabouts(&self, code_at: impl Fn(RuntimeAddress) -> Option<CodeAt>) -> Whereabouts {
        let code_at = |address: &RuntimeAddress| {
            code_at(*address).map(|CodeAt { function, patch }| Function { function, patch })
        };
        // A program that gives up calls for it: the function is std's or the C library's.
        let gave_up = self.signal == SIGABRT;
        let function =
            self.frames.first().and_then(code_at).filter(|found| !gave_up || found.patch.is_some());
        let is_patched = function.as_ref().is_some_and(|function| function.patch.is_some());
        let mut patched =
            self.frames.iter().skip(1).filter_map(code_at).filter(|found| found.patch.is_some());
        let called_from = if is_patched { None } else { patched.next() };
        Whereabouts { function, called_from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crashed(signal: i32) -> Crashed {
        let frames = [1, 2, 3, 4].map(RuntimeAddress).to_vec();
        Crashed { pid: 1, parent: None, signal, frames }
    }

    /// Patches are at odd addresses below 4, the program at 2.
    fn code_at(address: RuntimeAddress) -> Option<CodeAt> {
        let patch = Some(5).filter(|_| address.0 % 2 == 1);
        (address.0 < 4).then(|| CodeAt { function: format!("f{}", address.0), patch })
    }

    #[test]
    fn the_innermost_patched_function_counts() {
        let told = |function: &str, patch| Some(Function { function: function.into(), patch });
        let mut crash = crashed(SIGSEGV);
        let whereabouts = crash.whereabouts(code_at);
        assert_eq!((whereabouts.function, whereabouts.called_from), (told("f1", Some(5)), None));
        crash.frames.remove(0);
        let whereabouts = crash.whereabouts(code_at);
        assert_eq!((whereabouts.function, whereabouts.called_from), (told("f2", None), told("f3", Some(5))));
        crash.signal = SIGABRT;
        let whereabouts = crash.whereabouts(code_at);
        assert_eq!((whereabouts.function, whereabouts.called_from), (None, told("f3", Some(5))));
        crash.frames.drain(..2);
        assert_eq!(crash.whereabouts(code_at), Whereabouts::default());
    }
}
