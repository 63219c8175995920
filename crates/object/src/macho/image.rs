//! One slice, read as a loader reads it.

use super::commands::{BuildVersion, Commands, Entry, Library, Tables};
use super::symbol::Symbols;
use super::{Header, Problem, Segments, Slice};
use crate::address::{FileOffset, LinkAddress};
use bytes::Bytes;
use std::ops::Range;

/// An image whose header, load commands and places of tables were checked. What is in its tables is checked when it
/// is asked for.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it says about itself.
    pub header: Header,
    /// Which bytes go where.
    pub segments: Segments,
    /// Libraries that it needs: ordinal n means the n-th, from 1.
    pub libraries: Vec<Library>,
    /// What it is called as a library (`LC_ID_DYLIB`).
    pub id: Option<Library>,
    /// Where `@rpath` leads (`LC_RPATH`).
    pub rpaths: Vec<String>,
    /// Where an executable begins.
    pub entry: Option<Entry>,
    /// What it was built for.
    pub build: Option<BuildVersion>,
    /// `LC_UUID`.
    pub uuid: Option<[u8; 16]>,
    /// A function that runs first (`LC_ROUTINES_64`).
    pub routine: Option<LinkAddress>,
    /// Whether parts of it are encrypted (`LC_ENCRYPTION_INFO_64`), and cannot be read therefore.
    pub is_encrypted: bool,
    /// Its symbol table, and which symbols its pointers and stubs are for.
    pub symbols: Symbols,
    /// Where its tables are.
    pub tables: Tables,
    base: LinkAddress,
    bytes: Bytes,
}

impl Image {
    /// Reads a slice. Nothing of what it holds in tables is read yet.
    pub fn read(slice: &Slice) -> Result<Self, Problem> {
        let bytes = slice.bytes.clone();
        let (raw, header) = super::header::read(&bytes)?;
        let commands = Commands::read(raw, &bytes)?;
        let segments = commands.segments;
        let has_header = |segment: &&super::Segment| segment.offset.0 == 0 && segment.file_size > 0;
        let base = segments.iter().find(has_header).ok_or(Problem::NoHeaderSegment)?.address;
        let part = |range: &Range<usize>| bytes.slice(range.clone());
        let tables = commands.tables;
        let symbols =
            Symbols::new(part(&tables.symbols), part(&tables.strings), part(&tables.indirect_symbols));
        Ok(Self {
            header,
            segments,
            libraries: commands.libraries,
            id: commands.id,
            rpaths: commands.rpaths,
            entry: commands.entry,
            build: commands.build,
            uuid: commands.uuid,
            routine: commands.routine.map(LinkAddress),
            is_encrypted: commands.is_encrypted,
            symbols,
            tables,
            base,
            bytes,
        })
    }

    /// The slice's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where the Mach header is: offsets of exports, initialisers and chained pointers count from here.
    pub fn base(&self) -> LinkAddress {
        self.base
    }

    /// `length` bytes at an address, of those that are in the file.
    pub fn at(&self, address: LinkAddress, length: u64) -> Option<Bytes> {
        self.segments.file_range(address, length).map(|range| self.bytes.slice(range))
    }

    /// The bytes of a section; none if they are not in the file.
    pub fn contents(&self, section: &super::Section) -> Bytes {
        self.at(section.address, section.size).unwrap_or_default()
    }

    /// The address of a byte of the file, in the segment that has it.
    pub fn address_of(&self, offset: FileOffset) -> Option<LinkAddress> {
        let holds = |segment: &&super::Segment| {
            offset.checked_since(segment.offset).is_some_and(|within| within < segment.file_size)
        };
        let segment = self.segments.iter().find(holds)?;
        segment.address.checked_add(offset.checked_since(segment.offset)?)
    }

    /// The function at which an executable begins.
    pub fn entry_point(&self) -> Option<LinkAddress> {
        match self.entry? {
            Entry::Main { offset, .. } => self.base.checked_add(offset.0),
            Entry::Thread(address) => Some(LinkAddress(address)),
        }
    }

    /// The bytes of a table of [`Tables`].
    pub(super) fn table(&self, range: &Range<usize>) -> Bytes {
        self.bytes.slice(range.clone())
    }

    /// The name of a library by its ordinal, and of the special ones.
    pub fn library(&self, ordinal: super::Ordinal) -> Option<&Library> {
        match ordinal {
            super::Ordinal::Library(number) => {
                self.libraries.get(usize::try_from(number).ok()?.checked_sub(1)?)
            }
            _ => None,
        }
    }
}
