//! AArch64 (ELF for the Arm 64-bit Architecture, "Procedure Linkage Table").

use std::arch::naked_asm;

/// Nothing that arguments are in depends on the processor.
pub(crate) fn can_keep_registers() -> bool {
    true
}

/// What the third word of `DT_PLTGOT` has to hold.
pub(crate) fn entry() -> u64 {
    resolve as *const () as u64
}

/// `x16`: the third word of `DT_PLTGOT`; on the stack: the function's slot, and where to return to. Of the rest
/// nothing may change before the function runs but `x16` and `x17`.
#[unsafe(naked)]
unsafe extern "C" fn resolve() {
    naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        "stp x0, x1, [sp, #-16]!",
        "stp x2, x3, [sp, #-16]!",
        "stp x4, x5, [sp, #-16]!",
        "stp x6, x7, [sp, #-16]!",
        "stp x8, x9, [sp, #-16]!",
        "stp q0, q1, [sp, #-32]!",
        "stp q2, q3, [sp, #-32]!",
        "stp q4, q5, [sp, #-32]!",
        "stp q6, q7, [sp, #-32]!",
        // The second word, and the slot's number among those that follow the third.
        "ldr x0, [x16, #-8]",
        "ldr x1, [x29, #16]",
        "sub x1, x1, x16",
        "sub x1, x1, #8",
        "lsr x1, x1, #3",
        "bl {bind}",
        "mov x17, x0",
        "ldp q6, q7, [sp], #32",
        "ldp q4, q5, [sp], #32",
        "ldp q2, q3, [sp], #32",
        "ldp q0, q1, [sp], #32",
        "ldp x8, x9, [sp], #16",
        "ldp x6, x7, [sp], #16",
        "ldp x4, x5, [sp], #16",
        "ldp x2, x3, [sp], #16",
        "ldp x0, x1, [sp], #16",
        "ldp x29, x30, [sp], #16",
        "ldp x16, x30, [sp], #16",
        "br x17",
        bind = sym crate::link::lazy::bind,
    )
}
