//! Entry redirection, decided from bytes: what a function's first instructions become.
//!
//! One module per instruction set. Each takes a function's bytes and says which bytes may stand at its
//! entry so that no thread, wherever its program counter is, runs anything but the old or the new body.

pub mod aarch64;
pub mod x86_64;

use crate::address::RuntimeAddress;
use thiserror::Error;

/// A function as its image's file has it.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// Run-time address of its first byte.
    pub entry: RuntimeAddress,
    /// The section (or any part of it) that the function is in, as in the file.
    pub text: &'a [u8],
    /// Where in `text` the function begins, in bytes.
    pub offset: usize,
    /// How long it is by its symbol, in bytes.
    pub size: usize,
    /// How many bytes of `text` behind it belong to no symbol at all.
    pub padding: usize,
}

impl<'a> Function<'a> {
    /// The function's own bytes; none if they are not in `text`.
    pub fn body(&self) -> Option<&'a [u8]> {
        self.text.get(self.offset..self.offset.checked_add(self.size)?)
    }

    /// The byte at a run-time address; none if `text` does not have it.
    pub fn byte(&self, at: RuntimeAddress) -> Option<u8> {
        let distance = isize::try_from(at.distance_from(self.entry)).ok()?;
        self.text.get(self.offset.checked_add_signed(distance)?).copied()
    }

    /// The bytes behind it that belong to nothing.
    pub(crate) fn padding(&self) -> Option<&'a [u8]> {
        let start = self.offset.checked_add(self.size)?;
        self.text.get(start..start.checked_add(self.padding)?)
    }
}

/// Threads that a redirection may send into the new body although they did not call it.
///
/// All of them are at the function's very first instruction with the registers that a loop left there.
/// To the old code that is the same as a call with those arguments; to the new code it may not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hazards {
    /// The function loops to its first instruction, so a thread may stand there when the entry changes.
    /// Pointing the slot at the original first, and at the new body once every thread has run, avoids it.
    pub loop_head: bool,
    /// The function has jumps whose targets are not in its code (jump tables), or bytes that are not
    /// instructions, and its first instruction does not rule out that it is the target of a loop.
    pub unseen_loops: bool,
    /// A thread may come to a trapping byte at any later time: by a loop back among the overwritten
    /// instructions, by returning from a call there, or, where calls trap, by any call.
    pub lasting_traps: bool,
}

/// Why a function's entry cannot be redirected. Offsets are bytes from the function's start.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EntryError {
    /// The symbol has size 0.
    #[error("the function has no size")]
    Empty,
    /// The function's range is not inside the bytes that were given, or leaves the address space.
    #[error("the function's range is outside the section")]
    OutsideText,
    /// No valid instruction there that ends inside the function.
    #[error("no instruction at +{offset:#x}")]
    Undecodable {
        /// Where.
        offset: usize,
    },
    /// An instruction that cannot be copied elsewhere.
    #[error("cannot relocate {what} at +{offset:#x}")]
    Unsupported {
        /// Where.
        offset: usize,
        /// What it is.
        what: &'static str,
    },
    /// The first instruction can be interrupted half-way and resumed at the entry, as if called.
    #[error("the first instruction can be resumed half-way ({what})")]
    Resumable {
        /// What it is.
        what: &'static str,
    },
    /// A branch leads into the middle of one of the first instructions.
    #[error("the branch at +{offset:#x} leads into an instruction, at +{target:#x}")]
    IntoInstruction {
        /// The branch.
        offset: usize,
        /// Where it leads.
        target: usize,
    },
    /// The copy's place is more than 2 GiB from something that the code refers to.
    #[error("{target} is out of reach of the relocated copy at {at}")]
    OutOfReach {
        /// The reference's place in the copy.
        at: RuntimeAddress,
        /// What it refers to.
        target: RuntimeAddress,
    },
}

/// The relocated copy of a function's first instructions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// Run-time address of its first byte: where the old body begins from now on.
    pub at: RuntimeAddress,
    /// Code, and behind it the return addresses that its calls push.
    pub bytes: Vec<u8>,
    /// Where the original's instructions are in the copy: offset from the function's start (the first is
    /// 0), and run-time address in the copy.
    pub boundaries: Vec<(usize, RuntimeAddress)>,
    /// The same for branches back to the entry.
    pub loops: Vec<(usize, RuntimeAddress)>,
}
