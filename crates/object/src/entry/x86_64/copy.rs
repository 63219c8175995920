//! Writes the instructions that a jump overwrites so that they do the same somewhere else.

use super::decode::{Kind, Piece, Raw};
use super::{Copy, Entry, EntryError};
use crate::address::RuntimeAddress;

/// `jmp rel32`.
const JMP: usize = 5;
/// `jcc rel32`.
const JCC: usize = 6;
/// `push qword [rip + rel32]`.
const PUSH: usize = 6;
/// `jmp short over; jmp rel32; over:`, behind a branch that has no long form.
const BEHIND_SHORT: usize = 2 + JMP;
/// A return address that a call pushes.
const CELL: usize = 8;

/// Bytes that a piece takes in a copy.
fn piece_length(kind: &Kind) -> usize {
    match kind {
        Kind::Plain(raw) => raw.bytes().len(),
        Kind::Jump { .. } => JMP,
        Kind::Branch { .. } => JCC,
        Kind::Short { raw, .. } => raw.bytes().len() + BEHIND_SHORT,
        Kind::Call { .. } => PUSH + JMP,
        Kind::IndirectCall { jump } => PUSH + jump.bytes().len(),
    }
}

fn way_back(piece: &Piece) -> usize {
    if piece.falls_through() { JMP } else { 0 }
}

fn is_call(piece: &Piece) -> bool {
    matches!(piece.kind, Kind::Call { .. } | Kind::IndirectCall { .. })
}

/// Bytes of code, rounded up to where the cells begin.
fn code_length(entry: &Entry) -> usize {
    let window: usize = entry.pieces.iter().map(|piece| piece_length(&piece.kind)).sum();
    let back = entry.pieces.last().map_or(0, way_back);
    let loops: usize = entry.loops.iter().map(|piece| piece_length(&piece.kind) + way_back(piece)).sum();
    (window + back + loops).next_multiple_of(CELL)
}

pub(super) fn length(entry: &Entry) -> usize {
    code_length(entry) + CELL * entry.pieces.iter().filter(|piece| is_call(piece)).count()
}

pub(super) fn relocate(entry: &Entry, at: RuntimeAddress) -> Result<Copy, EntryError> {
    let mut starts = Vec::with_capacity(entry.pieces.len());
    let mut place = at;
    for piece in &entry.pieces {
        starts.push((piece.offset, place));
        place = advance(place, piece_length(&piece.kind))?;
    }
    let cells = advance(at, code_length(entry))?;
    let mut writer =
        Writer { entry, at, starts, cells, bytes: Vec::with_capacity(length(entry)), pushed: Vec::new() };
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
    at: RuntimeAddress,
    starts: Vec<(usize, RuntimeAddress)>,
    cells: RuntimeAddress,
    bytes: Vec<u8>,
    pushed: Vec<RuntimeAddress>,
}

impl Writer<'_> {
    fn place(&self) -> Result<RuntimeAddress, EntryError> {
        advance(self.at, self.bytes.len())
    }

    fn original(&self, offset: usize) -> Result<RuntimeAddress, EntryError> {
        advance(self.entry.at, offset)
    }

    /// Where a branch of the copy leads: to the copy's instruction if that one was copied.
    fn destination(&self, target: RuntimeAddress) -> RuntimeAddress {
        let offset = target.checked_since(self.entry.at);
        let copied = self.starts.iter().find(|(start, _)| offset == Some(*start as u64));
        copied.map_or(target, |&(_, place)| place)
    }

    fn piece(&mut self, piece: &Piece) -> Result<(), EntryError> {
        match piece.kind {
            Kind::Plain(raw) => self.raw(&raw),
            Kind::Jump { target } => self.jump(self.destination(target)),
            Kind::Branch { condition, target } => {
                self.field(&[0x0F, 0x80 | condition], self.destination(target))
            }
            Kind::Short { raw, target } => {
                let (_, opcode) = raw.bytes().split_last().unwrap_or((&0, &[]));
                self.bytes.extend_from_slice(opcode);
                self.bytes.extend_from_slice(&[2, 0xEB, JMP as u8]);
                self.jump(self.destination(target))
            }
            Kind::Call { target } => {
                self.push(self.original(piece.end())?)?;
                self.jump(target)
            }
            Kind::IndirectCall { jump } => {
                self.push(self.original(piece.end())?)?;
                self.raw(&jump)
            }
        }
    }

    /// From behind a copied instruction to behind it in the original.
    fn way_back(&mut self, piece: &Piece) -> Result<(), EntryError> {
        if piece.falls_through() { self.jump(self.original(piece.end())?) } else { Ok(()) }
    }

    fn raw(&mut self, raw: &Raw) -> Result<(), EntryError> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(raw.bytes());
        let Some((offset, target)) = raw.reference else { return Ok(()) };
        let displacement = self.distance(self.place()?, target)?;
        self.bytes[start + offset..start + offset + 4].copy_from_slice(&displacement.to_le_bytes());
        Ok(())
    }

    /// Pushes what the original call pushes: unwinders know the original's return address only.
    fn push(&mut self, return_address: RuntimeAddress) -> Result<(), EntryError> {
        let cell = advance(self.cells, CELL * self.pushed.len())?;
        self.pushed.push(return_address);
        self.field(&[0xFF, 0x35], cell)
    }

    fn jump(&mut self, target: RuntimeAddress) -> Result<(), EntryError> {
        self.field(&[0xE9], target)
    }

    /// An instruction that ends in a 32-bit distance to `target`.
    fn field(&mut self, opcode: &[u8], target: RuntimeAddress) -> Result<(), EntryError> {
        self.bytes.extend_from_slice(opcode);
        let displacement = self.distance(advance(self.place()?, 4)?, target)?;
        self.bytes.extend_from_slice(&displacement.to_le_bytes());
        Ok(())
    }

    fn distance(&self, from: RuntimeAddress, target: RuntimeAddress) -> Result<i32, EntryError> {
        i32::try_from(target.distance_from(from)).map_err(|_| EntryError::OutOfReach { at: from, target })
    }

    fn finish(mut self, loops: Vec<(usize, RuntimeAddress)>) -> Copy {
        self.bytes.resize(code_length(self.entry), 0xCC);
        for cell in &self.pushed {
            self.bytes.extend_from_slice(&cell.0.to_le_bytes());
        }
        Copy { at: self.at, bytes: self.bytes, boundaries: self.starts, loops }
    }
}
