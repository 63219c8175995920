//! Islands that jump straight to the body.
//!
//! `jmp *[slot]` costs callers more than a `jmp rel32`: it is predicted later, and a load has to confirm it.
//! So an island is a `jmp rel32` to the body, changed together with the slot. While functions settle, and for
//! bodies that are out of reach, it leads to a *stub*, `jmp *[slot]`, elsewhere.
//!
//! That jump is changed while threads run it, by one store to its displacement, whose four bytes are aligned:
//! instruction fetch sees all of the old displacement or all of the new one (AMD APM vol. 2, 7.6.1, for an
//! aligned quadword; processors of Intel behave the same, and all just-in-time compilers that patch calls
//! rely on it). Opcode and length stay, so that it does not matter where a thread stands. A core that still
//! jumps to the old target is where it would be had it called a little earlier, until the agent has had all
//! cores serialize (Intel SDM vol. 3, 9.1.3), before it says that the patch is live.

use livepatch_object::entry::x86_64::JUMP;

/// `jmp rel32`, without its displacement.
pub(super) const JMP_REL32: u8 = 0xE9;
/// Bytes of a cache line.
const LINE: u64 = 64;
/// Bytes of a displacement, and what it is aligned to.
const DISPLACEMENT: u64 = 4;

/// Where in a cache line an island may begin whose jump is behind `prefix` bytes: bit by bit. The displacement
/// is aligned, and nothing reaches into the next line, which would cost a fetch.
pub(super) fn starts(prefix: u64) -> u64 {
    let fits = |start: &u64| {
        (start + prefix + 1).is_multiple_of(DISPLACEMENT) && start + prefix + JUMP as u64 <= LINE
    };
    (0..LINE).filter(fits).fold(0, |bits, start| bits | 1 << start)
}
