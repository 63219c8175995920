//! Address space: reserving it, mapping files into it, changing words in it. Nothing here knows about a file
//! format.
//!
//! All memory that is written here belongs to a library that is being loaded, or to slots that machine code
//! reads. No reference to it is ever made, so stores from here race with machine code only.

mod image;

pub(crate) use image::{Mapped, Places};

use crate::page;
use bytes::Bytes;
use livepatch_object::address::{FileOffset, RuntimeAddress};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What pages allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Protection {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

impl Protection {
    pub(crate) const NONE: Self = Self { read: false, write: false, execute: false };
    pub(crate) const READ: Self = Self { read: true, write: false, execute: false };
    pub(crate) const READ_WRITE: Self = Self { read: true, write: true, execute: false };
    pub(crate) const READ_EXECUTE: Self = Self { read: true, write: false, execute: true };

    fn bits(self) -> i32 {
        let bit = |on, bit| if on { bit } else { 0 };
        bit(self.read, libc::PROT_READ)
            | bit(self.write, libc::PROT_WRITE)
            | bit(self.execute, libc::PROT_EXEC)
    }
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letter = |on, letter| if on { letter } else { '-' };
        write!(f, "{}{}{}", letter(self.read, 'r'), letter(self.write, 'w'), letter(self.execute, 'x'))
    }
}

/// A file's bytes, mapped read-only for as long as anyone uses a part of them.
struct MappedFile {
    start: *const u8,
    length: usize,
}

// SAFETY: the memory is only read, by whoever has it, and unmapped by the last.
unsafe impl Send for MappedFile {}
// SAFETY: as above.
unsafe impl Sync for MappedFile {}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: mapped by `map_bytes` with this length, until `self` is dropped, and private, so nobody
        // writes there. That the file itself is not cut off or rewritten meanwhile is what every loader
        // relies on; as with those, the process ends if it is cut off.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: mapped by `map_bytes`, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.length) };
    }
}

/// Maps `length` bytes of a file, at least one, from a page's beginning on.
pub(crate) fn map_bytes(file: &File, offset: FileOffset, length: usize) -> io::Result<Bytes> {
    let at = libc::off_t::try_from(offset.0).map_err(|_| io::ErrorKind::InvalidInput)?;
    let null = std::ptr::null_mut();
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that is there.
    let start = unsafe { libc::mmap(null, length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), at) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(Bytes::from_owner(MappedFile { start: start.cast_const().cast(), length }))
}

/// A range of address space that a library has to itself.
#[derive(Debug)]
pub(crate) struct Reservation {
    start: RuntimeAddress,
    size: u64,
    /// Whether it is unmapped when the library is gone: not if its caller had reserved it.
    owned: bool,
}

impl Reservation {
    /// `size` bytes, a multiple of a page, which nothing may access yet, at a multiple of `align`.
    pub(crate) fn new(size: u64, align: u64) -> io::Result<Self> {
        let too_large = || io::Error::from_raw_os_error(libc::ENOMEM);
        let slack = align.saturating_sub(page::size());
        let whole =
            size.checked_add(slack).and_then(|whole| usize::try_from(whole).ok()).ok_or_else(too_large)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that is there.
        let got = unsafe { libc::mmap(std::ptr::null_mut(), whole, libc::PROT_NONE, flags, -1, 0) };
        if got == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let got = got as u64;
        let start = got.next_multiple_of(align.max(1));
        unmap(got..start);
        unmap(start + size..got + whole as u64);
        Ok(Self { start: RuntimeAddress(start), size, owned: true })
    }

    /// `size` bytes at this address, a multiple of a page as well, if nothing is there.
    #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
    pub(crate) fn at(start: u64, size: u64) -> io::Result<Self> {
        let length = usize::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: a new mapping that touches nothing that is there.
        let got = unsafe { libc::mmap(start as *mut libc::c_void, length, libc::PROT_NONE, flags, -1, 0) };
        done(got != libc::MAP_FAILED)?;
        if got as u64 != start {
            // Kernels that do not know the flag take the address as a hint.
            unmap(got as u64..got as u64 + size);
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(Self { start: RuntimeAddress(start), size, owned: true })
    }

    /// `size` bytes, a multiple of a page, of which a file's bytes from `offset` on are the first; what follows
    /// those is to be mapped over, or protected.
    pub(crate) fn over_file(size: u64, protection: Protection, file: &File, offset: u64) -> io::Result<Self> {
        let length = usize::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (null, flags) = (std::ptr::null_mut(), libc::MAP_PRIVATE);
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that is there.
        let got = unsafe { libc::mmap(null, length, protection.bits(), flags, file.as_raw_fd(), offset) };
        done(got != libc::MAP_FAILED)?;
        Ok(Self { start: RuntimeAddress(got as u64), size, owned: true })
    }

    /// A range that the caller of `dlopen` has reserved and promised to the library (`Reserved::new`).
    pub(crate) fn lent(start: RuntimeAddress, size: u64) -> Self {
        Self { start, size, owned: false }
    }

    pub(crate) fn start(&self) -> RuntimeAddress {
        self.start
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The run-time addresses of a part of it, given in bytes from its beginning, in whole pages.
    fn part(&self, part: &Range<u64>) -> io::Result<(*mut libc::c_void, usize)> {
        let fits = part.start <= part.end && part.end <= self.size && part.start.is_multiple_of(page::size());
        let length = usize::try_from(part.end.saturating_sub(part.start)).ok().filter(|_| fits);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(((self.start.0 + part.start) as *mut libc::c_void, length))
    }

    /// Maps bytes of a file over a part.
    pub(crate) fn map_file(
        &self,
        part: Range<u64>,
        protection: Protection,
        file: &File,
        offset: u64,
    ) -> io::Result<()> {
        let (at, length) = self.part(&part)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
        // SAFETY: the part lies in the reservation, which only the library that is being loaded uses.
        let got = unsafe { libc::mmap(at, length, protection.bits(), flags, file.as_raw_fd(), offset) };
        done(got != libc::MAP_FAILED)
    }

    /// Maps zeroed pages over a part.
    pub(crate) fn map_zeroed(&self, part: Range<u64>, protection: Protection) -> io::Result<()> {
        let (at, length) = self.part(&part)?;
        if length == 0 {
            return Ok(());
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: as in `map_file`.
        let got = unsafe { libc::mmap(at, length, protection.bits(), flags, -1, 0) };
        done(got != libc::MAP_FAILED)
    }

    /// Asks for large pages where that makes sense. It is no error if there are none.
    pub(crate) fn prefer_large_pages(&self, part: Range<u64>) {
        if let Ok((at, length)) = self.part(&part) {
            // SAFETY: changes no content.
            unsafe { libc::madvise(at, length, libc::MADV_HUGEPAGE) };
        }
    }

    /// Has the kernel make a part's pages at once, and not one by one as they are written to. It is no error
    /// if it cannot (Linux before 5.14).
    pub(crate) fn populate(&self, part: Range<u64>) {
        const MADV_POPULATE_WRITE: i32 = 23;
        if let Ok((at, length)) = self.part(&part) {
            // SAFETY: changes no content.
            unsafe { libc::madvise(at, length, MADV_POPULATE_WRITE) };
        }
    }

    /// Reads bytes of a file into a part that is writable, whose beginning need not be a page's.
    pub(crate) fn read_file(&self, part: Range<u64>, file: &File, offset: u64) -> io::Result<()> {
        let (mut at, mut offset) = (part.start, offset);
        if part.start > part.end || part.end > self.size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        while at < part.end {
            let length = usize::try_from(part.end - at).map_err(|_| io::ErrorKind::InvalidInput)?;
            let to = (self.start.0 + at) as *mut libc::c_void;
            let from = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
            // SAFETY: the kernel writes within the part, which only the library that is being loaded uses;
            // where it is not writable, the call fails.
            let got = unsafe { libc::pread(file.as_raw_fd(), to, length, from) };
            match u64::try_from(got) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => (at, offset) = (at + got, offset + got),
                Err(_) => return Err(io::Error::last_os_error()),
            }
        }
        Ok(())
    }

    /// Writes zeros to a part that is writable, whose beginning and end need not be a page's.
    pub(crate) fn zero(&self, part: Range<u64>) {
        if part.start >= part.end || part.end > self.size {
            return;
        }
        let length = (part.end - part.start) as usize;
        // SAFETY: within the reservation; the caller mapped it writable, and only the library that is being
        // loaded will use it.
        unsafe { std::ptr::write_bytes((self.start.0 + part.start) as *mut u8, 0, length) };
    }

    /// Writes bytes to a part that is writable, and lets them be executed.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let fits = at.checked_add(bytes.len() as u64).is_some_and(|end| end <= self.size);
        if !fits {
            return;
        }
        let to = (self.start.0 + at) as *mut u8;
        // SAFETY: within the reservation; the caller made it writable, and nobody uses these bytes yet.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        written(to as u64, bytes.len() as u64);
    }

    /// Changes what a part allows.
    pub(crate) fn protect(&self, part: Range<u64>, protection: Protection) -> io::Result<()> {
        let (at, length) = self.part(&part)?;
        // SAFETY: the part is the library's; what it may do there is what its program headers say.
        done(unsafe { libc::mprotect(at, length, protection.bits()) } == 0)
    }

    /// The bytes of a part of whole pages, copied, which is made read-only first.
    pub(crate) fn copy_read_only(&self, part: Range<u64>) -> io::Result<Vec<u8>> {
        self.protect(part.clone(), Protection::READ)?;
        let (at, length) = self.part(&part)?;
        let mut bytes = vec![0; length];
        // SAFETY: mapped readable, as was just seen to; the copy is as long.
        unsafe { at.cast::<u8>().copy_to_nonoverlapping(bytes.as_mut_ptr(), length) };
        Ok(bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let range = self.start.0..self.start.0 + self.size;
        if self.owned {
            unmap(range);
        } else {
            // The range stays reserved, as it was lent, and what was there is gone.
            let _ = self.map_zeroed(0..self.size, Protection::NONE);
        }
    }
}

fn unmap(range: Range<u64>) {
    if !range.is_empty() {
        // SAFETY: called on parts of reservations only, by whoever has them to itself.
        unsafe { libc::munmap(range.start as *mut libc::c_void, (range.end - range.start) as usize) };
    }
}

fn done(well: bool) -> io::Result<()> {
    match well {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

/// Has instructions that were written be seen as such.
#[cfg(target_arch = "aarch64")]
fn written(start: u64, length: u64) {
    // As compilers' `__builtin___clear_cache` does (Arm Architecture Reference Manual, "Ordering of cache
    // maintenance instructions"), by the smallest lines there are.
    for line in (start & !15..start + length).step_by(16) {
        // SAFETY: cleans and invalidates a line of memory that was just written.
        unsafe { std::arch::asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", in(reg) line, options(nostack)) };
    }
    // SAFETY: a barrier.
    unsafe { std::arch::asm!("dsb ish", "isb", options(nostack)) };
}

/// This machine sees to it by itself.
#[cfg(not(target_arch = "aarch64"))]
fn written(_start: u64, _length: u64) {}

/// Writes bytes to the end of a file; returns where they begin.
pub(crate) fn append(file: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<u64> {
    let at = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?;
    let mut done = 0;
    while done < bytes.len() {
        done += rustix::io::pwrite(file, &bytes[done..], at + done as u64)?;
    }
    Ok(at)
}

/// Changes what whole pages of another module allow, for as long as a slot in them is changed.
///
/// # Safety
/// The pages must be mapped, and nobody may rely on what they do not allow.
pub(crate) unsafe fn protect(pages: Range<u64>, protection: Protection) -> io::Result<()> {
    let length = usize::try_from(pages.end - pages.start).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the caller's promise.
    done(unsafe { libc::mprotect(pages.start as *mut libc::c_void, length, protection.bits()) } == 0)
}
