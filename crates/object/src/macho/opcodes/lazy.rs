//! One entry of the lazy program: what is read when a function is called for the first time.

use super::{Interpreter, Step, Stream};
use crate::macho::fixup::{Builder, Import, Slot};
use crate::macho::{Image, Problem, SegmentId};
use bytes::Bytes;
use object::macho;

/// What one entry of the lazy program binds: what is read when a function is called for the first time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LazyEntry {
    /// The import.
    pub import: Import,
    /// Which slot it is for.
    pub slot: Slot,
    /// What is added.
    pub addend: i64,
    /// Where the opcode is that binds it.
    pub at: u32,
}

impl Image {
    /// Reads one entry of the lazy program: `entry` is what a stub helper pushes.
    pub fn lazy_bind_at(&self, entry: u32) -> Result<LazyEntry, Problem> {
        let bytes = Stream::Lazy.bytes(self);
        let start = usize::try_from(entry).unwrap_or(usize::MAX);
        let mut state = Interpreter::new(self, Stream::Lazy, &bytes, start);
        loop {
            let at = state.at();
            match state.step()? {
                Step::Nothing | Step::Symbol => {}
                Step::Bind { .. } => {
                    let import = state.import(at, &bytes)?;
                    let slot = Builder::new(self).slot(at, state.segment(at)?, state.offset)?;
                    return Ok(LazyEntry { import, slot, addend: state.addend, at: at.number() });
                }
                Step::Done | Step::Imports | Step::Chain => {
                    return Err(at.bad("an entry that binds nothing"));
                }
            }
        }
    }
}

/// One opcode, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opcode {
    /// Where it is in its program.
    pub at: u32,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its name in Apple's header, without `BIND_OPCODE_`.
    pub name: &'static str,
    /// What it sets, for people.
    pub sets: String,
}

impl Image {
    /// The opcodes of one entry of the lazy program, for people; [`Image::lazy_bind_at`] is what they come to.
    pub fn lazy_opcodes(&self, entry: u32) -> Result<Vec<Opcode>, Problem> {
        let bytes = Stream::Lazy.bytes(self);
        let start = usize::try_from(entry).unwrap_or(usize::MAX);
        let mut state = Interpreter::new(self, Stream::Lazy, &bytes, start);
        let mut opcodes = Vec::new();
        loop {
            let at = state.at();
            let step = state.step()?;
            let read = bytes.slice(at.at..state.cursor.at);
            let opcode = read.first().map_or(0, |byte| byte & macho::BIND_OPCODE_MASK);
            let (name, sets) = describe(self, opcode, &state);
            opcodes.push(Opcode { at: at.number(), bytes: read, name, sets });
            match step {
                Step::Nothing | Step::Symbol | Step::Bind { .. } => {}
                Step::Done | Step::Imports | Step::Chain => return Ok(opcodes),
            }
            // The last entry may end with the program.
            if state.cursor.is_at_end() {
                return Ok(opcodes);
            }
        }
    }
}

fn describe(image: &Image, opcode: u8, state: &Interpreter<'_>) -> (&'static str, String) {
    match opcode {
        macho::BIND_OPCODE_DONE => ("DONE", String::new()),
        macho::BIND_OPCODE_SET_DYLIB_ORDINAL_IMM
        | macho::BIND_OPCODE_SET_DYLIB_ORDINAL_ULEB
        | macho::BIND_OPCODE_SET_DYLIB_SPECIAL_IMM => {
            let name = match opcode {
                macho::BIND_OPCODE_SET_DYLIB_ORDINAL_IMM => "SET_DYLIB_ORDINAL_IMM",
                macho::BIND_OPCODE_SET_DYLIB_ORDINAL_ULEB => "SET_DYLIB_ORDINAL_ULEB",
                _ => "SET_DYLIB_SPECIAL_IMM",
            };
            let library = image.library(state.ordinal).map_or("", |library| &library.name);
            (name, format!("{} {library}", state.ordinal.number()).trim_end().to_owned())
        }
        macho::BIND_OPCODE_SET_SYMBOL_TRAILING_FLAGS_IMM => {
            let symbol = String::from_utf8_lossy(state.symbol.unwrap_or_default());
            ("SET_SYMBOL_TRAILING_FLAGS_IMM", format!("{symbol}, flags {}", state.flags))
        }
        macho::BIND_OPCODE_SET_TYPE_IMM => ("SET_TYPE_IMM", "pointer".to_owned()),
        macho::BIND_OPCODE_SET_ADDEND_SLEB => ("SET_ADDEND_SLEB", state.addend.to_string()),
        macho::BIND_OPCODE_SET_SEGMENT_AND_OFFSET_ULEB => {
            let number = state.segment.unwrap_or_default();
            let segment = u16::try_from(number).ok().and_then(|id| image.segments.get(SegmentId(id)));
            let (name, start) = segment.map_or(("?", 0), |segment| (&segment.name, segment.address.0));
            let slot = start.wrapping_add(state.offset);
            let sum = format!("segment {number} {name}: {start:#x} + {:#x} = {slot:#x}", state.offset);
            ("SET_SEGMENT_AND_OFFSET_ULEB", sum)
        }
        macho::BIND_OPCODE_ADD_ADDR_ULEB => ("ADD_ADDR_ULEB", format!("offset {:#x}", state.offset)),
        _ => ("DO_BIND", String::new()),
    }
}
