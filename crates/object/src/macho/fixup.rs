//! What has to be written into an image before it runs: one model over three formats.
//!
//! `LC_DYLD_INFO` has opcodes ([`super::opcodes`]), newer images have chains of pointers ([`super::chained`]), older
//! ones relocation entries and the indirect symbol table ([`super::relocation`]). All become records of a slot and
//! what is done to it.

use super::chained::PointerFormat;
use super::{Image, Problem, SectionId, SegmentId};
use crate::address::{FileOffset, LinkAddress};
use bytes::Bytes;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Where an import is looked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ordinal {
    /// In the library of that number, from 1, of [`Image::libraries`], and what it re-exports.
    Library(u32),
    /// 0: in this image.
    ThisImage,
    /// −1: in the main executable.
    MainExecutable,
    /// −2: in all images, in the order in which they were loaded.
    FlatLookup,
    /// −3: in all images that take part in coalescing weak symbols.
    WeakLookup,
}

impl Ordinal {
    /// As the tables have it.
    pub fn number(self) -> i64 {
        match self {
            Self::Library(number) => number.into(),
            Self::ThisImage => 0,
            Self::MainExecutable => -1,
            Self::FlatLookup => -2,
            Self::WeakLookup => -3,
        }
    }

    /// From a number of a table; checked against how many libraries there are.
    pub fn of(number: i64, libraries: usize) -> Result<Self, Problem> {
        let bad = Problem::BadOrdinal { ordinal: number, libraries };
        Ok(match number {
            0 => Self::ThisImage,
            -1 => Self::MainExecutable,
            -2 => Self::FlatLookup,
            -3 => Self::WeakLookup,
            number => match u32::try_from(number) {
                Ok(number) if number as usize <= libraries => Self::Library(number),
                _ => return Err(bad),
            },
        })
    }
}

/// An import's number in [`Fixups::imports`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ImportId(pub u32);

/// A name that another image, mostly, has to define. Many records can be of one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Import {
    /// The name, with its underscore.
    pub symbol: Bytes,
    /// Where it is looked for.
    pub ordinal: Ordinal,
    /// Whether it is 0 if nobody defines it.
    pub weak_import: bool,
}

/// A pointer in the image, of eight bytes, which are in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot {
    /// Where it is.
    pub address: LinkAddress,
    /// Where it is in the slice.
    pub offset: FileOffset,
    /// The segment that has it.
    pub segment: SegmentId,
    /// The section that has it; there can be pointers between sections.
    pub section: Option<SectionId>,
}

/// Which table a record is from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    /// Rebase opcodes.
    Rebase,
    /// Bind opcodes: bound when the image is loaded.
    Bind,
    /// Weak bind opcodes: what all images agree upon; it overrides other records of its slot.
    WeakBind,
    /// Lazy bind opcodes: bound at the first call, or when the image is loaded.
    LazyBind {
        /// Where the entry begins among the opcodes: what its stub helper pushes.
        entry: u32,
    },
    /// A chain of pointers.
    Chained,
    /// A relocation entry.
    Relocation,
    /// The indirect symbol table.
    IndirectSymbol {
        /// Whether the slot may be bound at the first call (`S_LAZY_SYMBOL_POINTERS`).
        lazy: bool,
    },
}

impl Table {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rebase => "rebase",
            Self::Bind => "bind",
            Self::WeakBind => "weak-bind",
            Self::LazyBind { .. } => "lazy-bind",
            Self::Chained => "chained",
            Self::Relocation => "relocation",
            Self::IndirectSymbol { .. } => "indirect-symbol",
        }
    }

    /// Whether it may be done at the first call.
    pub fn is_lazy(self) -> bool {
        matches!(self, Self::LazyBind { .. } | Self::IndirectSymbol { lazy: true })
    }
}

/// How a pointer is signed (arm64e).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Auth {
    /// 0 to 3: IA, IB, DA, DB.
    pub key: u8,
    /// Mixed into the signature.
    pub diversity: u16,
    /// Whether the slot's address is, too.
    pub with_address: bool,
}

impl Auth {
    /// The key's name.
    pub fn key_name(self) -> &'static str {
        ["IA", "IB", "DA", "DB"][usize::from(self.key & 3)]
    }
}

/// What is done to a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// The address of something of this image: `target` plus the slide is written, and `high8` into the highest byte.
    Rebase {
        /// What it points to.
        target: LinkAddress,
        /// The highest eight bits of what is written.
        high8: u8,
        /// How it is signed, if it is.
        auth: Option<Auth>,
    },
    /// The address of an import plus `addend`.
    Bind {
        /// Which.
        import: ImportId,
        /// What is added.
        addend: i64,
        /// How it is signed, if it is.
        auth: Option<Auth>,
    },
}

/// One change of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fixup {
    /// Where.
    pub slot: Slot,
    /// Which table says so.
    pub table: Table,
    /// Where in that table: the opcode's or the entry's offset, the index of an indirect symbol; of a chained
    /// pointer, the index of its page.
    pub at: u32,
    /// What.
    pub action: Action,
}

/// How an image says what is to be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// `LC_DYLD_INFO`, `LC_DYLD_INFO_ONLY`.
    DyldInfo,
    /// `LC_DYLD_CHAINED_FIXUPS`, with the pointer formats of its segments.
    Chained(Vec<PointerFormat>),
    /// Neither: relocation entries and the indirect symbol table.
    Relocations,
}

/// All changes of an image.
#[derive(Clone, Debug)]
pub struct Fixups {
    /// How the image says it.
    pub format: Format,
    /// The imports.
    pub imports: Vec<Import>,
    /// The changes, in the order of the tables: rebases, binds, weak binds, lazy binds.
    pub records: Vec<Fixup>,
    /// Names of which this image has a definition that others' weak ones must yield to.
    pub strong_definitions: Vec<Bytes>,
}

impl Fixups {
    /// The import of that number, which is one of these.
    pub fn import(&self, id: ImportId) -> Option<&Import> {
        self.imports.get(id.0 as usize)
    }

    /// What a record binds its slot to; none if it does not.
    pub fn import_of(&self, record: &Fixup) -> Option<&Import> {
        match record.action {
            Action::Bind { import, .. } => self.import(import),
            Action::Rebase { .. } => None,
        }
    }

    /// All records of one slot.
    pub fn of_slot(&self, address: LinkAddress) -> impl Iterator<Item = &Fixup> {
        self.records.iter().filter(move |record| record.slot.address == address)
    }

    /// The record of what a stub helper pushes.
    pub fn lazy_at(&self, entry: u32) -> Option<&Fixup> {
        self.records.iter().find(|record| record.table == Table::LazyBind { entry })
    }
}

impl Image {
    /// Reads everything that is to be changed.
    pub fn fixups(&self) -> Result<Fixups, Problem> {
        let mut builder = Builder::new(self);
        let format = if self.tables.has_chained_fixups {
            Format::Chained(super::chained::read(self, &mut builder)?)
        } else if self.tables.has_dyld_info {
            super::opcodes::read(self, &mut builder)?;
            Format::DyldInfo
        } else {
            super::relocation::read(self, &mut builder)?;
            Format::Relocations
        };
        Ok(Fixups {
            format,
            imports: builder.imports,
            records: builder.records,
            strong_definitions: builder.strong_definitions,
        })
    }
}

/// Collects records. There are never more than the file has room for slots.
pub(super) struct Builder<'a> {
    image: &'a Image,
    pub(super) imports: Vec<Import>,
    pub(super) strong_definitions: Vec<Bytes>,
    records: Vec<Fixup>,
    known: HashMap<Import, ImportId, FxBuildHasher>,
    /// How many records there can be: for each pointer that can be written to, one of each table.
    room: u64,
    /// Where the search for a slot's section begins: slots mostly follow each other.
    section: Option<SectionId>,
}

/// A place in a table, for messages.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) table: &'static str,
    pub(super) at: usize,
}

impl At {
    pub(super) fn bad(self, what: &'static str) -> Problem {
        Problem::BadTable { table: self.table, at: self.at, what }
    }

    pub(super) fn number(self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }
}

/// A pointer has so many bytes.
const POINTER: u64 = 8;
/// A slot can have as many records as there are tables which name slots.
const TABLES: u64 = 4;

impl<'a> Builder<'a> {
    pub(super) fn new(image: &'a Image) -> Self {
        let writable = image.segments.iter().filter(|segment| segment.initial.write());
        // Segments are in the file, each at most once as far as an honest one goes.
        let bytes = writable.fold(0_u64, |sum, segment| sum.saturating_add(segment.file_size));
        Self {
            image,
            room: bytes.min(image.bytes().len() as u64) / POINTER * TABLES,
            imports: Vec::new(),
            strong_definitions: Vec::new(),
            records: Vec::new(),
            known: HashMap::default(),
            section: None,
        }
    }

    /// The slot at an offset of a segment, if the file has it.
    pub(super) fn slot(&mut self, at: At, segment: usize, offset: u64) -> Result<Slot, Problem> {
        let outside = Problem::PlaceOutside { table: at.table, at: at.at, segment, offset };
        let id = u16::try_from(segment).map(SegmentId).map_err(|_| outside.clone())?;
        let segment = self.image.segments.get(id).ok_or(outside.clone())?;
        let end = offset.checked_add(POINTER).ok_or(outside.clone())?;
        if end > segment.file_size {
            return Err(outside);
        }
        if !segment.initial.write() {
            return Err(at.bad("its place is in a segment that is not written to"));
        }
        let address = segment.address.checked_add(offset).ok_or(outside.clone())?;
        let offset = segment.offset.checked_add(offset).ok_or(outside)?;
        Ok(Slot { address, offset, segment: id, section: self.section_of(address) })
    }

    /// The slot at an address, if the file has it.
    pub(super) fn slot_at(&mut self, at: At, address: LinkAddress) -> Result<Slot, Problem> {
        let outside =
            Problem::PlaceOutside { table: at.table, at: at.at, segment: usize::MAX, offset: address.0 };
        let id = self.image.segments.of(address).ok_or(outside.clone())?;
        let segment = self.image.segments.get(id).ok_or(outside.clone())?;
        let offset = address.checked_since(segment.address).ok_or(outside)?;
        self.slot(at, usize::from(id.0), offset)
    }

    fn section_of(&mut self, address: LinkAddress) -> Option<SectionId> {
        let segments = &self.image.segments;
        let last = self.section.filter(|id| segments.section(*id).is_some_and(|s| s.contains(address)));
        self.section = last.or_else(|| segments.section_of(address));
        self.section
    }

    /// What a slot holds in the file.
    pub(super) fn value(&self, slot: &Slot) -> u64 {
        let at = usize::try_from(slot.offset.0).unwrap_or(usize::MAX);
        // `slot` saw to it that it is there.
        crate::loadable::fields::u64_at(self.image.bytes(), at).unwrap_or(0)
    }

    /// The number of an import, which may be one that is known.
    pub(super) fn import(&mut self, import: Import) -> Result<ImportId, Problem> {
        if let Some(id) = self.known.get(&import) {
            return Ok(*id);
        }
        let number = u32::try_from(self.imports.len()).map_err(|_| Problem::TooMany { what: "imports" })?;
        self.imports.push(import.clone());
        self.known.insert(import, ImportId(number));
        Ok(ImportId(number))
    }

    pub(super) fn push(&mut self, record: Fixup) -> Result<(), Problem> {
        if self.records.len() as u64 > self.room {
            return Err(Problem::TooMany { what: "fixups" });
        }
        self.records.push(record);
        Ok(())
    }

    pub(super) fn rebase(&mut self, at: At, slot: Slot, table: Table) -> Result<(), Problem> {
        let target = LinkAddress(self.value(&slot));
        let action = Action::Rebase { target, high8: 0, auth: None };
        self.push(Fixup { slot, table, at: at.number(), action })
    }
}
