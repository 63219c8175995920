//! Entry redirection on AArch64: one `B` over one instruction, and the relocated copy of what it overwrites.
//!
//! Instructions are four aligned bytes, so a thread executes all of the old one or all of the new one, and no
//! thread stands inside. What is left is as on x86-64: a thread at the entry may have come there by a loop
//! rather than by a call. Branches back to the entry are found ([`Entry::loops`]) and replaced, each by a `B`
//! to its own copy; [`Entry::hazards`] tells the rest.
//!
//! A landing pad (`BTI`) stays where it is, for indirect calls land there, and the instruction behind it is
//! overwritten. `PACIASP` is a landing pad too, but signs the return address, so it goes: the page it is on is
//! not guarded any more once it was made writable.
//!
//! The Arm ARM ("Concurrent modification and execution of instructions") promises that a thread that has not
//! synchronized sees one of the two only where both are branches, `NOP`, `BRK` and their like. That holds for
//! what replaces and for later changes of islands; for other instructions that are overwritten it is how
//! processors fetch, an aligned word at once.

mod a64;
mod copy;

#[cfg(test)]
mod tests;

use super::{Copy, EntryError, Function, Hazards};
use crate::address::RuntimeAddress;
use a64::Kind;

pub use a64::{branch, branch_through};

/// Bytes of an instruction.
pub const INSTRUCTION: usize = 4;
/// How far a `B` reaches in both directions, in bytes (forward it is four less).
pub const BRANCH_REACH: u64 = 128 << 20;

/// An instruction of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    /// Where, in bytes from the function's start.
    offset: usize,
    word: u32,
    kind: Kind,
}

/// What was found out about a function's entry.
#[derive(Clone, Debug)]
pub struct Entry {
    at: RuntimeAddress,
    /// Up to the overwritten instruction, which is the last.
    pieces: Vec<Piece>,
    loops: Vec<Piece>,
    hazards: Hazards,
}

/// Decodes a function's first instructions and looks for loops to its entry.
pub fn analyze(function: &Function<'_>) -> Result<Entry, EntryError> {
    let body = function.body().ok_or(EntryError::OutsideText)?;
    if body.is_empty() {
        return Err(EntryError::Empty);
    }
    if !function.entry.0.is_multiple_of(INSTRUCTION as u64) {
        return Err(EntryError::Unsupported { offset: 0, what: "a function that is not aligned" });
    }
    let mut pieces = vec![piece(function, body, 0)?];
    if pieces.first().is_some_and(|first| a64::is_landing_pad(first.word)) {
        pieces.push(piece(function, body, INSTRUCTION)?);
    }
    if pieces.iter().any(|piece| piece.kind == Kind::Resumable) {
        return Err(EntryError::Resumable { what: "a copy or a system call" });
    }
    let mut entry = Entry { at: function.entry, pieces, loops: Vec::new(), hazards: Hazards::default() };
    entry.find_loops(function, body)?;
    Ok(entry)
}

fn piece(function: &Function<'_>, body: &[u8], offset: usize) -> Result<Piece, EntryError> {
    let word = word(body, offset).ok_or(EntryError::Undecodable { offset })?;
    let at = function.entry.checked_add(offset as u64).ok_or(EntryError::OutsideText)?;
    Ok(Piece { offset, word, kind: a64::decode(word, at).ok_or(EntryError::Undecodable { offset })? })
}

fn word(body: &[u8], offset: usize) -> Option<u32> {
    let bytes = body.get(offset..offset.checked_add(INSTRUCTION)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

impl Entry {
    /// Run-time address of the function's first byte.
    pub fn address(&self) -> RuntimeAddress {
        self.at
    }

    /// Which instruction is overwritten: its offset from the function's start, in bytes.
    pub fn site(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.offset)
    }

    /// What the redirection cannot rule out.
    pub fn hazards(&self) -> Hazards {
        self.hazards
    }

    /// Direct branches to the entry from behind the copied instructions, by offset, ascending. They have to
    /// lead to their copies before the entry changes.
    pub fn loops(&self) -> impl Iterator<Item = usize> {
        self.loops.iter().map(|piece| piece.offset)
    }

    /// Bytes that [`Entry::relocate`] yields, wherever.
    pub fn copy_length(&self) -> usize {
        copy::length(self)
    }

    /// The overwritten instruction and the branches back to it, as they work at `at`, a multiple of 16.
    pub fn relocate(&self, function: &Function<'_>, at: RuntimeAddress) -> Result<Copy, EntryError> {
        copy::relocate(self, function, at)
    }

    /// Looks through the body for branches to the copied instructions; calls are not branches.
    fn find_loops(&mut self, function: &Function<'_>, body: &[u8]) -> Result<(), EntryError> {
        let copied = self.pieces.len() * INSTRUCTION;
        let leads_back = |target: RuntimeAddress| {
            target.checked_since(self.at).is_some_and(|distance| distance < copied as u64)
        };
        let (mut jumps, mut takes_entry) = (false, None);
        for offset in (0..body.len()).step_by(INSTRUCTION) {
            // What is no instruction is data, or never run.
            let Ok(piece) = piece(function, body, offset) else { continue };
            match piece.kind {
                Kind::Branch { target } | Kind::Conditional { target, .. } if leads_back(target) => {
                    self.hazards.loop_head = true;
                    if offset >= copied {
                        self.loops.push(piece);
                    }
                }
                Kind::Address { target, .. } if leads_back(target) => takes_entry = Some(offset),
                Kind::Ends => jumps |= a64::is_jump(piece.word),
                _ => {}
            }
        }
        let opens_frame = self.pieces.iter().any(|piece| a64::opens_frame(piece.word));
        if let Some(offset) = takes_entry.filter(|_| jumps && !opens_frame) {
            // Where entries of a table count from, if the compiler has made them small.
            return Err(EntryError::Unsupported { offset, what: "a jump table that may lead to the entry" });
        }
        self.hazards.unseen_loops = jumps && !opens_frame;
        Ok(())
    }
}
