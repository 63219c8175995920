//! Reading a table from its beginning, each step checked.

use super::Problem;
use crate::loadable::fields;

/// A place in a table.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub(super) table: &'static str,
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(table: &'static str, bytes: &'a [u8], at: usize) -> Self {
        Self { table, bytes, at }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn ends_early(&self) -> Problem {
        Problem::EndsEarly { table: self.table, at: self.at }
    }

    pub(super) fn bad(&self, at: usize, what: &'static str) -> Problem {
        Problem::BadTable { table: self.table, at, what }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Problem> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.ends_early())?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Problem> {
        let value = fields::u16_at(self.bytes, self.at).ok_or_else(|| self.ends_early())?;
        self.at += 2;
        Ok(value)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        let value = fields::u32_at(self.bytes, self.at).ok_or_else(|| self.ends_early())?;
        self.at += 4;
        Ok(value)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        let value = fields::u64_at(self.bytes, self.at).ok_or_else(|| self.ends_early())?;
        self.at += 8;
        Ok(value)
    }

    /// An unsigned LEB128 number of at most 64 bits.
    pub(super) fn uleb(&mut self) -> Result<u64, Problem> {
        let from = self.at;
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits != 0 && (shift > 63 || bits << shift >> shift != bits) {
                return Err(self.bad(from, "a number of more than 64 bits"));
            }
            if shift <= 63 {
                value |= bits << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            if shift > 70 {
                return Err(self.bad(from, "a number of more than 64 bits"));
            }
        }
    }

    /// A signed LEB128 number of at most 64 bits.
    pub(super) fn sleb(&mut self) -> Result<i64, Problem> {
        let from = self.at;
        let (mut value, mut shift) = (0_i64, 0);
        loop {
            let byte = self.byte()?;
            if shift > 63 {
                return Err(self.bad(from, "a number of more than 64 bits"));
            }
            value |= i64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                if shift < 64 && byte & 0x40 != 0 {
                    value |= -1 << shift;
                }
                return Ok(value);
            }
        }
    }

    /// A text with a NUL behind it; without the NUL.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Problem> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = memchr::memchr(0, rest).ok_or_else(|| self.ends_early())?;
        self.at += end + 1;
        Ok(&rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uleb(bytes: &[u8]) -> Result<u64, Problem> {
        Cursor::new("test", bytes, 0).uleb()
    }

    // Examples of DWARF 5, section 7.6, and the bounds of 64 bits.
    #[test]
    fn numbers_are_read_as_dwarf_writes_them() {
        assert_eq!(uleb(&[2]), Ok(2));
        assert_eq!(uleb(&[0x80, 1]), Ok(128));
        assert_eq!(uleb(&[0xb9, 0x64]), Ok(12857));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(uleb(&most), Ok(u64::MAX));
        let sleb = |bytes: &[u8]| Cursor::new("test", bytes, 0).sleb();
        assert_eq!(sleb(&[0x7e]), Ok(-2));
        assert_eq!(sleb(&[0xff, 0]), Ok(127));
        assert_eq!(sleb(&[0x80, 0x7f]), Ok(-128));
    }

    #[test]
    fn numbers_that_are_too_long_or_end_early_are_refused() {
        assert!(uleb(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err());
        assert!(uleb(&[0x80; 12]).is_err());
        assert!(uleb(&[0x80]).is_err());
        assert!(uleb(&[]).is_err());
        assert!(Cursor::new("test", &[0x80; 12], 0).sleb().is_err());
        assert!(Cursor::new("test", b"name", 0).text().is_err());
    }
}
