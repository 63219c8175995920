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

/// Instructions that make room for the state and save it, at an aligned `rsp`; `rbp` leads back. They change `rax` and
/// `rdx`, and take `size` and `mask`.
macro_rules! save_state {
    () => {
        concat!(
            "sub rsp, [rip + {size}]\n",
            "and rsp, -64\n",
            // The header of the save area must be zeros before XSAVE.
            "xor eax, eax\n",
            "mov [rsp + 512], rax\n",
            "mov [rsp + 520], rax\n",
            "mov [rsp + 528], rax\n",
            "mov [rsp + 536], rax\n",
            "mov [rsp + 544], rax\n",
            "mov [rsp + 552], rax\n",
            "mov [rsp + 560], rax\n",
            "mov [rsp + 568], rax\n",
            "mov eax, {mask}\n",
            "xor edx, edx\n",
            "xsave64 [rsp]",
        )
    };
}

/// The reverse, where `rsp` is what it was then.
macro_rules! restore_state {
    () => {
        concat!("mov eax, {mask}\n", "xor edx, edx\n", "xrstor64 [rsp]")
    };
}

/// A function without a convention of its own, which is jumped to with two words on the stack above where to return to:
/// it passes them on, lowest first, with where the call returns to, and jumps to what it is told. All arguments are
/// kept, `rax` with the count of vector registers among them; `r11` is not.
macro_rules! binder {
    ($(#[$meta:meta])* $name:ident, $bind:path) => {
        $(#[$meta])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
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
                save_state!(),
                "mov rdi, [rbp + 8]",
                "mov rsi, [rbp + 16]",
                "mov rdx, [rbp + 24]",
                "call {bind}",
                "mov r11, rax",
                restore_state!(),
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
                bind = sym $bind,
            )
        }
    };
}

/// A function that changes no register but `rax`, where its result is, and flags. `$argument` puts what it passes on
/// into `rdi`.
macro_rules! keeper {
    ($(#[$meta:meta])* $visibility:vis $name:ident, $argument:literal, $function:path) => {
        $(#[$meta])*
        #[unsafe(naked)]
        $visibility unsafe extern "C" fn $name() {
            ::std::arch::naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "push rdi",
                "push rsi",
                "push rdx",
                "push rcx",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                "push rbx",
                $argument,
                $crate::resolver::save_state!(),
                "call {function}",
                "mov rbx, rax",
                $crate::resolver::restore_state!(),
                "mov rax, rbx",
                "lea rsp, [rbp - 72]",
                "pop rbx",
                "pop r11",
                "pop r10",
                "pop r9",
                "pop r8",
                "pop rcx",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "pop rbp",
                "ret",
                size = sym $crate::resolver::SAVE_SIZE,
                mask = const $crate::resolver::SAVE_MASK,
                function = sym $function,
            )
        }
    };
}

pub(crate) use {keeper, restore_state, save_state};

/// What `dyld_stub_binder` is.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn macho_binder() -> u64 {
    stub_binder as *const () as u64
}

/// What a descriptor of a thread-local variable begins with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn macho_thread_local() -> u64 {
    thread_local as *const () as u64
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
binder! {
    /// On the stack: an address of the image (`__dyld_private`), and the offset of a lazy entry, which a stub helper
    /// has pushed.
    stub_binder, crate::macho::bind
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
keeper! {
    /// `rdi`: the descriptor, of which the second and third word are a module and an offset; the variable's address is
    /// returned in `rax`.
    thread_local, "lea rdi, [rdi + 8]", crate::tls::get_address
}

binder! {
    /// On the stack: what the second word of `DT_PLTGOT` holds, and the number of the relocation.
    resolve, crate::link::lazy::bind
}
