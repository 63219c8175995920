//! Program headers (generic ABI, "Program Header").

use super::fields::Fields;
use super::header::Header;
use super::machine::Class;
use super::problem::Problem;
use crate::address::{FileOffset, LinkAddress};
use object::elf;
use std::ops::Range;

/// More than this many bytes of program headers are refused, as Android's linker does.
const MOST_BYTES: usize = 64 * 1024;

/// One program header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramHeader {
    /// `p_type`: `PT_*`.
    pub kind: u32,
    /// `p_flags`.
    pub flags: u32,
    /// `p_offset`.
    pub offset: FileOffset,
    /// `p_vaddr`.
    pub address: LinkAddress,
    /// `p_filesz`.
    pub file_size: u64,
    /// `p_memsz`.
    pub memory_size: u64,
    /// `p_align`.
    pub align: u64,
}

impl ProgramHeader {
    /// `PF_R`.
    pub fn readable(&self) -> bool {
        self.flags & elf::PF_R != 0
    }

    /// `PF_W`.
    pub fn writable(&self) -> bool {
        self.flags & elf::PF_W != 0
    }

    /// `PF_X`.
    pub fn executable(&self) -> bool {
        self.flags & elf::PF_X != 0
    }

    /// Its addresses in memory. Cannot overflow once [`ProgramHeaders::read`] has passed it.
    pub fn span(&self) -> Range<u64> {
        self.address.0..self.address.0.saturating_add(self.memory_size)
    }

    /// Whether all of `length` bytes at `address` are inside it.
    pub fn contains(&self, address: LinkAddress, length: u64) -> bool {
        let span = self.span();
        address.0 >= span.start && address.0.checked_add(length).is_some_and(|end| end <= span.end)
    }
}

/// The addresses that all `PT_LOAD` segments take together, in whole pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The first page.
    pub start: LinkAddress,
    /// How many bytes from there; never 0.
    pub size: u64,
    /// The largest alignment that a segment asks for.
    pub align: u64,
}

/// Program headers that were checked against the file and against each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramHeaders {
    all: Vec<ProgramHeader>,
}

impl ProgramHeaders {
    /// Reads those that the header names, from all bytes of the file.
    pub fn read(header: &Header, file: &[u8]) -> Result<Self, Problem> {
        let place = Self::place(header)?;
        let outside = Problem::ProgramHeadersOutside { offset: place.start, size: place.end - place.start };
        let (start, end) = (usize::try_from(place.start), usize::try_from(place.end));
        let (Ok(start), Ok(end)) = (start, end) else { return Err(outside) };
        let table = file.get(start..end).ok_or(outside)?;
        Self::from_table(table, header.class, Some(file.len() as u64))
    }

    /// Where in the file they are: between these offsets, if those are in the file at all.
    pub fn place(header: &Header) -> Result<Range<u64>, Problem> {
        let size = header.class.either(32, 56);
        let count = usize::from(header.program_header_count);
        if count == 0 || count > MOST_BYTES / size || usize::from(header.program_header_size) != size {
            return Err(Problem::BadProgramHeaderCount(header.program_header_count));
        }
        let (start, size) = (header.program_headers.0, (count * size) as u64);
        let outside = Problem::ProgramHeadersOutside { offset: start, size };
        Ok(start..start.checked_add(size).ok_or(outside)?)
    }

    /// From the table alone: of an image that is in memory already, so with no file's length to check with.
    pub fn from_table(table: &[u8], class: Class, file: Option<u64>) -> Result<Self, Problem> {
        let size = class.either(32, 56);
        let mut all = Vec::with_capacity(table.len() / size);
        for entry in table.chunks_exact(size) {
            all.push(read_one(entry, class).ok_or(Problem::BadProgramHeaderCount(0))?);
        }
        for (index, entry) in all.iter().enumerate() {
            check(index, entry, file)?;
        }
        in_order(&all)?;
        Ok(Self { all })
    }

    /// All of them, in the file's order.
    pub fn all(&self) -> &[ProgramHeader] {
        &self.all
    }

    /// Those of type `PT_LOAD` that take any memory.
    pub fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.all.iter().filter(|entry| entry.kind == elf::PT_LOAD && entry.memory_size > 0)
    }

    /// The first of a type.
    pub fn first(&self, kind: u32) -> Option<&ProgramHeader> {
        self.all.iter().find(|entry| entry.kind == kind)
    }

    /// `PT_DYNAMIC`.
    pub fn dynamic(&self) -> Result<&ProgramHeader, Problem> {
        self.first(elf::PT_DYNAMIC).filter(|entry| entry.file_size > 0).ok_or(Problem::NoDynamic)
    }

    /// The `PT_LOAD` segment that holds all of these bytes.
    pub fn load_of(&self, address: LinkAddress, length: u64) -> Option<&ProgramHeader> {
        self.loads().find(|entry| entry.contains(address, length))
    }

    /// Whether this is an address of executable code.
    pub fn is_code(&self, address: LinkAddress) -> bool {
        self.load_of(address, 1).is_some_and(ProgramHeader::executable)
    }

    /// Checks that no segment is writable and executable at once, as Android's linker does for apps of API
    /// level 26 and later.
    pub fn refuse_writable_code(&self) -> Result<(), Problem> {
        let bad =
            |entry: &ProgramHeader| entry.writable() && entry.executable() && entry.kind == elf::PT_LOAD;
        match self.all.iter().position(bad) {
            Some(index) => Err(Problem::WritableAndExecutable { index }),
            None => Ok(()),
        }
    }

    /// The pages of all segments.
    pub fn extent(&self, page: u64) -> Result<Extent, Problem> {
        let start = self.loads().map(|entry| entry.address.0).min().ok_or(Problem::NoLoadableSegments)?;
        let end = self.loads().map(|entry| entry.span().end).max().unwrap_or(start);
        let start = start & !(page - 1);
        let end = end.checked_next_multiple_of(page);
        let size = end.and_then(|end| end.checked_sub(start)).filter(|&size| size > 0);
        let align = self.loads().map(|entry| entry.align).max().unwrap_or(page).max(page);
        match size {
            Some(size) => Ok(Extent { start: LinkAddress(start), size, align }),
            None => Err(Problem::NoLoadableSegments),
        }
    }

    /// Where the program headers themselves are in memory: `PT_PHDR`, or the segment that maps the file's
    /// beginning. They must lie inside the bytes of a segment.
    pub fn own_address(&self, header: &Header) -> Result<LinkAddress, Problem> {
        let length = u64::from(header.program_header_count) * u64::from(header.program_header_size);
        let named = self.first(elf::PT_PHDR).map(|entry| entry.address);
        let mapped = || {
            let first = self.loads().find(|entry| entry.offset.0 == 0)?;
            first.address.checked_add(header.program_headers.0)
        };
        let address = named.or_else(mapped).ok_or(Problem::ProgramHeadersNotLoaded)?;
        let inside = |entry: &ProgramHeader| {
            let end = entry.address.0.saturating_add(entry.file_size);
            address >= entry.address && address.0.checked_add(length).is_some_and(|last| last <= end)
        };
        self.loads().any(inside).then_some(address).ok_or(Problem::ProgramHeadersNotLoaded)
    }
}

fn read_one(entry: &[u8], class: Class) -> Option<ProgramHeader> {
    let f = Fields::new(entry, class);
    Some(match class {
        Class::Elf32 => ProgramHeader {
            kind: f.u32(0)?,
            offset: FileOffset(f.word(4)?),
            address: LinkAddress(f.word(8)?),
            file_size: f.word(16)?,
            memory_size: f.word(20)?,
            flags: f.u32(24)?,
            align: f.word(28)?,
        },
        Class::Elf64 => ProgramHeader {
            kind: f.u32(0)?,
            flags: f.u32(4)?,
            offset: FileOffset(f.word(8)?),
            address: LinkAddress(f.word(16)?),
            file_size: f.word(32)?,
            memory_size: f.word(40)?,
            align: f.word(48)?,
        },
    })
}

/// The kinds that a loader uses bytes or addresses of.
fn is_used(kind: u32) -> bool {
    use elf::{PT_DYNAMIC, PT_GNU_EH_FRAME, PT_GNU_RELRO, PT_LOAD, PT_PHDR, PT_TLS};
    matches!(kind, PT_LOAD | PT_DYNAMIC | PT_TLS | PT_GNU_RELRO | PT_GNU_EH_FRAME | PT_PHDR)
}

fn check(index: usize, entry: &ProgramHeader, file: Option<u64>) -> Result<(), Problem> {
    if !is_used(entry.kind) {
        return Ok(());
    }
    let bad = |what| Err(Problem::BadSegment { index, what });
    if entry.address.checked_add(entry.memory_size).is_none() {
        return bad("p_vaddr + p_memsz overflows");
    }
    if entry.kind != elf::PT_LOAD && entry.kind != elf::PT_TLS {
        return Ok(());
    }
    if entry.file_size > entry.memory_size {
        return bad("p_filesz is larger than p_memsz");
    }
    if entry.align > 1 && !entry.align.is_power_of_two() {
        return bad("p_align is no power of two");
    }
    let end = entry.offset.checked_add(entry.file_size);
    if let Some(length) = file
        && entry.file_size > 0
        && end.is_none_or(|end| end.0 > length)
    {
        return Err(Problem::SegmentPastEnd { index, offset: entry.offset.0, size: entry.file_size, length });
    }
    Ok(())
}

/// Segments come by ascending address and do not overlap (generic ABI, `PT_LOAD`).
fn in_order(all: &[ProgramHeader]) -> Result<(), Problem> {
    let mut end = 0;
    for (index, entry) in all.iter().enumerate() {
        if entry.kind != elf::PT_LOAD || entry.memory_size == 0 {
            continue;
        }
        if entry.address.0 < end {
            return Err(Problem::BadSegment { index, what: "it overlaps the segment before it" });
        }
        end = entry.span().end;
    }
    Ok(())
}
