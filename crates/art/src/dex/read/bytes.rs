//! A file's bytes, and places in them.

use super::DexError;
use super::header::Table;
use std::cell::Cell;

/// All bytes of a file.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    /// How many bytes may still be read. Lists may be shared, but not without an end.
    budget: Cell<usize>,
}

/// A place in a file, from which is read on.
pub(super) struct Cursor<'i, 'a> {
    input: &'i Input<'a>,
    at: usize,
    what: &'static str,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, budget: Cell::new(bytes.len().saturating_mul(16).saturating_add(1 << 16)) }
    }

    /// Reads on from an offset, which is within the file.
    pub(super) fn at(&self, what: &'static str, offset: u32) -> Result<Cursor<'_, 'a>, DexError> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        match at < self.bytes.len() {
            true => Ok(Cursor { input: self, at, what }),
            false => Err(DexError::Outside { what, at }),
        }
    }

    /// Where the entries of a table are.
    pub(super) fn table<'t>(
        &'t self,
        what: &'static str,
        table: &Table,
        size: usize,
    ) -> Result<impl Iterator<Item = Result<Cursor<'t, 'a>, DexError>> + use<'t, 'a>, DexError> {
        let outside = || DexError::Outside { what, at: table.offset as usize };
        let (start, count) = (table.offset as usize, table.count as usize);
        let end = count.checked_mul(size).and_then(|bytes| bytes.checked_add(start)).ok_or_else(outside)?;
        if end > self.bytes.len() {
            return Err(outside());
        }
        Ok((0..count).map(move |index| Ok(Cursor { input: self, at: start + index * size, what })))
    }
}

impl<'i, 'a> Cursor<'i, 'a> {
    pub(super) fn input(&self) -> &'i Input<'a> {
        self.input
    }

    pub(super) fn malformed(&self) -> DexError {
        DexError::Malformed { what: self.what, at: self.at }
    }

    /// So many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DexError> {
        let outside = DexError::Outside { what: self.what, at: self.at };
        let end = self.at.checked_add(count).ok_or_else(|| outside.clone())?;
        let taken = self.input.bytes.get(self.at..end).ok_or(outside)?;
        // One more, so that empty lists count, too.
        let left = self.input.budget.get().checked_sub(count + 1).ok_or(DexError::TooMuch)?;
        self.input.budget.set(left);
        self.at = end;
        Ok(taken)
    }

    /// Bytes up to a zero, which is skipped.
    pub(super) fn until_zero(&mut self) -> Result<&'a [u8], DexError> {
        let rest = self.input.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0);
        let length = end.ok_or(DexError::Outside { what: self.what, at: self.at })?;
        let taken = self.take(length)?;
        self.at += 1;
        Ok(taken)
    }

    pub(super) fn align_to_4(&mut self) {
        self.at = self.at.next_multiple_of(4);
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn u8(&mut self) -> Result<u8, DexError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, DexError> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, DexError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// An unsigned number in LEB128 (dex format, "LEB128").
    pub(super) fn uleb128(&mut self) -> Result<u32, DexError> {
        let (value, _) = self.leb128()?;
        Ok(value)
    }

    /// The same, one less: -1 is written with one byte.
    pub(super) fn uleb128p1(&mut self) -> Result<u32, DexError> {
        Ok(self.uleb128()?.wrapping_sub(1))
    }

    /// A signed number in LEB128.
    pub(super) fn sleb128(&mut self) -> Result<i32, DexError> {
        let (value, bits) = self.leb128()?;
        let unused = 32_u32.saturating_sub(bits);
        Ok((value << unused).cast_signed() >> unused)
    }

    /// A number's bits, and how many were written.
    fn leb128(&mut self) -> Result<(u32, u32), DexError> {
        let mut value = 0;
        for group in 0..5 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                return Ok((value, 7 * (group + 1)));
            }
        }
        Err(self.malformed())
    }
}
