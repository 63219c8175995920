//! Read: the slice for this machine, and its segments into memory.

use super::error::Error;
use super::linker::Shared;
use super::loaded::Loaded;
use crate::loaded::{Identity, LibraryId};
use crate::memory::{self, Mapped, Protection, Reservation};
use crate::page;
use crate::provider::Provider;
use crate::tls;
use crate::trace::{Event, Phase, Trace};
use bytes::Bytes;
use livepatch_object::address::{FileOffset, LinkAddress};
use livepatch_object::macho::initializer::ThreadLocals;
use livepatch_object::macho::{self, Architecture, Image, Segment};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// A file that was opened.
pub(super) struct Opened {
    path: String,
    file: File,
    identity: Identity,
    size: u64,
}

impl Opened {
    pub(super) fn new(path: String, file: File) -> Result<Self, Error> {
        let metadata = file.metadata().map_err(|source| Error::File { path: path.clone().into(), source })?;
        let identity = Identity { device: metadata.dev(), inode: metadata.ino(), offset: 0 };
        Ok(Self { path, file, identity, size: metadata.len() })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    fn bytes(&self) -> Result<Bytes, Error> {
        let failed = |source| Error::File { path: self.path.clone().into(), source };
        if self.size == 0 {
            return Ok(Bytes::new());
        }
        let length =
            usize::try_from(self.size).map_err(|_| failed(std::io::ErrorKind::FileTooLarge.into()))?;
        memory::map_bytes(&self.file, FileOffset(0), length).map_err(failed)
    }
}

/// Reads and maps an image. Nothing of it is changed yet.
pub(super) fn load(
    opened: Opened,
    id: LibraryId,
    linker: &Weak<Shared>,
    providers: &Arc<[Provider]>,
    trace: Option<&Trace>,
) -> Result<Loaded, Error> {
    let path = opened.path.clone();
    let wrong = |source| Error::Image { path: path.clone(), source };
    let unsupported = |what: String| Error::Unsupported { path: path.clone(), what };
    let bytes = opened.bytes()?;
    let slices = macho::slices(&bytes).map_err(wrong)?;
    let slice = macho::choose(&slices, Architecture::X86_64).ok_or_else(|| Error::WrongArchitecture {
        path: path.clone(),
        has: slices.iter().map(|slice| slice.architecture.to_string()).collect(),
        wanted: "x86_64",
    })?;
    let image = Image::read(slice).map_err(wrong)?;
    if image.is_encrypted {
        return Err(unsupported("it is encrypted".to_owned()));
    }
    if let Some(trace) = trace {
        let (offset, size) = (slice.offset.0, slice.bytes.len() as u64);
        let Identity { device, inode, .. } = opened.identity;
        trace.record(Phase::Find, Event::Open { library: path.clone(), offset, size, device, inode });
        trace.record(
            Phase::Read,
            Event::Slice {
                library: path.clone(),
                architecture: slice.architecture.to_string(),
                kind: image.header.kind.name().to_owned(),
                slices: slices.iter().map(|slice| slice.architecture.to_string()).collect(),
                two_level: image.header.is_two_level(),
                needed: image.libraries.iter().map(|library| library.name.clone()).collect(),
            },
        );
    }
    let mapped = map(&opened, slice.offset, &image, trace)?;
    let exports = image.exports().map_err(wrong)?;
    let tls = image.thread_locals().map_err(wrong)?;
    let tls = tls.map(|locals| thread_locals(&path, &locals, &mapped)).transpose()?;
    if let (Some(trace), Some(module)) = (trace, &tls) {
        let (module, size) = (module.id(), module.size() as u64);
        trace.record(Phase::Read, Event::ThreadLocals { library: path.clone(), module, size, offset: None });
    }
    Ok(Loaded {
        id,
        path: path.into(),
        identity: opened.identity,
        image,
        exports,
        mapped,
        tls,
        linker: linker.clone(),
        providers: Arc::clone(providers),
        trace: trace.cloned(),
        dependencies: OnceLock::new(),
        lazy: OnceLock::new(),
        unwinding: Mutex::new(None),
        binder_calls: AtomicU64::new(0),
        is_kept: AtomicBool::new(false),
    })
}

/// Segments that take memory that may be used.
fn segments(image: &Image) -> impl Iterator<Item = (usize, &Segment)> {
    let all = image.segments.iter().enumerate();
    all.filter(|(_, segment)| segment.size > 0 && !segment.is_guard())
}

fn map(opened: &Opened, slice: FileOffset, image: &Image, trace: Option<&Trace>) -> Result<Mapped, Error> {
    let path = &opened.path;
    let unsupported = |what: &str| Error::Unsupported { path: path.clone(), what: what.to_owned() };
    let failed = |action| move |source| Error::Memory { action, path: path.clone(), source };
    let extent = image.segments.extent();
    let first = page::floor(extent.start.0);
    let size = page::ceil(extent.end.0).saturating_sub(first);
    if size == 0 {
        return Err(unsupported("it has no segment that takes memory"));
    }
    let reservation = match image.header.is_position_independent() {
        true => Reservation::new(size, page::size()),
        false => Reservation::at(first, size),
    };
    let reservation = reservation.map_err(failed("reserve"))?;
    let (mut writable, mut readable) = (Vec::new(), Vec::new());
    let mut next_page = 0;
    let mut all: Vec<_> = segments(image).collect();
    all.sort_by_key(|(_, segment)| segment.address);
    for (index, segment) in all {
        if page::floor(segment.address.0) < next_page {
            return Err(unsupported(&format!(
                "segment {} shares a page with the one before it",
                segment.name
            )));
        }
        next_page = page::ceil(segment.end().0);
        let protection = protection_of(segment);
        let span = segment.address.0..segment.end().0;
        map_segment(&reservation, first, segment, slice, &opened.file).map_err(failed("map"))?;
        if protection.read || protection.write {
            readable.push(span.clone());
        }
        if protection.write {
            writable.push(span);
        }
        if let Some(trace) = trace {
            trace.record(
                Phase::Read,
                Event::Segment {
                    library: path.clone(),
                    index,
                    start: reservation.start().0 + (segment.address.0 - first),
                    size: segment.size,
                    file_size: segment.file_size,
                    offset: segment.offset.0,
                    protection: segment.initial.to_string(),
                    name: Some(segment.name.to_string()),
                },
            );
        }
    }
    let mapped = Mapped::new(reservation, LinkAddress(first), writable, readable);
    if let Some(trace) = trace {
        let (start, size) = (mapped.reservation().start().0, mapped.reservation().size());
        let slide = mapped.slide().bits();
        trace.record(Phase::Read, Event::Reserve { library: path.clone(), start, size, slide });
    }
    Ok(mapped)
}

pub(super) fn protection_of(segment: &Segment) -> Protection {
    let initial = segment.initial;
    Protection { read: initial.read(), write: initial.write(), execute: initial.execute() }
}

/// Bytes of the file are mapped where both begin at the same place in a page, and read where not: slices of fat files
/// begin at multiples of 4 KiB or 16 KiB, pages of this system may be larger.
fn map_segment(
    reservation: &Reservation,
    first: u64,
    segment: &Segment,
    slice: FileOffset,
    file: &File,
) -> std::io::Result<()> {
    let protection = protection_of(segment);
    let part = |addresses: Range<u64>| addresses.start - first..addresses.end - first;
    let start = page::floor(segment.address.0);
    let end = page::ceil(segment.end().0);
    let offset = slice.0.checked_add(segment.offset.0).ok_or(std::io::ErrorKind::InvalidInput)?;
    let file_end = segment.address.0 + segment.file_size;
    let is_aligned = (segment.address.0 ^ offset) & (page::size() - 1) == 0;
    // The rest of the last page is zeros in memory, of which the file has other bytes.
    let whole = if segment.file_size == segment.size { page::ceil(file_end) } else { page::floor(file_end) };
    let mapped_end = if is_aligned && segment.file_size > 0 { whole.max(start) } else { start };
    if mapped_end > start {
        reservation.map_file(part(start..mapped_end), protection, file, page::floor(offset))?;
    }
    if end > mapped_end {
        let rest = part(mapped_end..end);
        reservation.map_zeroed(rest.clone(), Protection::READ_WRITE)?;
        let from = mapped_end.max(segment.address.0);
        if file_end > from {
            let bytes = part(from..file_end);
            reservation.read_file(bytes, file, offset + (from - segment.address.0))?;
        }
        reservation.protect(rest, protection)?;
    }
    Ok(())
}

fn thread_locals(path: &str, locals: &ThreadLocals, mapped: &Mapped) -> Result<tls::Module, Error> {
    let unsupported = |what: &str| Error::Unsupported { path: path.to_owned(), what: what.to_owned() };
    let (start, end) = (locals.template.start.0, locals.template.end.0);
    let size = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
    let align = usize::try_from(locals.alignment.max(1)).unwrap_or(usize::MAX);
    // As large as a thread's stack may be, and aligned to a page: more is no block of a thread.
    if size > 1 << 30 || align > 1 << 16 || !align.is_power_of_two() {
        return Err(unsupported("its thread-local variables are larger than a thread can have"));
    }
    let initial = if size == 0 { Some(Bytes::new()) } else { mapped.copy(start..end) };
    let initial = initial.ok_or_else(|| unsupported("its thread-local variables are in no segment"))?;
    let misalign = (start as usize) & (align - 1);
    Ok(tls::Module::register(tls::Image { initial, size, align, misalign }))
}
