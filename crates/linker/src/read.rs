//! Read (`ElfReader`): a file's header and program headers, and its segments into memory.

use crate::LinkerError;
use crate::ext_info::Reserved;
use crate::flags::native;
use crate::loaded::Identity;
use crate::memory::{self, Mapped, Protection, Reservation};
use crate::page;
use crate::trace::{Event, Phase, Trace};
use bytes::Bytes;
use livepatch_object::address::FileOffset;
use livepatch_object::loadable::Problem;
use livepatch_object::loadable::header::Header;
use livepatch_object::loadable::program::{Extent, ProgramHeader, ProgramHeaders};
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

/// A file that was opened, of which nothing was read.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) path: String,
    pub(crate) file: File,
    /// Where in it the library begins, and how long it is.
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) identity: Identity,
}

impl Opened {
    /// The library at an offset of a file, with `size` bytes, or all that follow.
    pub(crate) fn new(path: String, file: File, offset: u64, size: Option<u64>) -> Result<Self, LinkerError> {
        let metadata =
            file.metadata().map_err(|source| LinkerError::File { path: path.clone().into(), source })?;
        Self::with(path, file, &metadata, offset, size)
    }

    /// All bytes of the library, mapped.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        let length = usize::try_from(self.size).ok().filter(|&length| length > 0)?;
        memory::map_bytes(&self.file, FileOffset(self.offset), length).ok()
    }

    /// Bytes of the library. The caller sees to it that they are few, and inside.
    fn bytes(&self, part: Range<u64>) -> Result<Vec<u8>, LinkerError> {
        let mut bytes = vec![0; (part.end - part.start) as usize];
        self.fill(&mut bytes, part.start)?;
        Ok(bytes)
    }

    fn fill(&self, bytes: &mut [u8], from: u64) -> Result<(), LinkerError> {
        let read = self.file.read_exact_at(bytes, self.offset + from);
        read.map_err(|source| LinkerError::File { path: self.path.clone().into(), source })
    }

    /// The same, of a file of which the metadata is known.
    pub(crate) fn with(
        path: String,
        file: File,
        metadata: &Metadata,
        offset: u64,
        size: Option<u64>,
    ) -> Result<Self, LinkerError> {
        let length = metadata.len();
        if !offset.is_multiple_of(page::size()) {
            return Err(LinkerError::OffsetNotAligned { name: path, offset });
        }
        if offset >= length && offset != 0 {
            return Err(LinkerError::OffsetPastEnd { name: path, offset, size: length });
        }
        let size = size.unwrap_or(length - offset);
        let identity = Identity { device: metadata.dev(), inode: metadata.ino(), offset };
        Ok(Self { path, file, offset, size, identity })
    }
}

/// A file whose headers were read and checked.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) opened: Opened,
    pub(crate) header: Header,
    pub(crate) headers: ProgramHeaders,
}

/// Reads and checks the headers.
pub(crate) fn read(opened: Opened, trace: Option<&Trace>) -> Result<Read, LinkerError> {
    let path = opened.path.as_str();
    let wrong = |problem: Problem| LinkerError::from(problem.of(path));
    if let Some(trace) = trace {
        trace.record(
            Phase::Find,
            Event::Open {
                library: path.to_owned(),
                offset: opened.offset,
                size: opened.size,
                device: opened.identity.device,
                inode: opened.identity.inode,
            },
        );
    }
    // Nearly always, the program headers are in the same page.
    let mut first = [0; BEGINNING];
    let first = &mut first[..usize::try_from(opened.size).map_or(BEGINNING, |size| size.min(BEGINNING))];
    opened.fill(first, 0)?;
    let header = Header::read(first).map_err(wrong)?;
    header.verify(native()?).map_err(wrong)?;
    let place = ProgramHeaders::place(&header).map_err(wrong)?;
    if place.end > opened.size {
        let (offset, size) = (place.start, place.end - place.start);
        return Err(wrong(Problem::ProgramHeadersOutside { offset, size }));
    }
    let headers = match first.get(place.start as usize..place.end as usize) {
        Some(table) => ProgramHeaders::from_table(table, header.class, Some(opened.size)),
        None => ProgramHeaders::from_table(&opened.bytes(place)?, header.class, Some(opened.size)),
    };
    let headers = headers.map_err(wrong)?;
    headers.refuse_writable_code().map_err(wrong)?;
    headers.own_address(&header).map_err(wrong)?;
    Ok(Read { opened, header, headers })
}

/// How much of a file is read first.
const BEGINNING: usize = 1024;

/// Maps a library's segments, at the caller's address if there is one.
pub(crate) fn map(
    read: &Read,
    reserved: Option<&Reserved>,
    trace: Option<&Trace>,
) -> Result<Mapped, LinkerError> {
    let path = &read.opened.path;
    let extent = read.headers.extent(page::size()).map_err(|problem| problem.of(path))?;
    let begun = reserved.is_none().then(|| begin_with_first(read, &extent)).flatten();
    let is_begun = begun.is_some();
    let reservation = match begun {
        Some(reservation) => reservation,
        None => reserve(path, extent.size, extent.align, reserved)?,
    };
    let mapper = Mapper { read, reservation: &reservation, first: extent.start.0, is_begun, trace };
    let (mut writable, mut readable) = (Vec::new(), Vec::new());
    let mut next_page = 0;
    for (index, segment) in read.headers.all().iter().enumerate() {
        if segment.kind != object::elf::PT_LOAD || segment.memory_size == 0 {
            continue;
        }
        if page::floor(segment.address.0) < next_page {
            let what = "it shares a page with the segment before it";
            return Err(Problem::BadSegment { index, what }.of(path).into());
        }
        if is_begun && next_page != 0 && next_page < page::floor(segment.address.0) {
            mapper.close_gap(next_page..page::floor(segment.address.0))?;
        }
        next_page = page::ceil(segment.span().end);
        mapper.segment(index, segment)?;
        if segment.readable() || segment.writable() {
            readable.push(segment.span());
        }
        if segment.writable() {
            writable.push(segment.span());
        }
    }
    let mapped = Mapped::new(reservation, extent.start, writable, readable);
    if let Some(trace) = trace {
        let (start, size) = (mapped.reservation().start().0, mapped.reservation().size());
        let slide = mapped.slide().bits();
        trace.record(Phase::Read, Event::Reserve { library: path.clone(), start, size, slide });
    }
    Ok(mapped)
}

fn reserve(
    path: &str,
    size: u64,
    align: u64,
    reserved: Option<&Reserved>,
) -> Result<Reservation, LinkerError> {
    let anywhere = || {
        // More than what large pages need is asked for by nobody who means it.
        let align = align.min(1 << 30);
        Reservation::new(size, align).map_err(|source| LinkerError::Reserve {
            name: path.to_owned(),
            size,
            source,
        })
    };
    let Some(reserved) = reserved else { return anywhere() };
    let start = reserved.start.0.checked_next_multiple_of(align).unwrap_or(u64::MAX);
    let lost = start.saturating_sub(reserved.start.0);
    match reserved.size.checked_sub(lost).is_some_and(|left| left >= size) {
        true => Ok(Reservation::lent(livepatch_object::address::RuntimeAddress(start), size)),
        false if reserved.hint => anywhere(),
        false => {
            let (name, needed) = (path.to_owned(), size);
            Err(LinkerError::ReservedTooSmall { name, reserved: reserved.size, needed })
        }
    }
}

/// Copies large segments nearly all of whose pages are going to be changed by relocations to memory of their own,
/// in large pages where those can be had: that is faster than page by page as they are written to.
pub(crate) fn copy_large_segments(
    read: &Read,
    mapped: &Mapped,
    relocations: usize,
) -> Result<(), LinkerError> {
    let is_worth_it = |segment: &&ProgramHeader| {
        let is_large = segment.file_size >= 2 * LARGE_PAGE;
        is_large && segment.writable() && relocations as u64 >= segment.file_size / page::size()
    };
    for segment in read.headers.loads().filter(is_worth_it) {
        let file_end = segment.address.0 + segment.file_size;
        let Some(part) = mapped.part(page::floor(segment.address.0)..page::ceil(file_end)) else { continue };
        let content = part.start..part.end - (page::ceil(file_end) - file_end);
        let reservation = mapped.reservation();
        let offset = page::floor(segment.offset.0) + read.opened.offset;
        let copied = reservation.map_zeroed(part.clone(), Protection::READ_WRITE).and_then(|()| {
            reservation.prefer_large_pages(part.clone());
            reservation.populate(part);
            reservation.read_file(content, &read.opened.file, offset)
        });
        let name = read.opened.path.clone();
        copied.map_err(|source| LinkerError::Map { name, index: 0, source })?;
    }
    Ok(())
}

/// Maps the first segment with room for the others behind it, which saves a system call; none where something
/// about it is not as in most libraries.
fn begin_with_first(read: &Read, extent: &Extent) -> Option<Reservation> {
    let first = read.headers.loads().next()?;
    let is_plain = extent.align <= page::size() && first.file_size > 0 && !first.writable();
    if !is_plain || (first.address.0 ^ first.offset.0) & (page::size() - 1) != 0 {
        return None;
    }
    let offset = page::floor(first.offset.0) + read.opened.offset;
    Reservation::over_file(extent.size, protection_of(first), &read.opened.file, offset).ok()
}

fn protection_of(segment: &ProgramHeader) -> Protection {
    Protection { read: segment.readable(), write: segment.writable(), execute: segment.executable() }
}

struct Mapper<'a> {
    read: &'a Read,
    reservation: &'a Reservation,
    /// Link-time address of the reservation's first byte.
    first: u64,
    /// Whether the first segment is mapped already, over all of the reservation.
    is_begun: bool,
    trace: Option<&'a Trace>,
}

/// The size of a large page, where there are any.
const LARGE_PAGE: u64 = 2 << 20;

impl Mapper<'_> {
    fn part(&self, addresses: Range<u64>) -> Range<u64> {
        addresses.start - self.first..addresses.end - self.first
    }

    /// Between segments, nothing may be accessed.
    fn close_gap(&self, addresses: Range<u64>) -> Result<(), LinkerError> {
        let name = &self.read.opened.path;
        let closed = self.reservation.map_zeroed(self.part(addresses), Protection::NONE);
        closed.map_err(|source| LinkerError::Protect { name: name.clone(), source })
    }

    fn segment(&self, index: usize, segment: &ProgramHeader) -> Result<(), LinkerError> {
        let path = &self.read.opened.path;
        let protection =
            Protection { read: segment.readable(), write: segment.writable(), execute: segment.executable() };
        // Pages of the file are pages of memory only if both begin at the same place in one.
        if segment.file_size > 0 && (segment.address.0 ^ segment.offset.0) & (page::size() - 1) != 0 {
            let what = "its address and its offset differ within a page";
            return Err(Problem::BadSegment { index, what }.of(path).into());
        }
        let failed = |source| LinkerError::Map { name: path.clone(), index, source };
        let start = page::floor(segment.address.0);
        let file_end = segment.address.0 + segment.file_size;
        let end = segment.span().end;
        let mapped_end = if segment.file_size > 0 { page::ceil(file_end) } else { start };
        if mapped_end > start {
            let offset = page::floor(segment.offset.0) + self.read.opened.offset;
            let part = self.part(start..mapped_end);
            if !(self.is_begun && start == self.first) {
                self.reservation
                    .map_file(part, protection, &self.read.opened.file, offset)
                    .map_err(failed)?;
            }
            if segment.writable() && file_end < mapped_end {
                self.reservation.zero(self.part(file_end..mapped_end));
            }
        }
        let zeroed_end = page::ceil(end);
        if zeroed_end > mapped_end {
            self.reservation.map_zeroed(self.part(mapped_end..zeroed_end), protection).map_err(failed)?;
        }
        if let Some(trace) = self.trace {
            trace.record(
                Phase::Read,
                Event::Segment {
                    library: path.clone(),
                    index,
                    start: self.reservation.start().0 + (segment.address.0 - self.first),
                    size: segment.memory_size,
                    file_size: segment.file_size,
                    offset: segment.offset.0,
                    protection: protection.to_string(),
                    name: None,
                },
            );
        }
        Ok(())
    }
}
