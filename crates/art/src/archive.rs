//! ZIP archives of a few entries (`APPNOTE.TXT` of PKWARE): written without compression, read through
//! `livepatch-object`, whatever tool has written them.

use bytes::Bytes;
use livepatch_object::android::archive::contents;
use livepatch_object::loadable::archive_entry::{ArchiveError, entries};
use thiserror::Error;

/// No entry of a patch is larger, and no patch has more.
const LARGEST: u64 = 256 << 20;
const MOST_ENTRIES: usize = 10_000;

/// Why an archive cannot be read or written.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ZipError {
    /// Its structure is broken.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Two entries have one name: whoever reads it might take the other one.
    #[error("two entries are called {0}")]
    Twice(String),
    /// A name that leads elsewhere, or is no text.
    #[error("an entry's name is {0}")]
    Name(String),
    /// More than is read or written here.
    #[error("it is larger than 256 MiB, or has more than 10,000 entries")]
    TooLarge,
}

/// An entry, unpacked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name, with folders.
    pub name: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// All entries that are files, in the archive's order; only those whose name `wanted` asks for are unpacked.
pub fn read(archive: &Bytes, wanted: impl Fn(&str) -> bool) -> Result<Vec<Entry>, ZipError> {
    let found = entries(archive)?;
    if found.len() > MOST_ENTRIES {
        return Err(ZipError::TooLarge);
    }
    let mut all: Vec<Entry> = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut total = 0_u64;
    for (name, place) in found {
        let lossy = || String::from_utf8_lossy(name).escape_debug().to_string();
        let name = std::str::from_utf8(name).map_err(|_| ZipError::Name(lossy()))?;
        if name.ends_with('/') {
            continue;
        }
        if name.is_empty()
            || name.starts_with('/')
            || name.contains('\0')
            || name.split('/').any(|part| part == "..")
        {
            return Err(ZipError::Name(lossy()));
        }
        if !names.insert(name) {
            return Err(ZipError::Twice(name.to_owned()));
        }
        if !wanted(name) {
            continue;
        }
        total = total.saturating_add(place.size);
        if total > LARGEST {
            return Err(ZipError::TooLarge);
        }
        all.push(Entry { name: name.to_owned(), bytes: contents(archive, &place)? });
    }
    Ok(all)
}

/// An archive of these entries, in this order, whose bytes depend on nothing else.
pub fn write(entries: &[(&str, &[u8])]) -> Result<Vec<u8>, ZipError> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let too_large = |_| ZipError::TooLarge;
        let offset = u32::try_from(out.len()).map_err(too_large)?;
        let size = u32::try_from(bytes.len()).map_err(too_large)?;
        let name_length = u16::try_from(name.len()).map_err(too_large)?;
        // From "version needed" to the extra field's length (4.3.7): 2.0, UTF-8, stored, 1 January 1980.
        let mut common = Vec::new();
        [20_u16, 0x0800, 0, 0, 0x21].iter().for_each(|half| common.extend(half.to_le_bytes()));
        [crc32(bytes), size, size].iter().for_each(|word| common.extend(word.to_le_bytes()));
        [name_length, 0].iter().for_each(|half| common.extend(half.to_le_bytes()));
        out.extend(0x0403_4b50_u32.to_le_bytes());
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend_from_slice(bytes);
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend(20_u16.to_le_bytes());
        directory.extend(&common);
        // No comment, the first disk, no attributes.
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let too_large = |_| ZipError::TooLarge;
    let count = u16::try_from(entries.len()).map_err(too_large)?;
    let (offset, size) =
        (u32::try_from(out.len()).map_err(too_large)?, u32::try_from(directory.len()).map_err(too_large)?);
    out.extend(directory);
    out.extend(0x0605_4b50_u32.to_le_bytes());
    [0, 0, count, count].iter().for_each(|half: &u16| out.extend(half.to_le_bytes()));
    [size, offset].iter().for_each(|word| out.extend(word.to_le_bytes()));
    out.extend([0; 2]);
    Ok(out)
}

/// CRC-32 (APPNOTE.TXT, 4.4.7), four bits at a time.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let step =
        |value: u32| (0..4).fold(value, |value, _| value >> 1 ^ if value & 1 == 0 { 0 } else { POLYNOMIAL });
    let mut table = [0; 16];
    table.iter_mut().zip(0..).for_each(|(entry, index)| *entry = step(index));
    let nibble = |sum: u32, value: u8| sum >> 4 ^ table[((sum ^ u32::from(value)) & 0xf) as usize];
    !bytes.iter().fold(!0, |sum, byte| nibble(nibble(sum, byte & 0xf), byte >> 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "123456789" gives the value that every table of CRCs names as its check.
    #[test]
    fn crc() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_written_is_read() -> Result<(), ZipError> {
        let archive = write(&[("a", b"1"), ("b/c", &[0; 1000])])?;
        let all = read(&archive.clone().into(), |_| true)?;
        assert_eq!(all.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a", "b/c"]);
        assert_eq!(all[1].bytes.len(), 1000);
        for bad in ["../x", "/x", "a/../b"] {
            assert!(matches!(read(&write(&[(bad, b"")])?.into(), |_| true), Err(ZipError::Name(_))));
        }
        assert_eq!(
            read(&write(&[("a", b""), ("a", b"")])?.into(), |_| true),
            Err(ZipError::Twice("a".to_owned()))
        );
        Ok(())
    }
}
