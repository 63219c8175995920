//! x86-64 (System V ABI, AMD64 supplement, "Procedure Linkage Table").

use std::arch::naked_asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The parts of the state that arguments can be in: x87, SSE, AVX, and the three of AVX-512.
pub(crate) const SAVE_MASK: u32 = 0b1110_0111;

/// Bytes of the area that XSAVE fills with those; 0 before [`can_keep_registers`] was asked.
pub(crate) static SAVE_SIZE: AtomicU64 = AtomicU64::new(0);

/// Whether the processor saves its state by XSAVE. To be asked before any of the code here may run; it takes
/// its time where the processor is an emulated one, so it is done once.
pub(crate) fn can_keep_registers() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        if __cpuid(1).ecx & OSXSAVE == 0 {
            return false;
        }
        let part = |index: u32| {
            let part = __cpuid_count(0xd, index);
            // Offset and size in the standard form.
            u64::from(part.ebx) + u64::from(part.eax)
        };
        let parts = (2..8).filter(|index| SAVE_MASK & (1 << index) != 0).map(part);
        let size = parts.max().unwrap_or(0).max(512 + 64).next_multiple_of(64);
        SAVE_SIZE.store(size, Ordering::Release);
        true
    })
}

/// What the third word of `DT_PLTGOT` has to hold.
pub(crate) fn entry() -> u64 {
    resolve as *const () as u64
}

/// On the stack: what the second word of `DT_PLTGOT` holds, the number of the relocation, and where to return
/// to. Nothing else may change before the function runs.
#[unsafe(naked)]
unsafe extern "C" fn resolve() {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rax",
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        "push r8",
        "push r9",
        "push r10",
        "sub rsp, [rip + {size}]",
        "and rsp, -64",
        // The header of the save area must be zeros before XSAVE.
        "xor eax, eax",
        "mov [rsp + 512], rax",
        "mov [rsp + 520], rax",
        "mov [rsp + 528], rax",
        "mov [rsp + 536], rax",
        "mov [rsp + 544], rax",
        "mov [rsp + 552], rax",
        "mov [rsp + 560], rax",
        "mov [rsp + 568], rax",
        "mov eax, {mask}",
        "xor edx, edx",
        "xsave64 [rsp]",
        "mov rdi, [rbp + 8]",
        "mov rsi, [rbp + 16]",
        "call {bind}",
        "mov r11, rax",
        "mov eax, {mask}",
        "xor edx, edx",
        "xrstor64 [rsp]",
        "lea rsp, [rbp - 64]",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "pop rax",
        "pop rbp",
        "add rsp, 16",
        "jmp r11",
        size = sym SAVE_SIZE,
        mask = const SAVE_MASK,
        bind = sym crate::link::lazy::bind,
    )
}
