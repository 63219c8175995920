//! x86-64: the reserve's definition, and its place (psABI, "Thread-Local Storage").

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

/// Where the reserve starts in this thread.
///
/// The general-dynamic access (psABI) leaves open where that is: the agent can be loaded late, when there
/// is no room for it at a constant offset.
pub(super) fn here() -> u64 {
    let address: u64;
    // SAFETY: the psABI's sequence, which calls a function of the dynamic linker as any other is called.
    unsafe {
        asm!(
            ".byte 0x66",
            "lea rdi, livepatch_tls_reserve@tlsgd[rip]",
            ".value 0x6666",
            "rex64",
            "call __tls_get_addr@PLT",
            lateout("rax") address,
            clobber_abi("C"),
        );
    }
    address
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
