//! Dynamic symbols (generic ABI, "Symbol Table").

use super::fields::{u16_at, u32_at, u64_at};
use super::machine::Class;
use crate::address::LinkAddress;
use bytes::Bytes;
use object::elf;

/// One symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// `st_name`: offset in the string table.
    pub name: u32,
    /// `st_value`.
    pub value: LinkAddress,
    /// `st_size`.
    pub size: u64,
    /// `st_info`.
    pub info: u8,
    /// `st_other`.
    pub other: u8,
    /// `st_shndx`.
    pub section: u16,
}

impl Symbol {
    /// `STB_*`.
    pub fn binding(&self) -> u8 {
        self.info >> 4
    }

    /// `STT_*`.
    pub fn kind(&self) -> u8 {
        self.info & 0xf
    }

    /// `STV_*`.
    pub fn visibility(&self) -> u8 {
        self.other & 3
    }

    /// Whether it is weak.
    pub fn is_weak(&self) -> bool {
        self.binding() == elf::STB_WEAK
    }

    /// Whether its address is that of a function which says where the real one is (`STT_GNU_IFUNC`).
    pub fn is_indirect(&self) -> bool {
        self.kind() == elf::STT_GNU_IFUNC
    }

    /// Whether it is a thread-local, whose value is an offset in its object's block.
    pub fn is_thread_local(&self) -> bool {
        self.kind() == elf::STT_TLS
    }

    /// Whether its value is a number and not an address of the object (`SHN_ABS`).
    pub fn is_absolute(&self) -> bool {
        self.section == elf::SHN_ABS
    }

    /// Whether the object says where it is.
    pub fn is_defined(&self) -> bool {
        self.section != elf::SHN_UNDEF
    }

    /// Whether references from its own object mean it whatever others define.
    pub fn binds_locally(&self) -> bool {
        let visibility = self.visibility();
        self.binding() == elf::STB_LOCAL
            || visibility == elf::STV_HIDDEN
            || visibility == elf::STV_INTERNAL
            || visibility == elf::STV_PROTECTED && self.is_defined()
    }

    /// Whether other objects can find it: global, weak or unique, of a kind that has an address.
    pub fn is_exported(&self) -> bool {
        use elf::{STT_COMMON, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT, STT_TLS};
        let bound = matches!(self.binding(), elf::STB_GLOBAL | elf::STB_WEAK | elf::STB_GNU_UNIQUE);
        let kind =
            matches!(self.kind(), STT_NOTYPE | STT_OBJECT | STT_FUNC | STT_COMMON | STT_TLS | STT_GNU_IFUNC);
        let valued = self.value.0 != 0 || self.is_absolute() || self.is_thread_local();
        bound && kind && valued && self.is_defined() && self.visibility() != elf::STV_HIDDEN
    }
}

/// The symbol table and its strings. Its length comes from the hash tables; here it is all bytes that follow.
#[derive(Clone, Debug)]
pub struct Symbols {
    entries: Bytes,
    strings: Bytes,
    class: Class,
}

impl Symbols {
    pub(crate) fn new(entries: Bytes, strings: Bytes, class: Class) -> Self {
        Self { entries, strings, class }
    }

    /// The symbol of that number.
    #[inline]
    pub fn get(&self, index: u32) -> Option<Symbol> {
        match self.class {
            Class::Elf64 => {
                let at = (index as usize).checked_mul(24)?;
                let entry: &[u8; 24] = self.entries.get(at..)?.first_chunk()?;
                Some(Symbol {
                    name: u32_at(entry, 0)?,
                    info: entry[4],
                    other: entry[5],
                    section: u16_at(entry, 6)?,
                    value: LinkAddress(u64_at(entry, 8)?),
                    size: u64_at(entry, 16)?,
                })
            }
            Class::Elf32 => {
                let at = (index as usize).checked_mul(16)?;
                let entry: &[u8; 16] = self.entries.get(at..)?.first_chunk()?;
                Some(Symbol {
                    name: u32_at(entry, 0)?,
                    value: LinkAddress(u32_at(entry, 4)?.into()),
                    size: u32_at(entry, 8)?.into(),
                    info: entry[12],
                    other: entry[13],
                    section: u16_at(entry, 14)?,
                })
            }
        }
    }

    /// More than this many there cannot be.
    pub fn bound(&self) -> u32 {
        u32::try_from(self.entries.len() / self.class.either(16, 24)).unwrap_or(u32::MAX)
    }

    /// A text of the string table.
    #[inline]
    pub fn text(&self, offset: u64) -> Option<&[u8]> {
        let from = self.strings.get(usize::try_from(offset).ok()?..)?;
        memchr::memchr(0, from).map(|end| &from[..end])
    }

    /// The same, to be kept.
    pub(crate) fn kept_text(&self, offset: u64) -> Option<Bytes> {
        self.text(offset).map(|text| self.strings.slice_ref(text))
    }

    /// A symbol's name.
    #[inline]
    pub fn name(&self, symbol: &Symbol) -> Option<&[u8]> {
        self.text(symbol.name.into())
    }

    /// Whether a symbol has this name; cheaper than [`Symbols::name`].
    #[inline]
    pub fn is_named(&self, symbol: &Symbol, name: &[u8]) -> bool {
        let Some(from) = self.strings.get(symbol.name as usize..) else { return false };
        from.len() > name.len() && from[name.len()] == 0 && &from[..name.len()] == name
    }
}
