//! Room for thread-locals at one offset from the thread pointer in all threads: a part of the program's own
//! block, where this linker is part of what the program began with.

use super::{Image, block::thread_pointer};
use crate::host;
use crate::memory::{Protection, protect};
use crate::page;
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use std::cell::UnsafeCell;
use std::sync::{Mutex, PoisonError};

const SIZE: usize = 4032;

/// Not all zeros, so that the file has bytes of it and there is an image for new threads to edit.
#[repr(C, align(64))]
struct Reserve {
    mark: UnsafeCell<[u8; 64]>,
    bytes: UnsafeCell<[u8; SIZE]>,
}

thread_local! {
    static RESERVE: Reserve =
        const { Reserve { mark: UnsafeCell::new([0xa5; 64]), bytes: UnsafeCell::new([0; SIZE]) } };
}

/// How many bytes were given away. They are never taken back: other threads' values stay where they are.
static USED: Mutex<usize> = Mutex::new(0);

/// Gives away a part that suits a library; its offset from the thread pointer.
pub(super) fn take(image: &Image) -> Result<i64, &'static str> {
    let here = here();
    initial_bytes(here).ok_or("this linker was loaded into a program that ran already")?;
    if image.align > 64 {
        return Err("it asks for an alignment of more than 64 bytes");
    }
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let start = used.next_multiple_of(image.align.max(1)) + image.misalign;
    let end = start.checked_add(image.size).filter(|&end| end <= SIZE).ok_or("there is no room left")?;
    if image.initial.iter().any(|&byte| byte != 0) {
        refuse_threads()?;
    }
    *used = end;
    Ok((here + start as u64).wrapping_sub(thread_pointer()).cast_signed())
}

/// Puts initial values into a part that was given away: of this thread, which has to be the only one, and of
/// those that will start.
pub(super) fn fill(offset: i64, initial: &[u8]) -> Result<(), &'static str> {
    if initial.iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    refuse_threads()?;
    let to = thread_pointer().wrapping_add_signed(offset);
    let start = to.wrapping_sub(here()) as usize;
    let image = initial_bytes(here()).ok_or("this linker was loaded into a program that ran already")?;
    if start.checked_add(initial.len()).is_none_or(|end| end > SIZE) {
        return Err("it has more initial bytes than thread-locals");
    }
    write_initial(image, start, initial)?;
    // SAFETY: within this thread's reserve, as was just checked; code that uses this part does not run yet.
    unsafe { (to as *mut u8).copy_from_nonoverlapping(initial.as_ptr(), initial.len()) };
    Ok(())
}

/// What other threads have in the reserve cannot be changed.
fn refuse_threads() -> Result<(), &'static str> {
    match threads() {
        1 => Ok(()),
        _ => Err("its initial value is not zero, and other threads run"),
    }
}

/// Where this thread's reserve is.
fn here() -> u64 {
    RESERVE.with(|reserve| {
        let _ = &reserve.mark;
        reserve.bytes.get() as u64
    })
}

/// Where the bytes are that the C library copies to the reserve of a new thread; none if the reserve has no
/// constant offset.
fn initial_bytes(here: u64) -> Option<RuntimeAddress> {
    host::initial().iter().find_map(|module| {
        let segment = module.headers.first(object::elf::PT_TLS)?;
        let block = thread_pointer().wrapping_add_signed(module.tls_offset()?);
        let offset = here.checked_sub(block).filter(|offset| offset + SIZE as u64 <= segment.file_size)?;
        module.definitions.slide.runtime(LinkAddress(segment.address.0 + offset))
    })
}

fn write_initial(at: RuntimeAddress, start: usize, bytes: &[u8]) -> Result<(), &'static str> {
    let to = at.0 + start as u64;
    let pages = page::floor(to)..page::ceil(to + bytes.len() as u64);
    let failed = "the image for new threads cannot be changed";
    // SAFETY: pages of the program's own image for thread-locals, read-only or not as its loader left them;
    // only this thread runs, and nobody relies on their being read-only.
    unsafe {
        protect(pages, Protection::READ_WRITE).map_err(|_| failed)?;
        (to as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
    Ok(())
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count)
}
