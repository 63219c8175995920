//! Mapping, reading and writing memory that other threads may be executing.
//!
//! Every function takes addresses that passed a check in [`super::address`]; none takes a number from
//! a message.

use super::address::{
    CodeAddress, CodeWord, Island, IslandAddress, IslandJump, IslandKind, PAGE, SlotAddress, Span, Target,
};
use super::icache;
use livepatch_proto::ApplyError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A system call failed. Made without allocating, since that may be under a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SystemError {
    call: &'static str,
    errno: i32,
}

impl SystemError {
    /// The error that the last system call left in `errno`.
    pub(crate) fn last(call: &'static str) -> Self {
        Self { call, errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0) }
    }
}

impl From<SystemError> for ApplyError {
    fn from(error: SystemError) -> Self {
        Self::System { call: error.call.to_owned(), errno: error.errno.unsigned_abs() }
    }
}

/// An island's pages could not be mapped.
#[derive(Debug)]
pub(crate) enum MapError {
    /// Something else is there.
    Occupied,
    /// The system call failed otherwise.
    System(SystemError),
}

/// What a page allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protection {
    Read,
    ReadWrite,
    ReadExecute,
    All,
}

impl Protection {
    fn bits(self) -> i32 {
        match self {
            Self::Read => libc::PROT_READ,
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
            Self::ReadExecute => libc::PROT_READ | libc::PROT_EXEC,
            Self::All => libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
        }
    }
}

/// Maps fresh, zeroed, writable pages where nothing is mapped.
pub(crate) fn map_island(island: Island) -> Result<(), MapError> {
    let (start, length) = (island.span.start() as *mut libc::c_void, island.span.length() as usize);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: MAP_FIXED_NOREPLACE never replaces a mapping, so no memory that anyone uses changes.
    let got = unsafe { libc::mmap(start, length, Protection::ReadWrite.bits(), flags, -1, 0) };
    if got == libc::MAP_FAILED {
        return Err(match SystemError::last("mmap") {
            SystemError { errno: libc::EEXIST, .. } => MapError::Occupied,
            other => MapError::System(other),
        });
    }
    if got != start {
        // Kernels before 4.17 take the address as a hint only.
        // SAFETY: the mapping was made above and nobody knows of it.
        unsafe { libc::munmap(got, length) };
        return Err(MapError::Occupied);
    }
    Ok(())
}

/// Unmaps an island that nothing points to: one of a patch that did not go live.
pub(crate) fn unmap_island(island: Island) {
    // SAFETY: `map_island` made this mapping for the same transaction, which is being undone before
    // any code, slot or trap outside the island pointed into it.
    unsafe { libc::munmap(island.span.start() as *mut libc::c_void, island.span.length() as usize) };
}

/// Changes what whole pages allow.
pub(crate) fn protect(pages: Span, protection: Protection) -> Result<(), SystemError> {
    debug_assert_eq!(pages, pages.pages());
    let (start, length) = (pages.start() as *mut libc::c_void, pages.length() as usize);
    // SAFETY: callers pass pages of checked segments and islands and never take away an access that
    // those were mapped with, so nothing that works now stops working.
    match unsafe { libc::mprotect(start, length, protection.bits()) } {
        0 => Ok(()),
        _ => Err(SystemError::last("mprotect")),
    }
}

/// Reads live code.
pub(crate) fn read_code(at: CodeAddress) -> Vec<u8> {
    read(at.span())
}

/// Reads from an island.
pub(crate) fn read_island(at: IslandAddress) -> Vec<u8> {
    read(at.span())
}

fn read(span: Span) -> Vec<u8> {
    // SAFETY: both callers pass checked addresses: readable segments of loaded modules and islands,
    // both mapped as long as anyone may patch them. Volatile, since other tools may write there.
    (span.start()..span.end()).map(|at| unsafe { (at as *const u8).read_volatile() }).collect()
}

/// Reads words of this process from `at` on into `words`; how many there are before the first that cannot
/// be read. Threads may be writing there: what is read may be half old.
pub(crate) fn read_what_is_there(at: u64, words: &mut [u64]) -> usize {
    let length = size_of_val(words);
    let to = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: length };
    let from = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: length };
    // SAFETY: the kernel writes to `words` only, and reads what it finds mapped.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) };
    usize::try_from(read).unwrap_or(0) / size_of::<u64>()
}

/// Writes to an island whose pages are writable: slots always are, code until its patch goes live and
/// while [`WritablePages`] has it open.
///
/// The bytes must be bytes that no thread uses yet, which is the server's promise.
pub(crate) fn write_island(at: IslandAddress, bytes: &[u8]) {
    for (address, &byte) in (at.span().start()..at.span().end()).zip(bytes) {
        // SAFETY: an island is mapped for as long as the process lives or its transaction is open; the
        // caller made it writable; `zip` keeps to the checked range.
        unsafe { (address as *mut u8).write_volatile(byte) };
    }
    if at.kind() == IslandKind::Code {
        icache::written(at.span());
    }
}

/// Points a slot somewhere else. Whoever reads the new target sees all that was written before.
pub(crate) fn store_slot(slot: SlotAddress, target: Target) {
    // SAFETY: a checked slot is 8-byte aligned in a read-write island page, which stays mapped; all
    // accesses to slots are whole and aligned: this one, the trap handler's, and the islands' jumps.
    unsafe { AtomicU64::from_ptr(slot.get() as *mut u64) }.store(target.get(), Ordering::Release);
}

/// Where a slot points. Safe in a signal handler.
///
/// # Safety
/// `slot` must be the address of a slot that was checked and whose island stays mapped.
pub(crate) unsafe fn load_slot(slot: u64) -> u64 {
    // SAFETY: the caller's promise; see `store_slot` for the other accesses.
    unsafe { AtomicU64::from_ptr(slot as *mut u64) }.load(Ordering::Acquire)
}

/// Pages of code, and whether they are meant to be writable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CodePages {
    /// Whole pages of one segment, or of one island.
    pub(crate) span: Span,
    /// From the segment's program header.
    pub(crate) writable: bool,
}

/// Code pages that can be written for the moment. They are as they were once this is dropped.
#[derive(Debug)]
pub(crate) struct WritablePages<'a> {
    open: &'a [CodePages],
}

impl<'a> WritablePages<'a> {
    /// Makes `pages`, which are ascending, writable: all or none. They stay executable throughout:
    /// threads run there.
    pub(crate) fn open(pages: &'a [CodePages]) -> Result<Self, SystemError> {
        let mut code = Self { open: &[] };
        for (done, run) in pages.iter().enumerate() {
            protect(run.span, Protection::All)?;
            code.open = &pages[..=done];
        }
        Ok(code)
    }

    fn covers(&self, at: Span) -> bool {
        let after = self.open.partition_point(|run| run.span.start() <= at.start());
        self.open[..after].last().is_some_and(|run| run.span.contains(at))
    }

    /// Writes the bytes of `new` that `mask` selects, with one aligned store: of eight bytes, or of the four
    /// that all of them are among.
    pub(crate) fn store_word(&self, at: CodeWord, new: u64, mask: u64) {
        let span = at.address().span();
        debug_assert!(self.covers(span), "a word outside the opened pages");
        match [mask as u32, (mask >> 32) as u32] {
            [low, 0] => self.store_half(span.start(), new as u32, low),
            [0, high] => self.store_half(span.start() + 4, (new >> 32) as u32, high),
            _ => {
                // SAFETY: the word is aligned and lies in pages that `open` made writable. Threads execute
                // these bytes; each sees all of the old word or all of the new one. The agent is the only
                // writer, so nothing is lost between the load and the store.
                let word = unsafe { AtomicU64::from_ptr(span.start() as *mut u64) };
                let old = word.load(Ordering::Relaxed);
                word.store((old & !mask) | (new & mask), Ordering::Release);
            }
        }
        icache::written(span);
    }

    fn store_half(&self, at: u64, new: u32, mask: u32) {
        // SAFETY: as for the whole word, of which this is an aligned half.
        let half = unsafe { AtomicU32::from_ptr(at as *mut u32) };
        let old = half.load(Ordering::Relaxed);
        half.store((old & !mask) | (new & mask), Ordering::Release);
    }

    /// Has the jump of an island lead somewhere else. Threads may be running it.
    pub(crate) fn store_jump(&self, jump: IslandJump) {
        let at = jump.address().span();
        debug_assert!(self.covers(at), "a jump outside the opened pages");
        let (place, operand) = jump.operand();
        // SAFETY: the operand is aligned and lies in pages that `open` made writable. Threads execute the
        // jump: only where it leads changes, and each sees all of the old operand or all of the new one. All
        // that was written where it leads was written before.
        unsafe { AtomicU32::from_ptr(place as *mut u32) }.store(operand, Ordering::Release);
        icache::written(at);
    }

    /// Writes one byte.
    pub(crate) fn store_byte(&self, at: CodeAddress, byte: u8) {
        debug_assert!(self.covers(at.span()), "a byte outside the opened pages");
        // SAFETY: the byte lies in pages that `open` made writable; a one-byte store cannot tear.
        unsafe { (at.span().start() as *mut u8).write_volatile(byte) };
        icache::written(at.span());
    }

    /// Gives the pages back what they allowed.
    pub(crate) fn close(mut self) -> Result<(), SystemError> {
        self.restore()
    }

    fn restore(&mut self) -> Result<(), SystemError> {
        let mut result = Ok(());
        for run in std::mem::take(&mut self.open).iter().filter(|run| !run.writable) {
            // The first error is said, the other pages are closed all the same.
            result = result.and(protect(run.span, Protection::ReadExecute));
        }
        result
    }
}

impl Drop for WritablePages<'_> {
    fn drop(&mut self) {
        // Pages that stay writable are no reason to fail: nothing depends on it.
        let _ = self.restore();
    }
}

/// Asserts what [`PAGE`] says.
pub(crate) fn page_size_is_expected() -> bool {
    // SAFETY: `sysconf` only reads.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.unsigned_abs() == PAGE
}
