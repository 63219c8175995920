//! x86-64: the reserve's definition, and its place by an initial-exec access (psABI, "Thread-Local
//! Storage").

use std::arch::{asm, global_asm};

// Initialised data (`.tdata`), so that there is an image to edit; hence the line that is not zero.
global_asm!(
    ".pushsection .tdata, \"awT\", @progbits",
    ".balign 64",
    ".ascii \"livepatch thread-local reserve\"",
    ".balign 64",
    ".globl livepatch_tls_reserve",
    ".hidden livepatch_tls_reserve",
    ".type livepatch_tls_reserve, @object",
    ".size livepatch_tls_reserve, 4032",
    "livepatch_tls_reserve:",
    ".zero 4032",
    ".popsection",
);

/// Where the reserve starts, in bytes from the thread pointer.
pub(crate) fn tp_offset() -> i64 {
    let offset: i64;
    // SAFETY: reads the offset that the dynamic linker stored for the symbol defined above.
    unsafe {
        asm!("mov {}, qword ptr [rip + livepatch_tls_reserve@GOTTPOFF]", out(reg) offset,
             options(pure, readonly, nostack, preserves_flags));
    }
    offset
}

/// This thread's thread pointer.
pub(crate) fn thread_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: on x86-64 the first word of the thread control block is its own address (psABI).
    unsafe {
        asm!("mov {}, qword ptr fs:[0]", out(reg) pointer, options(pure, readonly, nostack, preserves_flags));
    }
    pointer
}
