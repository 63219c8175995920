//! AArch64: the reserve's definition, and its place (ELF for the Arm 64-bit Architecture, "Thread-local
//! storage").

use std::arch::{asm, global_asm};

// Initialised data (`.tdata`), so that there is an image to edit; hence the line that is not zero.
global_asm!(
    ".pushsection .tdata, \"awT\", %progbits",
    ".balign 64",
    ".ascii \"livepatch thread-local reserve\"",
    ".balign 64",
    ".globl livepatch_tls_reserve",
    ".hidden livepatch_tls_reserve",
    ".type livepatch_tls_reserve, %object",
    ".size livepatch_tls_reserve, 4032",
    "livepatch_tls_reserve:",
    ".zero 4032",
    ".popsection",
);

/// Where the reserve starts in this thread.
///
/// The access by descriptor leaves open where that is: the agent can be loaded late, when there is no room
/// for it at a constant offset.
pub(super) fn here() -> u64 {
    let offset: u64;
    // SAFETY: the ABI's sequence; the function that it calls changes `x0` and the return address only.
    unsafe {
        asm!(
            "adrp x0, :tlsdesc:livepatch_tls_reserve",
            "ldr x1, [x0, :tlsdesc_lo12:livepatch_tls_reserve]",
            "add x0, x0, :tlsdesc_lo12:livepatch_tls_reserve",
            ".tlsdesccall livepatch_tls_reserve",
            "blr x1",
            out("x0") offset,
            out("x1") _,
            out("x30") _,
        );
    }
    thread_pointer().wrapping_add(offset)
}

/// This thread's thread pointer.
pub(crate) fn thread_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: reads the register in which the C library keeps it.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) pointer, options(pure, nomem, nostack, preserves_flags)) };
    pointer
}
