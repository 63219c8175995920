//! Thread-local storage for thread-locals that patches bring.
//!
//! The reserve is part of the agent's own thread-local block. The agent is preloaded, so that block has
//! one constant offset from the thread pointer in every thread, old and new.
//!
//! A value is written to the image of which the C library makes the blocks of new threads ([`image`]),
//! and to the blocks of those that run ([`threads`]). A thread that is just being made sees to it itself.

mod bytes;
pub(crate) mod image;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::threads;
use livepatch_proto::{ApplyError, TlsInit, TlsReserve};
use std::collections::HashMap;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

pub(crate) use arch::thread_pointer;

/// Bytes that are handed out. Together with the line before them, 4 KiB.
const SIZE: u32 = 4032;

/// Where the reserve is.
pub(crate) fn reserve() -> TlsReserve {
    TlsReserve { tp_offset: arch::tp_offset(), size: SIZE }
}

/// Checks that a value lies in the reserve.
pub(crate) fn check(init: &TlsInit) -> Result<(), ApplyError> {
    match u64::from(init.offset).checked_add(init.bytes.len() as u64) {
        Some(end) if end <= u64::from(SIZE) => Ok(()),
        _ => Err(ApplyError::Invalid {
            detail: format!("a thread-local of {} bytes at {} of {SIZE}", init.bytes.len(), init.offset),
        }),
    }
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
    let block = thread.pointer().wrapping_add_signed(arch::tp_offset());
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
