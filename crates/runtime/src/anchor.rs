//! The anchor: a symbol that each module has at one place, in the file and in the process.
//!
//! Not `main`: several modules may have one, and the dynamic linker then answers with the first. The anchor is
//! hidden, so a reference to it is a reference to this very module's.

use std::arch::global_asm;

#[cfg(not(target_vendor = "apple"))]
global_asm!(
    ".pushsection .rodata.__livepatch_aslr_anchor, \"a\"",
    ".globl __livepatch_aslr_anchor",
    ".hidden __livepatch_aslr_anchor",
    ".type __livepatch_aslr_anchor, %object",
    "__livepatch_aslr_anchor:",
    ".byte 1",
    ".size __livepatch_aslr_anchor, 1",
    ".popsection",
);

#[cfg(target_vendor = "apple")]
global_asm!(
    ".section __TEXT,__const",
    ".globl ___livepatch_aslr_anchor",
    ".private_extern ___livepatch_aslr_anchor",
    "___livepatch_aslr_anchor:",
    ".byte 1",
    ".text",
);

unsafe extern "C" {
    // The assembly above defines it: one byte that nobody writes. Its name is `livepatch_proto::HOST_ANCHOR`.
    safe static __livepatch_aslr_anchor: u8;
}

/// The run-time address of the anchor, a symbol named [`HOST_ANCHOR`](livepatch_proto::HOST_ANCHOR) in
/// the module that contains this crate.
///
/// Less its address in the file, that is the module's slide (ASLR offset): what has to be added to any
/// address of the file to find it in this process.
///
/// ```
/// let here = livepatch::aslr_reference();
/// assert_ne!(here, 0);
/// assert_eq!(here, livepatch::aslr_reference());
/// ```
pub fn aslr_reference() -> usize {
    &raw const __livepatch_aslr_anchor as usize
}
