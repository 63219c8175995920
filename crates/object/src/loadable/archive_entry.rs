//! Libraries inside ZIP archives: `base.apk!/lib/x86_64/libx.so`, stored and at a page's beginning.

use super::fields::{u16_at, u32_at};
use crate::address::FileOffset;
use thiserror::Error;

/// What separates the archive's path from the entry's.
pub const SEPARATOR: &str = "!/";

/// Where in an archive an entry's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Where they begin.
    pub offset: FileOffset,
    /// How many there are.
    pub size: u64,
}

/// Why an entry cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ArchiveError {
    /// It is no ZIP archive, or one that contradicts itself.
    #[error("not a readable archive: {0}")]
    NotReadable(&'static str),
    /// There is no such entry.
    #[error("no such entry")]
    NoEntry,
    /// It would have to be unpacked first.
    #[error("the entry is compressed")]
    Compressed,
    /// Its bytes do not begin at a page.
    #[error("the entry is at offset {offset}, not at a page of {page} bytes")]
    NotAligned {
        /// Where it begins.
        offset: u64,
        /// The page's size.
        page: u64,
    },
}

const END_OF_DIRECTORY: u32 = 0x0605_4b50;
const DIRECTORY_ENTRY: u32 = 0x0201_4b50;
const LOCAL_HEADER: u32 = 0x0403_4b50;
const STORED: u16 = 0;

/// Every entry of the central directory: its name, and where its local header is.
pub fn names(archive: &[u8]) -> Result<Vec<&[u8]>, ArchiveError> {
    Directory::of(archive)?.map(|entry| entry.map(|entry| entry.name)).collect()
}

/// Where in an archive an entry's bytes are, compressed or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Where they begin.
    pub offset: FileOffset,
    /// How many there are in the archive.
    pub packed_size: u64,
    /// How many there are of the entry itself.
    pub size: u64,
    /// The compression method (`APPNOTE.TXT`, 4.4.5): 0 is stored, 8 is deflated.
    pub method: u16,
}

/// Every entry of the central directory, its bytes within the archive.
pub fn entries(archive: &[u8]) -> Result<Vec<(&[u8], Packed)>, ArchiveError> {
    let mut all = Vec::new();
    for entry in Directory::of(archive)? {
        let entry = entry?;
        let offset = contents(archive, &entry, entry.packed_size)?;
        let (packed_size, size, method) = (entry.packed_size.into(), entry.size.into(), entry.method);
        all.push((entry.name, Packed { offset, packed_size, size, method }));
    }
    Ok(all)
}

/// Finds an entry by its name, not compressed, its bytes at a multiple of `page`.
pub fn find(archive: &[u8], name: &[u8], page: u64) -> Result<Stored, ArchiveError> {
    let stored = locate(archive, name)?;
    match stored.offset.0.is_multiple_of(page) {
        true => Ok(stored),
        false => Err(ArchiveError::NotAligned { offset: stored.offset.0, page }),
    }
}

/// Finds an entry by its name, not compressed, wherever its bytes are.
pub fn locate(archive: &[u8], name: &[u8]) -> Result<Stored, ArchiveError> {
    let mut found = None;
    for entry in Directory::of(archive)? {
        let entry = entry?;
        if entry.name == name {
            found = Some(entry);
            break;
        }
    }
    let entry = found.ok_or(ArchiveError::NoEntry)?;
    if entry.method != STORED {
        return Err(ArchiveError::Compressed);
    }
    let offset = contents(archive, &entry, entry.size)?;
    Ok(Stored { offset, size: entry.size.into() })
}

/// Where an entry's `size` bytes begin, behind its local header.
fn contents(archive: &[u8], entry: &DirectoryEntry<'_>, size: u32) -> Result<FileOffset, ArchiveError> {
    let bad = ArchiveError::NotReadable("a local header is not where the directory says");
    let at = entry.local_header as usize;
    if u32_at(archive, at) != Some(LOCAL_HEADER) {
        return Err(bad);
    }
    let name = u16_at(archive, at.saturating_add(26)).ok_or(bad)?;
    let extra = u16_at(archive, at.saturating_add(28)).ok_or(bad)?;
    let offset = at + 30 + usize::from(name) + usize::from(extra);
    let end = offset.checked_add(size as usize).ok_or(bad)?;
    if end > archive.len() {
        return Err(ArchiveError::NotReadable("an entry's bytes are outside the archive"));
    }
    Ok(FileOffset(offset as u64))
}

struct DirectoryEntry<'a> {
    name: &'a [u8],
    method: u16,
    packed_size: u32,
    size: u32,
    local_header: u32,
}

/// The central directory, entry by entry.
struct Directory<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Directory<'a> {
    fn of(archive: &'a [u8]) -> Result<Self, ArchiveError> {
        let bad = ArchiveError::NotReadable("there is no end of a central directory");
        // Behind it comes a comment of up to 64 KiB.
        let last = archive.len().checked_sub(22).ok_or(bad)?;
        let first = last.saturating_sub(0xffff);
        let is_end = |&at: &usize| u32_at(archive, at) == Some(END_OF_DIRECTORY);
        let end = (first..=last).rev().find(is_end).ok_or(bad)?;
        let entries = u16_at(archive, end + 10).ok_or(bad)?;
        let offset = u32_at(archive, end + 16).ok_or(bad)?;
        let rest = archive.get(offset as usize..end);
        let rest = rest.ok_or(ArchiveError::NotReadable("the central directory is outside the archive"))?;
        Ok(Self { rest, left: entries })
    }

    fn entry(&mut self) -> Option<DirectoryEntry<'a>> {
        let e = self.rest;
        if u32_at(e, 0)? != DIRECTORY_ENTRY {
            return None;
        }
        let (name, extra, comment) = (u16_at(e, 28)?, u16_at(e, 30)?, u16_at(e, 32)?);
        let end = 46 + usize::from(name);
        let entry = DirectoryEntry {
            name: e.get(46..end)?,
            method: u16_at(e, 10)?,
            packed_size: u32_at(e, 20)?,
            size: u32_at(e, 24)?,
            local_header: u32_at(e, 42)?,
        };
        self.rest = e.get(end + usize::from(extra) + usize::from(comment)..)?;
        Some(entry)
    }
}

impl<'a> Iterator for Directory<'a> {
    type Item = Result<DirectoryEntry<'a>, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.entry();
        if entry.is_none() {
            self.left = 0;
        }
        Some(entry.ok_or(ArchiveError::NotReadable("the central directory ends early")))
    }
}
