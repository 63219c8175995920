//! Writes the overwritten instructions so that they do the same somewhere else.

use super::a64::{self, Kind, Load};
use super::{Entry, Function, INSTRUCTION, Piece};
use crate::address::RuntimeAddress;
use crate::entry::{Copy, EntryError};

/// What literals are aligned to, and how much room each gets.
const LITERAL: usize = 16;

/// Bytes that a piece takes in a copy, literals aside.
fn piece_length(piece: &Piece) -> usize {
    let words = match piece.kind {
        Kind::Plain | Kind::Ends | Kind::Branch { .. } | Kind::Resumable | Kind::Unsupported => 1,
        Kind::Address { .. } => 2,
        Kind::Conditional { .. } | Kind::Call { .. } => 3,
        Kind::IndirectCall { .. } => 4,
        Kind::Literal { load: Load::General { .. }, .. } => 3,
        Kind::Literal { .. } => 1,
    };
    words * INSTRUCTION
}

/// Whether what follows in the original follows in time.
fn falls_through(piece: &Piece) -> bool {
    !matches!(piece.kind, Kind::Ends | Kind::Branch { .. } | Kind::Call { .. } | Kind::IndirectCall { .. })
}

fn way_back(piece: &Piece) -> usize {
    if falls_through(piece) { INSTRUCTION } else { 0 }
}

fn literals(entry: &Entry) -> usize {
    let is_copied = |piece: &&Piece| matches!(piece.kind, Kind::Literal { load: Load::Vector { .. }, .. });
    entry.pieces.iter().filter(is_copied).count() * LITERAL
}

/// Bytes of code, rounded up to where literals begin.
fn code_length(entry: &Entry) -> usize {
    let window: usize = entry.pieces.iter().map(piece_length).sum();
    let back = entry.pieces.last().map_or(0, way_back);
    let loops: usize = entry.loops.iter().map(|piece| piece_length(piece) + way_back(piece)).sum();
    (window + back + loops).next_multiple_of(LITERAL)
}

pub(super) fn length(entry: &Entry) -> usize {
    code_length(entry) + literals(entry)
}

pub(super) fn relocate(
    entry: &Entry,
    function: &Function<'_>,
    at: RuntimeAddress,
) -> Result<Copy, EntryError> {
    let mut starts = Vec::with_capacity(entry.pieces.len());
    let mut place = at;
    for piece in &entry.pieces {
        starts.push((piece.offset, place));
        place = advance(place, piece_length(piece))?;
    }
    let code_end = code_length(entry);
    let mut writer =
        Writer { entry, function, at, starts, code_end, bytes: Vec::new(), literals: Vec::new() };
    for piece in &entry.pieces {
        writer.piece(piece)?;
    }
    if let Some(last) = entry.pieces.last() {
        writer.way_back(last)?;
    }
    let mut loops = Vec::with_capacity(entry.loops.len());
    for piece in &entry.loops {
        loops.push((piece.offset, writer.place()?));
        writer.piece(piece)?;
        writer.way_back(piece)?;
    }
    Ok(writer.finish(loops))
}

fn advance(at: RuntimeAddress, bytes: usize) -> Result<RuntimeAddress, EntryError> {
    at.checked_add(bytes as u64).ok_or(EntryError::OutOfReach { at, target: at })
}

struct Writer<'a> {
    entry: &'a Entry,
    function: &'a Function<'a>,
    at: RuntimeAddress,
    /// Where the original's instructions are in the copy.
    starts: Vec<(usize, RuntimeAddress)>,
    /// Where literals begin.
    code_end: usize,
    bytes: Vec<u8>,
    literals: Vec<u8>,
}

impl Writer<'_> {
    fn place(&self) -> Result<RuntimeAddress, EntryError> {
        advance(self.at, self.bytes.len())
    }

    fn put(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.bytes.extend_from_slice(&word.to_le_bytes()));
    }

    /// Puts what there is if `target` is in reach.
    fn reach(&mut self, words: Option<impl AsRef<[u32]>>, target: RuntimeAddress) -> Result<(), EntryError> {
        let at = self.place()?;
        let words = words.ok_or(EntryError::OutOfReach { at, target })?;
        self.put(words.as_ref());
        Ok(())
    }

    /// Where a branch of the copy leads: to the copy's instruction if that one was copied.
    fn destination(&self, target: RuntimeAddress) -> RuntimeAddress {
        let offset = target.checked_since(self.entry.at);
        let copied = self.starts.iter().find(|(start, _)| offset == Some(*start as u64));
        copied.map_or(target, |&(_, place)| place)
    }

    fn branch(&mut self, target: RuntimeAddress) -> Result<(), EntryError> {
        let branch = a64::branch(self.place()?, target);
        self.reach(branch.map(|word| [word]), target)
    }

    fn address(&mut self, register: u32, target: RuntimeAddress) -> Result<(), EntryError> {
        let words = a64::address(register, self.place()?, target);
        self.reach(words, target)
    }

    fn piece(&mut self, piece: &Piece) -> Result<(), EntryError> {
        match piece.kind {
            Kind::Plain | Kind::Ends => self.put(&[piece.word]),
            Kind::Address { register: 31, .. } => self.put(&[a64::NOP; 2]),
            Kind::Address { register, target } => self.address(register, target)?,
            Kind::Branch { target } => self.branch(self.destination(target))?,
            Kind::Conditional { bits, target } => {
                // To the branch that goes all the way; else past it.
                let past = a64::branch(RuntimeAddress(0), RuntimeAddress(8));
                self.put(&[a64::with_distance(piece.word, bits, 2)]);
                self.reach(past.map(|word| [word]), target)?;
                self.branch(self.destination(target))?;
            }
            // The callee returns into the original, where unwinders know their way.
            Kind::Call { target } => {
                self.address(a64::LINK, self.original_behind(piece)?)?;
                self.branch(target)?;
            }
            Kind::IndirectCall { register } => {
                self.put(&[a64::keep(register)]);
                self.address(a64::LINK, self.original_behind(piece)?)?;
                self.put(&[a64::jump_to(a64::IP0)]);
            }
            Kind::Literal { load, target } => self.literal(piece, load, target)?,
            Kind::Resumable | Kind::Unsupported => {
                let what = "an instruction that knows its address";
                return Err(EntryError::Unsupported { offset: piece.offset, what });
            }
        }
        Ok(())
    }

    fn literal(&mut self, piece: &Piece, load: Load, target: RuntimeAddress) -> Result<(), EntryError> {
        match load {
            Load::Nothing => self.put(&[a64::NOP]),
            Load::General { instruction, register } => {
                self.address(register, target)?;
                self.put(&[instruction | register << 5 | register]);
            }
            Load::Vector { bytes } => {
                let what = "a load of a literal that is not in the code";
                let outside = EntryError::Unsupported { offset: piece.offset, what };
                let literal: Option<Vec<u8>> =
                    (0..bytes as u64).map(|offset| self.function.byte(target.checked_add(offset)?)).collect();
                let at = advance(self.at, self.code_end + self.literals.len())?;
                self.literals.extend(literal.ok_or(outside)?);
                self.literals.resize(self.literals.len().next_multiple_of(LITERAL), 0);
                let word = a64::with_literal(piece.word, self.place()?, at);
                self.reach(word.map(|word| [word]), at)?;
            }
        }
        Ok(())
    }

    fn original_behind(&self, piece: &Piece) -> Result<RuntimeAddress, EntryError> {
        advance(self.entry.at, piece.offset + INSTRUCTION)
    }

    /// From behind a copied instruction to behind it in the original.
    fn way_back(&mut self, piece: &Piece) -> Result<(), EntryError> {
        if falls_through(piece) { self.branch(self.original_behind(piece)?) } else { Ok(()) }
    }

    fn finish(mut self, loops: Vec<(usize, RuntimeAddress)>) -> Copy {
        self.bytes.resize(self.code_end, 0);
        self.bytes.append(&mut self.literals);
        Copy { at: self.at, bytes: self.bytes, boundaries: self.starts, loops }
    }
}
