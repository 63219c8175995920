//! Thread-local storage for thread-locals that patches bring.
//!
//! The reserve is part of the agent's own thread-local block. Where the agent is preloaded, that block has
//! one constant offset from the thread pointer in every thread, old and new. Where it is loaded into a
//! program that runs already, there is no such block, and so no reserve.
//!
//! A value is written to the image of which the C library makes the blocks of new threads ([`image`]),
//! and to the blocks of those that run ([`threads`]). A thread that is just being made sees to it itself.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod bytes;
pub(crate) mod image;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::threads;
#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
use livepatch_proto::{ApplyError, TlsInit, TlsReserve};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

pub(crate) use arch::thread_pointer;

/// Bytes that are handed out. Together with the line before them, 4 KiB.
const SIZE: u32 = 4032;

/// Where the reserve starts, in bytes from the thread pointer; [`VARIES`] unless that is so in every thread.
static OFFSET: AtomicI64 = AtomicI64::new(VARIES);
const VARIES: i64 = i64::MIN;
/// How many of its bytes were ever used, and how many of those before this session.
static USED: AtomicU32 = AtomicU32::new(0);
static EARLIER: AtomicU32 = AtomicU32::new(0);

/// Takes note of where the reserve is. To be called before the program runs: what is loaded by then has its
/// thread-locals at the same distance from the thread pointer in every thread.
pub(crate) fn find_reserve() {
    OFFSET.store(arch::here().wrapping_sub(thread_pointer()).cast_signed(), Ordering::Release);
}

/// What earlier sessions used of the reserve stays theirs: code that saw their patches may still run.
pub(crate) fn begin_session() {
    EARLIER.store(USED.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// The reserve for this session.
pub(crate) fn reserve() -> Option<TlsReserve> {
    let earlier = EARLIER.load(Ordering::Relaxed);
    let tp_offset = offset()?.checked_add_unsigned(earlier.into())?;
    Some(TlsReserve { tp_offset, size: SIZE - earlier })
}

fn offset() -> Option<i64> {
    Some(OFFSET.load(Ordering::Acquire)).filter(|&offset| offset != VARIES)
}

/// The reserve of the thread with that pointer.
fn block(pointer: u64) -> Option<u64> {
    offset().map(|offset| pointer.wrapping_add_signed(offset))
}

/// Checks that a value lies in the session's reserve.
pub(crate) fn check(init: &TlsInit) -> Result<(), ApplyError> {
    let size = reserve().ok_or_else(no_reserve)?.size;
    match u64::from(init.offset).checked_add(init.bytes.len() as u64) {
        Some(end) if end <= u64::from(size) => Ok(()),
        _ => Err(ApplyError::Invalid {
            detail: format!("a thread-local of {} bytes at {} of {size}", init.bytes.len(), init.offset),
        }),
    }
}

/// Values, which passed [`check`], by their places in the whole reserve.
fn in_whole(inits: &[TlsInit]) -> Vec<TlsInit> {
    let earlier = EARLIER.load(Ordering::Relaxed);
    let placed = |init: &TlsInit| TlsInit { offset: earlier + init.offset, bytes: init.bytes.clone() };
    inits.iter().map(placed).collect()
}

fn no_reserve() -> ApplyError {
    invalid("there is no thread-local reserve: the agent was loaded into a program that ran already")
}

fn invalid(detail: &str) -> ApplyError {
    ApplyError::Invalid { detail: detail.to_owned() }
}

/// What [`fn@write`] replaced.
pub(crate) struct Replaced {
    image: Vec<TlsInit>,
    /// By thread pointer and id.
    blocks: HashMap<(u64, u32), Vec<TlsInit>>,
}

/// Gives thread-locals their initial values, in threads that run and in those that start from now on.
/// On an error nothing has changed.
pub(crate) fn write(inits: &[TlsInit]) -> Result<Option<Replaced>, ApplyError> {
    if inits.is_empty() {
        return Ok(None);
    }
    inits.iter().try_for_each(check)?;
    let inits = &in_whole(inits);
    let ends = inits.iter().map(|init| init.offset + init.bytes.len() as u32);
    USED.fetch_max(ends.max().unwrap_or(0), Ordering::Relaxed);
    let mut replaced = Replaced { image: image::edit(inits)?, blocks: HashMap::new() };
    threads::each(|thread| {
        let old = exchange(thread, inits);
        // A fresh thread's block may be half copied from the image.
        if !thread.is_fresh() {
            replaced.blocks.insert((thread.pointer(), thread.id()), old);
        }
    });
    // In threads that are not known there are zeros, or what was there before. Threads that start from
    // now on have the values by the image, known or not: so this comes last.
    if inits.iter().any(|init| init.bytes.iter().any(|&byte| byte != 0))
        && let Err(error) = refuse_strangers()
    {
        undo(&replaced);
        return Err(error);
    }
    Ok(Some(replaced))
}

/// Takes back what [`fn@write`] did.
pub(crate) fn undo(replaced: &Replaced) {
    // What could be opened for writing before can be now; and nothing reads these values.
    let _ = image::edit(&replaced.image);
    threads::each(|thread| {
        let old = replaced.blocks.get(&(thread.pointer(), thread.id()));
        exchange(thread, old.unwrap_or(&replaced.image));
    });
}

fn exchange(thread: &threads::Held<'_>, inits: &[TlsInit]) -> Vec<TlsInit> {
    let Some(block) = block(thread.pointer()) else { return Vec::new() };
    // SAFETY: the reserve is at this offset in every thread, and a thread's block stays while it is held;
    // the values passed `check`. No code that is live uses these thread-locals yet.
    unsafe { bytes::exchange(block, inits) }
}

fn refuse_strangers() -> Result<(), ApplyError> {
    match threads::stranger() {
        Ok(None) => Ok(()),
        Ok(Some(id)) => Err(invalid(&format!(
            "a thread that the agent does not know ({id}) would not see the values of thread-locals"
        ))),
        Err(error) => Err(invalid(&format!("the threads of the process cannot be listed: {error}"))),
    }
}
