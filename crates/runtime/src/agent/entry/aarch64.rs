//! AArch64: redirection is a `B`; nothing traps.

use std::arch::asm;
use std::ffi::{c_int, c_void};

/// This instruction set, as a hello says it.
pub(crate) const ARCH: livepatch_proto::Arch = livepatch_proto::Arch::Aarch64;

/// One past the highest address a program can map, unless it asks for more (LVA).
pub(crate) const USER_END: u64 = 1 << 48;

/// The address of the instruction whose trap raised `signal`.
///
/// # Safety
/// `context` must be the third argument of a signal handler that is running.
pub(crate) unsafe fn trap_address(_signal: c_int, context: *mut c_void) -> u64 {
    // SAFETY: the caller's promise: the kernel put a `ucontext_t` there. `BRK` is reported at itself.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc }
}

/// The registers from which a stack is unwound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) bp: u64,
}

/// The registers at the instruction whose trap, fault or interruption raised `signal`.
///
/// # Safety
/// As for [`trap_address`].
pub(crate) unsafe fn registers(_signal: c_int, context: *mut c_void) -> Registers {
    // SAFETY: the caller's promise.
    let context = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    Registers { pc: context.pc, sp: context.sp, bp: context.regs[29] }
}

/// The registers of the function that calls this.
#[inline(always)]
pub(crate) fn registers_here() -> Registers {
    let (pc, sp, bp): (u64, u64, u64);
    // SAFETY: three registers are read, and nothing is changed.
    unsafe {
        asm!("adr {}, .", "mov {}, sp", "mov {}, x29", out(reg) pc, out(reg) sp, out(reg) bp,
             options(nomem, nostack, preserves_flags));
    }
    Registers { pc, sp, bp }
}

/// Whether there is a signal's frame among the words of a stack whose thread goes on where `stands` says
/// so. What looks like one is taken for one.
pub(crate) fn has_signal_frame(stack: &[u64], stands: impl Fn(u64) -> bool) -> bool {
    // `sp`, `pc` and `pstate`, in this order (`sigcontext`): the mode is user's, and there are 32 bits.
    const MODE: u64 = 0x1f;
    stack.windows(3).any(|words| {
        words[0] != 0
            && words[0].is_multiple_of(16)
            && stands(words[1])
            && words[2] >> 32 == 0
            && words[2] & MODE == 0
    })
}

/// Has the interrupted thread go on at `address` once the signal handler returns.
///
/// # Safety
/// As for [`trap_address`]; and `address` must be where the thread can go on with the registers it has.
pub(crate) unsafe fn continue_at(context: *mut c_void, address: u64) {
    // SAFETY: the caller's promise: the kernel put a `ucontext_t` there, which this handler alone uses.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc = address };
}

/// `B`, without its displacement.
const BRANCH: u32 = 0x1400_0000;
const DISPLACEMENT: u32 = 0x03ff_ffff;
/// Bytes of that jump.
pub(crate) const JUMP_LENGTH: u64 = 4;
/// Where in it the four bytes are that change when it leads elsewhere.
pub(crate) const JUMP_OPERAND: u64 = 0;

/// Whether code begins with such a jump.
pub(crate) fn is_jump(code: &[u8]) -> bool {
    let word = code.try_into().map(u32::from_le_bytes);
    word.is_ok_and(|word| word & !DISPLACEMENT == BRANCH)
}

/// Those four bytes of a jump from `from` to `to`, both aligned.
pub(crate) fn jump_operand(from: u64, to: u64) -> Option<u32> {
    let distance = to.wrapping_sub(from).cast_signed();
    let reaches = (-(1 << 27)..1 << 27).contains(&distance) && distance % 4 == 0;
    reaches.then(|| BRANCH | (distance >> 2) as u32 & DISPLACEMENT)
}

/// The first word of code that jumps from `from` to `to`, where `old` was.
pub(crate) fn jump_word(old: u64, from: u64, to: u64) -> Option<u64> {
    Some(old >> 32 << 32 | u64::from(jump_operand(from, to)?))
}

/// What the self-test writes where `old` was, to see it trap: no redirection needs that here.
pub(crate) fn trapping_words(_old: u64) -> impl Iterator<Item = (&'static str, u64)> {
    std::iter::empty()
}

// A page of its own, so that the self-test makes no other code writable.
std::arch::global_asm!(
    ".pushsection .text.livepatch_self_test, \"ax\", @progbits",
    ".balign 4096",
    ".globl livepatch_self_test_original",
    ".hidden livepatch_self_test_original",
    "livepatch_self_test_original:",
    "mov x0, #1",
    "ret",
    ".balign 64",
    ".globl livepatch_self_test_replacement",
    ".hidden livepatch_self_test_replacement",
    "livepatch_self_test_replacement:",
    "mov x0, #2",
    "ret",
    ".balign 4096",
    ".popsection",
);
