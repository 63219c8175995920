//! The symbol table and the indirect one (`<mach-o/nlist.h>`).

use super::fixup::Ordinal;
use crate::address::LinkAddress;
use crate::loadable::fields::{u16_at, u32_at, u64_at};
use bytes::Bytes;
use object::macho;

/// One symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// `n_strx`: offset in the string table.
    pub name: u32,
    /// `n_type`.
    pub kind: u8,
    /// `n_sect`: its section, from 1.
    pub section: u8,
    /// `n_desc`.
    pub description: u16,
    /// `n_value`.
    pub value: u64,
}

impl Symbol {
    /// Whether it is for a debugger only.
    pub fn is_debug(&self) -> bool {
        self.kind & macho::N_STAB != 0
    }

    /// Whether other images can see it, or are asked for it.
    pub fn is_external(&self) -> bool {
        !self.is_debug() && self.kind & macho::N_EXT != 0
    }

    /// Whether it is in a section of this image, at the address that is its value.
    pub fn is_defined(&self) -> bool {
        !self.is_debug() && self.kind & macho::N_TYPE == macho::N_SECT
    }

    /// Whether its value is a number.
    pub fn is_absolute(&self) -> bool {
        !self.is_debug() && self.kind & macho::N_TYPE == macho::N_ABS
    }

    /// Whether another image has to define it.
    pub fn is_undefined(&self) -> bool {
        !self.is_debug() && matches!(self.kind & macho::N_TYPE, macho::N_UNDF | macho::N_PBUD)
    }

    /// Of an undefined one: whether it may be missing.
    pub fn is_weak_import(&self) -> bool {
        self.description & macho::N_WEAK_REF != 0
    }

    /// Of a defined one: whether others of the same name may be used in its place.
    pub fn is_weak_definition(&self) -> bool {
        self.description & macho::N_WEAK_DEF != 0
    }

    /// Of an undefined one, in an image with a two-level namespace: whose it is.
    pub fn ordinal(&self) -> Ordinal {
        match (self.description >> 8) as u8 {
            macho::SELF_LIBRARY_ORDINAL => Ordinal::ThisImage,
            macho::DYNAMIC_LOOKUP_ORDINAL => Ordinal::FlatLookup,
            macho::EXECUTABLE_ORDINAL => Ordinal::MainExecutable,
            number => Ordinal::Library(number.into()),
        }
    }
}

/// An entry of the indirect symbol table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indirect {
    /// The symbol of that number.
    Symbol(u32),
    /// None: the pointer is to something of this image.
    Local,
    /// None: the pointer is a number.
    Absolute,
}

/// The symbol table, its strings, and the indirect symbol table.
#[derive(Clone, Debug)]
pub struct Symbols {
    entries: Bytes,
    strings: Bytes,
    indirect: Bytes,
}

impl Symbols {
    pub(super) fn new(entries: Bytes, strings: Bytes, indirect: Bytes) -> Self {
        Self { entries, strings, indirect }
    }

    /// How many symbols there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.entries.len() / 16).unwrap_or(u32::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The symbol of that number.
    pub fn get(&self, index: u32) -> Option<Symbol> {
        let at = usize::try_from(index).ok()?.checked_mul(16)?;
        let entry: &[u8; 16] = self.entries.get(at..)?.first_chunk()?;
        Some(Symbol {
            name: u32_at(entry, 0)?,
            kind: entry[4],
            section: entry[5],
            description: u16_at(entry, 6)?,
            value: u64_at(entry, 8)?,
        })
    }

    /// All symbols.
    pub fn iter(&self) -> impl Iterator<Item = Symbol> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// A symbol's name, with its underscore.
    pub fn name(&self, symbol: &Symbol) -> Option<Bytes> {
        let from = self.strings.get(usize::try_from(symbol.name).ok()?..)?;
        let end = memchr::memchr(0, from)?;
        Some(self.strings.slice_ref(&from[..end]))
    }

    /// How many entries the indirect symbol table has.
    pub fn indirect_len(&self) -> u32 {
        u32::try_from(self.indirect.len() / 4).unwrap_or(u32::MAX)
    }

    /// An entry of the indirect symbol table.
    pub fn indirect(&self, index: u32) -> Option<Indirect> {
        let number = u32_at(&self.indirect, usize::try_from(index).ok()?.checked_mul(4)?)?;
        Some(match number {
            number if number & macho::INDIRECT_SYMBOL_ABS != 0 => Indirect::Absolute,
            number if number & macho::INDIRECT_SYMBOL_LOCAL != 0 => Indirect::Local,
            number => Indirect::Symbol(number),
        })
    }

    /// The symbol that an entry of the indirect symbol table names.
    pub fn indirect_symbol(&self, index: u32) -> Option<Symbol> {
        match self.indirect(index)? {
            Indirect::Symbol(number) => self.get(number),
            Indirect::Local | Indirect::Absolute => None,
        }
    }

    /// The last symbol of a section at or before an address.
    pub fn before(&self, address: LinkAddress) -> Option<Symbol> {
        let defined = self.iter().filter(|symbol| symbol.is_defined() && symbol.value <= address.0);
        defined.max_by_key(|symbol| symbol.value)
    }
}
