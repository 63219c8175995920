//! What is read-only after relocation (`PT_GNU_RELRO`), and sharing its pages between processes.

use crate::LinkerError;
use crate::ext_info::SharedRelro;
use crate::loaded::Loaded;
use crate::memory::{self, Protection};
use crate::page;
use livepatch_object::loadable::Problem;
use object::elf;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// Protects it; the part of the reservation that is read-only now, and how much of it is shared.
///
/// Only whole pages inside the segment are protected: on larger pages than the library was linked for, what
/// follows it stays writable.
pub(super) fn protect(
    library: &Loaded,
    shared: &SharedRelro<'_>,
) -> Result<Option<(Range<u64>, u64)>, LinkerError> {
    let Some(segment) = library.headers.first(elf::PT_GNU_RELRO) else { return Ok(None) };
    let span = segment.span();
    let pages = page::floor(span.start)..page::floor(span.end);
    if pages.is_empty() {
        return Ok(None);
    }
    let outside = || Problem::TableOutside { what: "PT_GNU_RELRO", address: span.start }.of(&library.path);
    // lld lets it end at a page's end, behind what the segment itself takes.
    let load = library.headers.load_of(segment.address, 1).ok_or_else(outside)?;
    if pages.end > page::ceil(load.span().end) {
        return Err(outside().into());
    }
    let part = library.mapped.part(pages).ok_or_else(outside)?;
    let reservation = library.mapped.reservation();
    reservation
        .protect(part.clone(), Protection::READ)
        .map_err(|source| LinkerError::Protect { name: library.path.clone(), source })?;
    let failed = |action| {
        let name = library.path.clone();
        move |source| LinkerError::Relro { action, name, source }
    };
    let shared = match shared {
        SharedRelro::Private => 0,
        SharedRelro::Write(file) => write(library, *file, part.clone()).map_err(failed("serialize"))?,
        SharedRelro::Use(file) => use_file(library, *file, part.clone()).map_err(failed("map"))?,
    };
    Ok(Some((part, shared)))
}

/// Appends the pages to a file, at a page of it, and maps them from there.
fn write(library: &Loaded, file: BorrowedFd<'_>, part: Range<u64>) -> io::Result<u64> {
    let reservation = library.mapped.reservation();
    let bytes = reservation.copy_read_only(part.clone())?;
    let at = memory::append(file, &bytes)?;
    if !at.is_multiple_of(page::size()) {
        return Err(io::Error::other("the file does not end at a page"));
    }
    let file = File::from(file.try_clone_to_owned()?);
    reservation.map_file(part, Protection::READ, &file, at)?;
    Ok(bytes.len() as u64)
}

/// Maps from a file those pages that are the same there. Where libraries were written one after another, each
/// is looked for at the pages that come next.
fn use_file(library: &Loaded, file: BorrowedFd<'_>, part: Range<u64>) -> io::Result<u64> {
    let reservation = library.mapped.reservation();
    let own = reservation.copy_read_only(part.clone())?;
    let file = File::from(file.try_clone_to_owned()?);
    let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let page = page::size() as usize;
    if length == 0 {
        return Ok(0);
    }
    let theirs = memory::map_bytes(&file, livepatch_object::address::FileOffset(0), length)?;
    let mut shared = 0;
    for (index, bytes) in own.chunks(page).enumerate() {
        let at = index * page;
        if theirs.get(at..at + page) == Some(bytes) {
            let start = part.start + at as u64;
            reservation.map_file(start..start + page as u64, Protection::READ, &file, at as u64)?;
            shared += page as u64;
        }
    }
    Ok(shared)
}
