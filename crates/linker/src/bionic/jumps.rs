//! `setjmp` and its like. bionic's `jmp_buf` (11 words on x86-64, 32 on AArch64) has room for what glibc saves of
//! registers, and not for its set of signals: that is not saved here.

use super::Symbols;
use std::ffi::{c_int, c_void};

unsafe extern "C" {
    fn _setjmp(buffer: *mut c_void) -> c_int;
    fn __sigsetjmp(buffer: *mut c_void, with_signals: c_int) -> c_int;
}

/// Like glibc's, it must have no frame of its own: that is gone when it returns for the second time.
#[unsafe(naked)]
unsafe extern "C" fn sigsetjmp() {
    #[cfg(target_arch = "x86_64")]
    std::arch::naked_asm!("xor esi, esi", "jmp {}@PLT", sym __sigsetjmp);
    #[cfg(target_arch = "aarch64")]
    std::arch::naked_asm!("mov w1, 0", "b {}", sym __sigsetjmp);
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("setjmp", _setjmp as *const ()),
        ("_setjmp", _setjmp as *const ()),
        ("sigsetjmp", sigsetjmp as *const ()),
    ]
}
