//! Strings of dex files: UTF-16 written as MUTF-8.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A string, as the bytes of its MUTF-8 (dex format, "MUTF-8 encoding"), which are checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Arc<[u8]>);

impl Text {
    /// Bytes that are MUTF-8; none if they are not.
    pub fn from_mutf8(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = unit(rest)?;
        }
        Some(Self(bytes.into()))
    }

    /// Its bytes.
    pub fn mutf8(&self) -> &[u8] {
        &self.0
    }

    /// Its UTF-16 code units.
    pub fn units(&self) -> impl Iterator<Item = u16> + '_ {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (found, after) = unit(rest)?;
            rest = after;
            Some(found)
        })
    }

    /// As text; halves of surrogate pairs that are alone become replacement characters.
    pub fn to_text(&self) -> Cow<'_, str> {
        match std::str::from_utf8(&self.0) {
            // Surrogates and NUL, the only differences, are not ASCII in MUTF-8.
            Ok(text) if !self.0.contains(&0xc0) => Cow::Borrowed(text),
            _ => {
                let decoded = char::decode_utf16(self.units());
                Cow::Owned(decoded.map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
            }
        }
    }

    /// Whether it is this text.
    pub fn is(&self, text: &str) -> bool {
        self.to_text() == text
    }
}

/// The first code unit of MUTF-8, and what follows.
fn unit(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let continuation = |byte: u8| (byte & 0xc0 == 0x80).then_some(u16::from(byte & 0x3f));
    match *bytes {
        [a @ 0x01..=0x7f, ..] => Some((a.into(), &bytes[1..])),
        [a @ 0xc0..=0xdf, b, ..] => Some((u16::from(a & 0x1f) << 6 | continuation(b)?, &bytes[2..])),
        [a @ 0xe0..=0xef, b, c, ..] => {
            let found = u16::from(a & 0x0f) << 12 | continuation(b)? << 6 | continuation(c)?;
            Some((found, &bytes[3..]))
        }
        _ => None,
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len());
        for unit in text.encode_utf16() {
            match unit {
                0x01..=0x7f => bytes.push(unit as u8),
                0 | 0x80..=0x7ff => bytes.extend([0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]),
                _ => bytes.extend([
                    0xe0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3f) as u8,
                    0x80 | (unit & 0x3f) as u8,
                ]),
            }
        }
        Self(bytes.into())
    }
}

/// By UTF-16 code units, as `string_ids` are sorted.
impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        // Bytes sort as units do, but for NUL, which is written with two.
        match self.0.contains(&0xc0) || other.0.contains(&0xc0) {
            false => self.0.cmp(&other.0),
            true => self.units().cmp(other.units()),
        }
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.to_text(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encodings that the format's page spells out: NUL as two bytes, others as surrogates.
    #[test]
    fn mutf8() {
        assert_eq!(Text::from("\0").mutf8(), [0xc0, 0x80]);
        assert_eq!(Text::from("\u{10400}").mutf8(), [0xed, 0xa0, 0x81, 0xed, 0xb0, 0x80]);
        for text in ["", "a", "ß", "€", "\u{10400}\0x"] {
            let made = Text::from(text);
            assert_eq!(made.to_text(), text);
            assert_eq!(Text::from_mutf8(made.mutf8()).as_ref(), Some(&made));
        }
        for bad in [&[0x00][..], &[0xc3], &[0xe2, 0x82], &[0xf0, 0x90, 0x90, 0x80], &[0x80], &[0xc3, 0x41]] {
            assert_eq!(Text::from_mutf8(bad), None);
        }
    }

    #[test]
    fn order_is_that_of_code_units() {
        let texts = ["a\0b", "ab", "b", "\u{10400}", "\u{ffff}"].map(Text::from);
        assert!(texts.is_sorted());
    }
}
