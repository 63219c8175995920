//! What is particular to an instruction set: the trap's program counter, jumps, and code to test with.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

unsafe extern "C" {
    safe fn livepatch_self_test_original() -> u64;
    safe fn livepatch_self_test_replacement() -> u64;
}

/// Calls the self-test's function: it returns 1 until it is redirected.
pub(crate) fn call_self_test() -> u64 {
    livepatch_self_test_original()
}

/// Where the self-test's function begins: 8-byte aligned, alone on its page but for the replacement.
pub(crate) fn self_test_entry() -> u64 {
    livepatch_self_test_original as *const () as u64
}

/// Where the function begins that returns 2.
pub(crate) fn self_test_replacement() -> u64 {
    livepatch_self_test_replacement as *const () as u64
}
