//! Thread-local accesses whose offset from the thread pointer is known, rewritten to use it.
//!
//! The host's own thread-locals are at a constant offset in every thread (local-exec), and so is the
//! agent's reserve. Compilers that did not know this left general sequences, which a linker rewrites;
//! a patch image is linked here, so it is done here.

mod aarch64;
mod x86_64;

use crate::relocatable::Relocation;
use crate::relocation::{RelocationError, RelocationKind};

/// Rewrites the access at `relocation` in `code` so that it finds the variable at `tp_offset` bytes from
/// the thread pointer. Returns whether the relocation that follows (of the call to `__tls_get_addr`) was
/// taken in by this and must be skipped.
///
/// Handles `Formula::ThreadGeneral`, `ThreadModule` (whose `tp_offset` does not matter),
/// `ThreadDescriptor` and `ThreadDescriptorCall`, as far as the instruction set has them.
pub fn relax(code: &mut [u8], relocation: &Relocation, tp_offset: i64) -> Result<bool, RelocationError> {
    match relocation.kind {
        RelocationKind::X86_64(_) => x86_64::relax(code, relocation, tp_offset),
        RelocationKind::Aarch64(_) => aarch64::relax(code, relocation, tp_offset).map(|()| false),
    }
}
