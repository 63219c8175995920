//! Making what was written as data what is fetched as instructions.
//!
//! On x86-64 the processor sees to it. On AArch64 data caches are cleaned and instruction caches invalidated,
//! for all cores; what a core has fetched already it goes on with until it synchronizes
//! ([`super::membarrier`]).

use super::address::Span;

/// Instructions at `span` were written and may be run from now on.
#[cfg(target_arch = "x86_64")]
pub(crate) fn written(_span: Span) {}

/// Instructions at `span` were written and may be run from now on.
#[cfg(target_arch = "aarch64")]
pub(crate) fn written(span: Span) {
    use std::arch::asm;
    let types: u64;
    // SAFETY: reads a register that Linux lets programs read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) types, options(nomem, nostack, preserves_flags)) };
    // Lines, in bytes: of data in bits 16 to 19, of instructions in bits 0 to 3 (Arm ARM, CTR_EL0).
    let [data, instructions] = [types >> 16, types].map(|field| 4u64 << (field & 0xf));
    let lines = |line: u64| (span.start() & !(line - 1)..span.end()).step_by(line as usize);
    for at in lines(data) {
        // SAFETY: cleaning a line changes nothing that a program can see; the address is mapped.
        unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for at in lines(instructions) {
        // SAFETY: what is fetched again is what is there; the address is mapped.
        unsafe { asm!("ic ivau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
