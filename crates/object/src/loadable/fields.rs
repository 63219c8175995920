//! Little-endian fields out of bytes, each checked.

use super::machine::Class;

/// Fields of a structure of one class, from bytes that may end too early.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) class: Class,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], class: Class) -> Self {
        Self { bytes, class }
    }

    pub(crate) fn u16(&self, at: usize) -> Option<u16> {
        u16_at(self.bytes, at)
    }

    pub(crate) fn u32(&self, at: usize) -> Option<u32> {
        u32_at(self.bytes, at)
    }

    /// An address or a size: four or eight bytes.
    pub(crate) fn word(&self, at: usize) -> Option<u64> {
        word_at(self.bytes, at, self.class)
    }
}

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[inline]
pub(crate) fn word_at(bytes: &[u8], at: usize, class: Class) -> Option<u64> {
    match class {
        Class::Elf32 => u32_at(bytes, at).map(u64::from),
        Class::Elf64 => u64_at(bytes, at),
    }
}
