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

pub use super::{Copy, EntryError, Function, Hazards};
use decode::Piece;

/// Bytes that a `jmp rel32` takes.
pub const JUMP: usize = 5;

/// How a function is redirected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// A punned `jmp rel32` over its first five bytes.
    Jump,
    /// An `int3` over its first byte; every call traps.
    Trap,
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
