//! Libraries that the program loads are looked at (`watch`) before it goes on.
//!
//! The dynamic linker goes by who calls it: search paths and namespaces are the caller's. So the agent
//! stands in between only where that makes no difference; otherwise the call goes on as it came.

use crate::agent::next::Next;
use crate::agent::{loader, watch};
use std::arch::naked_asm;
use std::ffi::{CStr, c_char, c_int, c_void};

type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

static DLOPEN: Next = Next::new(c"dlopen");

/// # Safety
/// As for dlopen(3).
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    // The stack is as the caller left it when the C library's function is jumped to.
    naked_asm!(
        "endbr64",
        "push rdi",
        "push rsi",
        "mov rsi, [rsp + 16]",
        "sub rsp, 8",
        "call {goes_on_to}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "jmp rax",
        goes_on_to = sym goes_on_to,
    )
}

/// # Safety
/// As for dlopen(3).
#[cfg(target_arch = "aarch64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    // Stack and return address are as the caller left them when the C library's function is jumped to.
    naked_asm!(
        "hint #34", // bti c
        "stp x0, x1, [sp, #-32]!",
        "str x30, [sp, #16]",
        "mov x1, x30",
        "bl {goes_on_to}",
        "mov x16, x0",
        "ldr x30, [sp, #16]",
        "ldp x0, x1, [sp], #32",
        "br x16",
        goes_on_to = sym goes_on_to,
    )
}

/// Where a call goes on that is to return to `caller`.
///
/// # Safety
/// `name` is null or a string.
unsafe extern "C" fn goes_on_to(name: *const c_char, caller: u64) -> usize {
    // SAFETY: the caller's promise.
    if watch::is_on() && !name.is_null() && is_for_anyone(unsafe { CStr::from_ptr(name) }, caller) {
        return watched as *const () as usize;
    }
    DLOPEN.address()
}

/// Whether the dynamic linker finds the same for this name whoever calls.
fn is_for_anyone(name: &CStr, caller: u64) -> bool {
    if loader::is_own(caller) || name.to_bytes().contains(&b'$') {
        return false;
    }
    name.to_bytes().contains(&b'/') || loader::is_program_without_search_path(caller)
}

/// # Safety
/// As for dlopen(3).
unsafe extern "C" fn watched(name: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: the address is that of the C library's function of this signature.
    let next: Open = unsafe { std::mem::transmute(DLOPEN.address()) };
    // SAFETY: the caller's promise.
    watch::around(|| unsafe { next(name, flags) })
}
