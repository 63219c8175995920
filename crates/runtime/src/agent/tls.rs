//! Thread-local storage for thread-locals that patches bring.
//!
//! The reserve is part of the agent's own thread-local block. The agent is preloaded, so that block has
//! one constant offset from the thread pointer in every thread, old and new.

#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::address::Span;
use super::loader;
use super::memory::{Protection, protect};
use livepatch_proto::{ApplyError, TlsInit, TlsReserve};
use std::ops::ControlFlow;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

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

/// The image from which new threads get the reserve, and what of the module is read-only by now.
fn image() -> Option<(Span, Option<Span>)> {
    let here = arch::thread_pointer().wrapping_add_signed(arch::tp_offset());
    loader::visit_modules(|module| {
        let distance = here.wrapping_sub(module.tls_block);
        let Some(image) =
            module.tls_image().filter(|image| module.tls_block != 0 && distance < image.length())
        else {
            return ControlFlow::Continue(());
        };
        let found = Span::new(image.start() + distance, SIZE.into()).filter(|span| image.contains(*span));
        ControlFlow::Break(found.map(|span| (span, module.relro())))
    })
    .flatten()
}

/// Writes initial values for threads that start from now on; returns what was there before.
///
/// Values must have passed [`check`].
pub(crate) fn write(inits: &[TlsInit]) -> Result<Vec<TlsInit>, ApplyError> {
    if inits.is_empty() {
        return Ok(Vec::new());
    }
    let invalid = |detail: &str| ApplyError::Invalid { detail: detail.to_owned() };
    let (span, relro) = image().ok_or_else(|| invalid("the agent has no thread-local reserve here"))?;
    inits.iter().try_for_each(check)?;
    let pages = span.pages();
    protect(pages, Protection::ReadWrite)?;
    let old = inits
        .iter()
        .map(|init| {
            let bytes = init.bytes.iter().zip(span.start() + u64::from(init.offset)..).map(|(&byte, at)| {
                // SAFETY: `check` keeps the bytes inside the reserve, whose image in the agent's own
                // module is writable now. Only threads being created read it, by copying it.
                unsafe { (at as *mut u8).replace(byte) }
            });
            TlsInit { offset: init.offset, bytes: bytes.collect() }
        })
        .collect();
    if let Some(closed) = relro.and_then(|relro| relro.read_only_within(pages)) {
        protect(closed, Protection::Read)?;
    }
    Ok(old)
}
