//! Entry redirection on x86-64: a punned `jmp rel32`, and the relocated copy of what it overwrites.
//!
//! The *window* is the first five bytes. A thread may be about to run any instruction that begins in
//! it: it was interrupted there, returns there, branches there. Each such *boundary* therefore holds
//! a trapping opcode from then on ([`pun`]), and the trap leads to the same instruction in a
//! *relocated copy* of the window, which goes on in the original behind the window ([`Copy`](struct@Copy)).
//!
//! What no bytes can tell apart is a thread at the entry itself that was called from one that came
//! there by a loop. Branches back to the entry are found and led into the copy ([`Entry::loops`]); what
//! is left of that hazard is told by [`Entry::hazards`].

mod copy;
mod decode;
mod loops;
pub mod pun;

#[cfg(test)]
mod tests;

use crate::address::RuntimeAddress;
use thiserror::Error;

pub use copy::Copy;
use decode::Piece;

/// Bytes that a `jmp rel32` takes.
pub const JUMP: usize = 5;

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

    fn padding(&self) -> Option<&'a [u8]> {
        let start = self.offset.checked_add(self.size)?;
        self.text.get(start..start.checked_add(self.padding)?)
    }
}

/// How a function is redirected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// A punned `jmp rel32` over its first five bytes.
    Jump,
    /// An `int3` over its first byte; every call traps.
    Trap,
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
    /// instructions, by returning from a call there, or, with [`Method::Trap`], by any call.
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

/// What was found out about a function's entry.
#[derive(Clone, Debug)]
pub struct Entry {
    at: RuntimeAddress,
    method: Method,
    pieces: Vec<Piece>,
    loops: Vec<Piece>,
    hazards: Hazards,
}

/// Decodes a function's first instructions and looks for loops to its entry.
///
/// The method is [`Method::Trap`] only for functions that are shorter than a jump even with the `nop`s
/// and `int3`s behind them.
pub fn analyze(function: &Function<'_>) -> Result<Entry, EntryError> {
    match decode::window(function, JUMP)? {
        Some(pieces) => Entry::new(function, Method::Jump, pieces),
        None => analyze_trap(function),
    }
}

/// As [`analyze`], for [`Method::Trap`].
pub fn analyze_trap(function: &Function<'_>) -> Result<Entry, EntryError> {
    let pieces = decode::window(function, 1)?.ok_or(EntryError::Empty)?;
    Entry::new(function, Method::Trap, pieces)
}

impl Entry {
    fn new(function: &Function<'_>, method: Method, pieces: Vec<Piece>) -> Result<Self, EntryError> {
        decode::refuse_resumable(&pieces)?;
        let mut found = loops::find(function, &pieces)?;
        found.hazards.lasting_traps |= method == Method::Trap || pieces.iter().any(Piece::returns_inside);
        Ok(Self { at: function.entry, method, pieces, loops: found.branches, hazards: found.hazards })
    }

    /// How it can be redirected.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Run-time address of the function's first byte.
    pub fn address(&self) -> RuntimeAddress {
        self.at
    }

    /// What the redirection cannot rule out.
    pub fn hazards(&self) -> Hazards {
        self.hazards
    }

    /// How many bytes the instructions take that begin in the overwritten bytes.
    pub fn covered(&self) -> usize {
        decode::end(&self.pieces)
    }

    /// The instruction boundaries inside bytes 1 to 4 that the jump overwrites.
    pub fn boundaries(&self) -> pun::Boundaries {
        let inner = self.pieces.iter().map(|piece| piece.offset).filter(|&offset| offset > 0);
        pun::Boundaries::new(inner)
    }

    /// Whether the function begins with `endbr64`.
    pub fn begins_with_endbr(&self) -> bool {
        self.pieces.first().is_some_and(Piece::is_endbr64)
    }

    /// Direct branches to the entry from behind the copied instructions: offset and length in bytes,
    /// ascending. Their first bytes have to trap before the entry changes.
    pub fn loops(&self) -> impl Iterator<Item = (usize, usize)> {
        self.loops.iter().map(|piece| (piece.offset, piece.length))
    }

    /// Bytes that [`Entry::relocate`] yields, wherever.
    pub fn copy_length(&self) -> usize {
        copy::length(self)
    }

    /// The overwritten instructions, and the branches back to them, as they work at `at`.
    pub fn relocate(&self, at: RuntimeAddress) -> Result<Copy, EntryError> {
        copy::relocate(self, at)
    }
}
