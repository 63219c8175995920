//! TLS descriptors: two words, a function and what it finds a thread-local's offset with. The function takes
//! the descriptor's address and returns the offset from the thread pointer, and changes no other register.

use super::block::{Index, get_address, thread_pointer};

/// What a descriptor leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// One offset in every thread.
    Static(i64),
    /// A block that is made when a thread first uses it.
    Dynamic(Index),
    /// A weak symbol that nobody defines: the address is this number.
    Undefined(u64),
}

/// The two words, and what has to stay alive as long as the library does.
pub(crate) struct Descriptor {
    pub(crate) function: u64,
    pub(crate) argument: u64,
    pub(crate) keep: Option<Box<Index>>,
}

impl Descriptor {
    /// None if the processor cannot keep what it takes.
    pub(crate) fn new(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Static(offset) => {
                Self { function: address(return_argument), argument: offset.cast_unsigned(), keep: None }
            }
            Kind::Undefined(number) => Self { function: address(undefined), argument: number, keep: None },
            Kind::Dynamic(index) if crate::resolver::can_keep_registers() => {
                let keep = Box::new(index);
                let argument = std::ptr::from_ref(&*keep) as u64;
                Self { function: address(dynamic), argument, keep: Some(keep) }
            }
            Kind::Dynamic(_) => return None,
        })
    }
}

fn address(function: unsafe extern "C" fn()) -> u64 {
    function as *const () as u64
}

/// From [`dynamic`], which keeps all registers.
unsafe extern "C" fn offset_of(index: *const Index) -> u64 {
    // SAFETY: the argument of a descriptor of a library that is loaded.
    let at = unsafe { get_address(index) };
    (at as u64).wrapping_sub(thread_pointer())
}

#[cfg(target_arch = "x86_64")]
mod code {
    use std::arch::naked_asm;

    /// `rax`: the descriptor; the offset is returned there.
    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn return_argument() {
        naked_asm!("mov rax, [rax + 8]", "ret")
    }

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn undefined() {
        naked_asm!("mov rax, [rax + 8]", "sub rax, fs:0", "ret")
    }

    crate::resolver::keeper! {
        /// Keeps every register that a call may change, vector registers by XSAVE.
        pub(super) dynamic, "mov rdi, [rax + 8]", super::offset_of
    }
}

#[cfg(target_arch = "aarch64")]
mod code {
    use std::arch::naked_asm;

    /// `x0`: the descriptor; the offset is returned there.
    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn return_argument() {
        naked_asm!("ldr x0, [x0, #8]", "ret")
    }

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn undefined() {
        naked_asm!(
            "str x1, [sp, #-16]!",
            "mrs x1, tpidr_el0",
            "ldr x0, [x0, #8]",
            "sub x0, x0, x1",
            "ldr x1, [sp], #16",
            "ret"
        )
    }

    /// Keeps every register that a call may change; of vector registers, what an SVE-less call may.
    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn dynamic() {
        naked_asm!(
            "stp x29, x30, [sp, #-16]!",
            "mov x29, sp",
            "stp x1, x2, [sp, #-16]!",
            "stp x3, x4, [sp, #-16]!",
            "stp x5, x6, [sp, #-16]!",
            "stp x7, x8, [sp, #-16]!",
            "stp x9, x10, [sp, #-16]!",
            "stp x11, x12, [sp, #-16]!",
            "stp x13, x14, [sp, #-16]!",
            "stp x15, x16, [sp, #-16]!",
            "stp x17, x18, [sp, #-16]!",
            "stp q0, q1, [sp, #-32]!",
            "stp q2, q3, [sp, #-32]!",
            "stp q4, q5, [sp, #-32]!",
            "stp q6, q7, [sp, #-32]!",
            "stp q8, q9, [sp, #-32]!",
            "stp q10, q11, [sp, #-32]!",
            "stp q12, q13, [sp, #-32]!",
            "stp q14, q15, [sp, #-32]!",
            "stp q16, q17, [sp, #-32]!",
            "stp q18, q19, [sp, #-32]!",
            "stp q20, q21, [sp, #-32]!",
            "stp q22, q23, [sp, #-32]!",
            "stp q24, q25, [sp, #-32]!",
            "stp q26, q27, [sp, #-32]!",
            "stp q28, q29, [sp, #-32]!",
            "stp q30, q31, [sp, #-32]!",
            "mrs x1, fpcr",
            "mrs x2, fpsr",
            "stp x1, x2, [sp, #-16]!",
            "mrs x1, nzcv",
            "str x1, [sp, #-16]!",
            "ldr x0, [x0, #8]",
            "bl {offset}",
            "ldr x1, [sp], #16",
            "msr nzcv, x1",
            "ldp x1, x2, [sp], #16",
            "msr fpcr, x1",
            "msr fpsr, x2",
            "ldp q30, q31, [sp], #32",
            "ldp q28, q29, [sp], #32",
            "ldp q26, q27, [sp], #32",
            "ldp q24, q25, [sp], #32",
            "ldp q22, q23, [sp], #32",
            "ldp q20, q21, [sp], #32",
            "ldp q18, q19, [sp], #32",
            "ldp q16, q17, [sp], #32",
            "ldp q14, q15, [sp], #32",
            "ldp q12, q13, [sp], #32",
            "ldp q10, q11, [sp], #32",
            "ldp q8, q9, [sp], #32",
            "ldp q6, q7, [sp], #32",
            "ldp q4, q5, [sp], #32",
            "ldp q2, q3, [sp], #32",
            "ldp q0, q1, [sp], #32",
            "ldp x17, x18, [sp], #16",
            "ldp x15, x16, [sp], #16",
            "ldp x13, x14, [sp], #16",
            "ldp x11, x12, [sp], #16",
            "ldp x9, x10, [sp], #16",
            "ldp x7, x8, [sp], #16",
            "ldp x5, x6, [sp], #16",
            "ldp x3, x4, [sp], #16",
            "ldp x1, x2, [sp], #16",
            "ldp x29, x30, [sp], #16",
            "ret",
            offset = sym super::offset_of,
        )
    }
}

use code::{dynamic, return_argument, undefined};
