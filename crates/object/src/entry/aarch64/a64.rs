//! A64 instructions, as far as where they stand matters to them. Encodings: Arm ARM, chapter C4.

use crate::address::RuntimeAddress;

const PAGE: u64 = 4096;

/// What an instruction does with its own address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Nothing; the next instruction follows.
    Plain,
    /// Nothing; what follows is elsewhere (`BR`, `RET`).
    Ends,
    /// `ADR`, `ADRP`.
    Address { register: u32, target: RuntimeAddress },
    /// `B`.
    Branch { target: RuntimeAddress },
    /// `B.cond`, `CBZ`, `TBZ`: its operand has so many bits from bit 5 on.
    Conditional { bits: u32, target: RuntimeAddress },
    /// `BL`.
    Call { target: RuntimeAddress },
    /// `BLR`.
    IndirectCall { register: u32 },
    /// `LDR` of a literal.
    Literal { load: Load, target: RuntimeAddress },
    /// It can be interrupted and goes on at its own address with what it has done so far: `CPY`, `SET`, and
    /// `SVC`, whose call may begin anew.
    Resumable,
    /// Cannot be copied.
    Unsupported,
}

/// What a literal is loaded into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    /// A general register, by the instruction that loads it from an address without offset, registers left out.
    General { instruction: u32, register: u32 },
    /// A vector register of so many bytes.
    Vector { bytes: usize },
    /// Nothing: a prefetch, or the zero register.
    Nothing,
}

/// Bits of `word` from `low` on.
fn bits(word: u32, low: u32, count: u32) -> u32 {
    word >> low & ((1 << count) - 1)
}

/// `count` bits from `low` on as a signed number.
fn signed(word: u32, low: u32, count: u32) -> i64 {
    let shift = 32 - count;
    i64::from((bits(word, low, count) << shift).cast_signed() >> shift)
}

/// None for what is no instruction.
pub(super) fn decode(word: u32, at: RuntimeAddress) -> Option<Kind> {
    if word >> 16 == 0 {
        return None;
    }
    let target = |words: i64| at.checked_add_signed(words * 4);
    Some(match word {
        _ if word & 0x1f00_0000 == 0x1000_0000 => {
            let distance = signed(word, 5, 19) << 2 | i64::from(bits(word, 29, 2));
            let (base, distance) = match word >> 31 {
                0 => (at, distance),
                _ => (RuntimeAddress(at.0 & !(PAGE - 1)), distance * PAGE.cast_signed()),
            };
            Kind::Address { register: bits(word, 0, 5), target: base.checked_add_signed(distance)? }
        }
        _ if word & 0xfc00_0000 == 0x1400_0000 => Kind::Branch { target: target(signed(word, 0, 26))? },
        _ if word & 0xfc00_0000 == 0x9400_0000 => Kind::Call { target: target(signed(word, 0, 26))? },
        _ if conditional(word).is_some() => {
            let bits = conditional(word)?;
            Kind::Conditional { bits, target: target(signed(word, 5, bits))? }
        }
        _ if word & 0x3b00_0000 == 0x1800_0000 => {
            Kind::Literal { load: load(word)?, target: target(signed(word, 5, 19))? }
        }
        _ if word & 0xfe00_0000 == 0xd600_0000 => match bits(word, 21, 4) {
            1 if word & 0xffff_fc1f == 0xd63f_0000 => Kind::IndirectCall { register: bits(word, 5, 5) },
            // The address of the call counts in none of these, but the return address does.
            1 | 9 => Kind::Unsupported,
            _ => Kind::Ends,
        },
        _ if word & 0x3b20_0c00 == 0x1900_0400 || word & 0xffe0_001f == 0xd400_0001 => Kind::Resumable,
        _ => Kind::Plain,
    })
}

/// How many bits a conditional branch's operand has; none for other instructions.
fn conditional(word: u32) -> Option<u32> {
    match word {
        _ if word & 0xff00_0000 == 0x5400_0000 => Some(19),
        _ if word & 0x7e00_0000 == 0x3400_0000 => Some(19),
        _ if word & 0x7e00_0000 == 0x3600_0000 => Some(14),
        // `CB<cond>` (FEAT_CMPBR).
        _ if word & 0x7e00_0000 == 0x7400_0000 => Some(9),
        _ => None,
    }
}

/// None where the load is not allocated.
fn load(word: u32) -> Option<Load> {
    let register = bits(word, 0, 5);
    let general = |instruction| match register {
        31 => Load::Nothing,
        _ => Load::General { instruction, register },
    };
    Some(match (bits(word, 30, 2), bits(word, 26, 1)) {
        (0, 0) => general(0xb940_0000),
        (1, 0) => general(0xf940_0000),
        (2, 0) => general(0xb980_0000),
        (3, 0) => Load::Nothing,
        (size @ 0..=2, _) => Load::Vector { bytes: 4 << size },
        _ => return None,
    })
}

/// Whether it is `BTI` in any form.
pub(super) fn is_landing_pad(word: u32) -> bool {
    word & 0xffff_ff3f == 0xd503_241f
}

/// Whether it jumps to what a register has: `BR`, not `RET`.
pub(super) fn is_jump(word: u32) -> bool {
    word & 0xfe00_0000 == 0xd600_0000 && bits(word, 21, 4) & 7 == 0
}

/// Whether it makes room on the stack, or signs the return address: what a loop does not begin with.
pub(super) fn opens_frame(word: u32) -> bool {
    const SP: u32 = 31;
    let based_on_sp = bits(word, 5, 5) == SP;
    let store_pair = word & 0x3bc0_0000 == 0x2980_0000 && based_on_sp;
    let store = word & 0xffe0_0c00 == 0xf800_0c00 && based_on_sp;
    let subtract = word & 0xff00_03ff == 0xd100_03ff;
    store_pair || store || subtract || matches!(word, 0xd503_233f | 0xd503_237f)
}

pub(super) const NOP: u32 = 0xd503_201f;

/// `B` from `from` to `to`; none if that is out of reach, or not aligned.
pub fn branch(from: RuntimeAddress, to: RuntimeAddress) -> Option<u32> {
    let distance = to.distance_from(from);
    let reach = super::BRANCH_REACH.cast_signed();
    let reaches = (-reach..reach).contains(&distance) && distance % 4 == 0;
    reaches.then_some(0x1400_0000 | (distance >> 2) as u32 & 0x03ff_ffff)
}

/// A jump at `at` to where the slot at `slot` points: `ADRP`, `LDR`, `BR`, all with `x16`, which the procedure
/// call standard leaves to such code. None if the slot is more than 4 GiB away or not aligned.
pub fn branch_through(at: RuntimeAddress, slot: RuntimeAddress) -> Option<[u32; 3]> {
    let low = (slot.0 % PAGE) as u32;
    let load = low.is_multiple_of(8).then_some(0xf940_0210 | ((low / 8) << 10))?;
    Some([page_address(IP0, at, slot)?, load, jump_to(IP0)])
}

/// The first register that calls may lose on their way.
pub(super) const IP0: u32 = 16;
/// Where calls leave the return address.
pub(super) const LINK: u32 = 30;

/// `ADRP register, target` at `at`.
pub(super) fn page_address(register: u32, at: RuntimeAddress, target: RuntimeAddress) -> Option<u32> {
    let pages = (target.0 / PAGE).cast_signed() - (at.0 / PAGE).cast_signed();
    let reaches = (-(1 << 20)..1 << 20).contains(&pages);
    let field = pages as u32;
    reaches.then_some(0x9000_0000 | (field & 3) << 29 | (field >> 2 & 0x7_ffff) << 5 | register)
}

/// `ADRP` and `ADD` that leave `target` in `register`.
pub(super) fn address(register: u32, at: RuntimeAddress, target: RuntimeAddress) -> Option<[u32; 2]> {
    let low = (target.0 % PAGE) as u32;
    Some([page_address(register, at, target)?, 0x9100_0000 | low << 10 | register << 5 | register])
}

/// `BR register`.
pub(super) fn jump_to(register: u32) -> u32 {
    0xd61f_0000 | register << 5
}

/// `MOV IP0, register`.
pub(super) fn keep(register: u32) -> u32 {
    0xaa00_03e0 | register << 16 | IP0
}

/// A conditional branch with another distance, in instructions.
pub(super) fn with_distance(word: u32, count: u32, words: u32) -> u32 {
    word & !(((1 << count) - 1) << 5) | words << 5
}

/// A load of a literal at another distance.
pub(super) fn with_literal(word: u32, at: RuntimeAddress, literal: RuntimeAddress) -> Option<u32> {
    let words = u32::try_from(literal.checked_since(at)? / 4).ok().filter(|&words| words < 1 << 18)?;
    Some(with_distance(word, 19, words))
}
