//! The header (dex format, `header_item`), and what it says about the whole file.

use super::DexError;
use crate::dex::{ENDIAN, HEADER, VERSIONS, adler32, item};
use sha1::{Digest, Sha1};

/// A table of a file.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Table {
    pub(super) count: u32,
    pub(super) offset: u32,
}

/// Where the tables are.
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) string_ids: Table,
    pub(super) type_ids: Table,
    pub(super) proto_ids: Table,
    pub(super) field_ids: Table,
    pub(super) method_ids: Table,
    pub(super) class_defs: Table,
    /// These two are in the map only.
    pub(super) call_sites: Table,
    pub(super) method_handles: Table,
}

pub(super) fn read(bytes: &[u8]) -> Result<Header, DexError> {
    let version = version(bytes)?;
    let word = |at: usize| -> Result<u32, DexError> {
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
        word.map(|word| u32::from_le_bytes(*word)).ok_or(DexError::Outside { what: "the header", at })
    };
    let said = word(0x20)?;
    if usize::try_from(said) != Ok(bytes.len()) {
        return Err(DexError::Length { said, is: bytes.len() });
    }
    if word(0x24)? != HEADER || word(0x28)? != ENDIAN {
        return Err(DexError::Malformed { what: "the header", at: 0x24 });
    }
    if bytes.len() < HEADER as usize {
        return Err(DexError::Outside { what: "the header", at: bytes.len() });
    }
    if word(8)? != adler32(&bytes[12..]) {
        return Err(DexError::Checksum("checksum"));
    }
    if bytes[12..32] != Sha1::digest(&bytes[32..])[..] {
        return Err(DexError::Checksum("signature"));
    }
    let table = |at: usize| Ok::<_, DexError>(Table { count: word(at)?, offset: word(at + 4)? });
    let mut header = Header {
        version,
        string_ids: table(0x38)?,
        type_ids: table(0x40)?,
        proto_ids: table(0x48)?,
        field_ids: table(0x50)?,
        method_ids: table(0x58)?,
        class_defs: table(0x60)?,
        call_sites: Table::default(),
        method_handles: Table::default(),
    };
    read_map(bytes, word(0x34)?, &mut header)?;
    Ok(header)
}

/// `dex\n035\0`.
fn version(bytes: &[u8]) -> Result<u32, DexError> {
    let version = match bytes {
        [b'd', b'e', b'x', b'\n', version @ .., _] => version.get(..3).ok_or(DexError::Magic)?,
        _ => return Err(DexError::Magic),
    };
    let text = String::from_utf8_lossy(version);
    let number = text.parse().ok().filter(|number| VERSIONS.contains(number));
    match (number, bytes.get(7)) {
        (Some(number), Some(0)) => Ok(number),
        _ => Err(DexError::Version(text.escape_default().to_string())),
    }
}

/// Takes from the map (`map_list`) what only it says.
fn read_map(bytes: &[u8], offset: u32, header: &mut Header) -> Result<(), DexError> {
    let at = offset as usize;
    let outside = DexError::Outside { what: "the map", at };
    let rest = bytes.get(at..).ok_or_else(|| outside.clone())?;
    let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(|| outside.clone())?;
    let count = u32::from_le_bytes(*count) as usize;
    let items = count.checked_mul(12).and_then(|bytes| rest.get(..bytes)).ok_or(outside)?;
    for entry in items.chunks_exact(12) {
        let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let table = Table { count: word(4), offset: word(8) };
        match u16::from_le_bytes([entry[0], entry[1]]) {
            item::CALL_SITE_ID => header.call_sites = table,
            item::METHOD_HANDLE => header.method_handles = table,
            _ => {}
        }
    }
    Ok(())
}
