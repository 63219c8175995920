//! String tables of ELF files: names, each with a NUL behind it.

use crate::ObjectError;
use object::LittleEndian as LE;
use object::elf;
use object::read::elf::SectionHeader as _;
use std::ops::Range;

/// A string table: where it is in its file.
#[derive(Clone, Default, Debug)]
pub(crate) struct Strings(Range<usize>);

impl Strings {
    /// A table whose names may be anything.
    pub(crate) fn read(section: &elf::SectionHeader64<LE>, data: &[u8]) -> Result<Self, ObjectError> {
        file_range(section, data.len()).map(Self)
    }

    /// A table that is UTF-8 as a whole, and that ends with a name's end.
    pub(crate) fn checked(section: &elf::SectionHeader64<LE>, data: &[u8]) -> Result<Self, ObjectError> {
        let table = Self::read(section, data)?;
        let bytes = &data[table.0.clone()];
        if bytes.last().is_some_and(|&last| last != 0) {
            return Err(ObjectError::Inconsistent { what: "a string table's end" });
        }
        if std::str::from_utf8(bytes).is_err() {
            return Err(ObjectError::NotUtf8 { what: "a symbol or section" });
        }
        Ok(table)
    }

    /// Whether a string starts there.
    pub(crate) fn check(&self, data: &[u8], at: u32, what: &'static str) -> Result<(), ObjectError> {
        let continues = |byte: u8| byte & 0xc0 == 0x80;
        match data[self.0.clone()].get(at as usize) {
            Some(&first) if !continues(first) => Ok(()),
            None if at == 0 => Ok(()),
            _ => Err(ObjectError::Inconsistent { what }),
        }
    }

    /// The string that starts at `at`, without its NUL; empty where there is none.
    pub(crate) fn get<'d>(&self, data: &'d [u8], at: u32) -> &'d [u8] {
        let rest = self.from(data, at);
        &rest[..memchr::memchr(0, rest).unwrap_or(0)]
    }

    /// The string that starts at `at`, and all that is behind it.
    pub(crate) fn from<'d>(&self, data: &'d [u8], at: u32) -> &'d [u8] {
        data[self.0.clone()].get(at as usize..).unwrap_or_default()
    }
}

/// A name as text; empty where it is none.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A section's bytes in the file, checked against the file's length.
pub(crate) fn file_range(
    section: &elf::SectionHeader64<LE>,
    file_len: usize,
) -> Result<Range<usize>, ObjectError> {
    let Some((offset, size)) = section.file_range(LE) else { return Ok(0..0) };
    checked_range(offset, size, file_len)
        .ok_or(ObjectError::Inconsistent { what: "a section's place in the file" })
}

/// `size` bytes at `offset`, if the file has them.
pub(crate) fn checked_range(offset: u64, size: u64, file_len: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= file_len).then_some(start..end)
}
