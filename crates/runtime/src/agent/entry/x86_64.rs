//! x86-64: traps are `int3` (`CC`) and an invalid opcode (`06`); redirection is `E9 rel32`.

use std::arch::asm;
use std::ffi::{c_int, c_void};

/// This instruction set, as a hello says it.
pub(crate) const ARCH: livepatch_proto::Arch = livepatch_proto::Arch::X86_64;

/// One past the highest address a program can map.
pub(crate) const USER_END: u64 = 1 << 47;

/// `int3`.
const BREAKPOINT: u8 = 0xcc;
/// `push es`, which 64-bit mode does not have.
const INVALID: u8 = 0x06;

/// The address of the instruction whose trap raised `signal`.
///
/// # Safety
/// `context` must be the third argument of a signal handler that is running.
pub(crate) unsafe fn trap_address(signal: c_int, context: *mut c_void) -> u64 {
    // SAFETY: the caller's promise: the kernel put a `ucontext_t` there.
    let ip = unsafe { (&(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs)[libc::REG_RIP as usize] };
    // `int3` is one byte long and reported behind itself.
    (ip as u64).wrapping_sub(u64::from(signal == libc::SIGTRAP))
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
pub(crate) unsafe fn registers(signal: c_int, context: *mut c_void) -> Registers {
    // SAFETY: the caller's promise.
    let (pc, registers) =
        unsafe { (trap_address(signal, context), &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs) };
    let register = |number: c_int| registers[number as usize].cast_unsigned();
    Registers { pc, sp: register(libc::REG_RSP), bp: register(libc::REG_RBP) }
}

/// The registers of the function that calls this.
#[inline(always)]
pub(crate) fn registers_here() -> Registers {
    let (pc, sp, bp): (u64, u64, u64);
    // SAFETY: three registers are read, and nothing is changed.
    unsafe {
        asm!("lea {}, [rip]", "mov {}, rsp", "mov {}, rbp", out(reg) pc, out(reg) sp, out(reg) bp,
             options(nomem, nostack, preserves_flags));
    }
    Registers { pc, sp, bp }
}

/// Whether there is a signal's frame among the words of a stack whose thread goes on where `stands` says
/// so. What looks like one is taken for one.
pub(crate) fn has_signal_frame(stack: &[u64], stands: impl Fn(u64) -> bool) -> bool {
    // `rip`, `eflags` and the segments, in this order (`REG_RIP` and on, ucontext.h): always set are the
    // flags' bit 1 and, in user mode, interrupts; and `cs`.
    const FLAGS: u64 = 0x202;
    const USER_CODE: u64 = 0x33;
    stack.windows(3).any(|words| {
        stands(words[0]) && words[1] & FLAGS == FLAGS && words[1] >> 22 == 0 && words[2] & 0xffff == USER_CODE
    })
}

/// Has the interrupted thread go on at `address` once the signal handler returns.
///
/// # Safety
/// As for [`trap_address`]; and `address` must be where the thread can go on with the registers it has.
pub(crate) unsafe fn continue_at(context: *mut c_void, address: u64) {
    // SAFETY: the caller's promise: the kernel put a `ucontext_t` there, which this handler alone uses.
    unsafe {
        (&mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs)[libc::REG_RIP as usize] =
            address as i64;
    }
}

/// `jmp rel32`, without its displacement.
const JUMP: u8 = 0xe9;
/// Bytes of that jump.
pub(crate) const JUMP_LENGTH: u64 = 5;
/// Where in it the four bytes are that change when it leads elsewhere.
pub(crate) const JUMP_OPERAND: u64 = 1;

/// Whether code begins with such a jump.
pub(crate) fn is_jump(code: &[u8]) -> bool {
    code.first() == Some(&JUMP)
}

/// Those four bytes of a jump from `from` to `to`: its displacement.
pub(crate) fn jump_operand(from: u64, to: u64) -> Option<u32> {
    let displacement = i32::try_from(to.wrapping_sub(from).wrapping_sub(JUMP_LENGTH).cast_signed());
    displacement.ok().map(i32::cast_unsigned)
}

/// The first word of code that jumps from `from` to `to`, where `old` was.
pub(crate) fn jump_word(old: u64, from: u64, to: u64) -> Option<u64> {
    let mut bytes = old.to_le_bytes();
    bytes[0] = JUMP;
    bytes[1..5].copy_from_slice(&jump_operand(from, to)?.to_le_bytes());
    Some(u64::from_le_bytes(bytes))
}

/// What the self-test writes where `old` was, to see it trap.
pub(crate) fn trapping_words(old: u64) -> impl Iterator<Item = (&'static str, u64)> {
    let words = [("trap", BREAKPOINT), ("invalid opcode", INVALID)];
    words.into_iter().map(move |(what, byte)| (what, (old & !0xff) | u64::from(byte)))
}

// A page of its own, so that the self-test makes no other code writable.
std::arch::global_asm!(
    ".pushsection .text.livepatch_self_test, \"ax\", @progbits",
    ".balign 4096",
    ".globl livepatch_self_test_original",
    ".hidden livepatch_self_test_original",
    "livepatch_self_test_original:",
    "mov eax, 1",
    "ret",
    ".balign 64",
    ".globl livepatch_self_test_replacement",
    ".hidden livepatch_self_test_replacement",
    "livepatch_self_test_replacement:",
    "mov eax, 2",
    "ret",
    ".balign 4096",
    ".popsection",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_frames_are_told_from_other_words() {
        let at = |pc: u64| move |rip: u64| rip == pc;
        let frame = [7, 0x40_1000, 0x10246, 0x2b_0000_0000_0033, 8];
        assert!(has_signal_frame(&frame, at(0x40_1000)));
        assert!(!has_signal_frame(&frame, at(0x40_1001)));
        assert!(!has_signal_frame(&frame[..3], at(0x40_1000)));
        assert!(!has_signal_frame(&[0x40_1000, 0x40_1000, 0x33], at(0x40_1000)), "a pointer to the function");
        assert!(!has_signal_frame(&[0x40_1000, 0x246, 0x7f00_0000_1230], at(0x40_1000)));
    }
}
