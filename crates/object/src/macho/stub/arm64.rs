//! Stubs and helpers of arm64 and arm64e.
//!
//! A stub loads a pointer into `x16` and jumps to it: `adrp x16; ldr x16, [x16]; br x16`, with an `adr` or a literal
//! where the linker found it in reach; signed ones keep the slot's address in `x17`: `adrp x17; add x17; ldr x16, [x17];
//! braa x16, x17`. A helper's entry is `ldr w16, offset; b common`, with the offset behind it. What they have in common
//! pushes `x16` and `x17`, which has the address of the image's word, and jumps to the binder.

use super::{Code, Instruction};
use crate::address::LinkAddress;
use crate::loadable::fields::u32_at;
use bytes::Bytes;

/// One instruction of those that stubs are made of (Arm ARM, C6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Nop,
    /// `adrp`: the page of an address.
    Page {
        to: u8,
        pages: i64,
    },
    /// `adr`.
    Address {
        to: u8,
        distance: i64,
    },
    /// `add`, of a number.
    Add {
        to: u8,
        from: u8,
        number: u64,
    },
    /// `ldr` of eight bytes.
    Load {
        to: u8,
        from: u8,
        offset: u64,
    },
    /// `ldr` of a literal; of four bytes if `narrow`.
    Literal {
        to: u8,
        distance: i64,
        narrow: bool,
    },
    /// `stp x16, x17, [sp, #-16]!`.
    PushBoth,
    /// `b`.
    Branch {
        distance: i64,
    },
    /// `br`, `braa`.
    BranchTo {
        register: u8,
        signed_with: Option<u8>,
    },
}

const X16: u8 = 16;
const X17: u8 = 17;

fn bits(word: u32, from: u32, count: u32) -> u32 {
    word >> from & ((1 << count) - 1)
}

fn signed(value: u32, bits: u32) -> i64 {
    i64::from((value << (32 - bits)).cast_signed() >> (32 - bits))
}

fn register(word: u32, from: u32) -> u8 {
    bits(word, from, 5) as u8
}

fn decode(word: u32) -> Option<Op> {
    Some(match word {
        0xd503_201f => Op::Nop,
        0xa9bf_47f0 => Op::PushBoth,
        _ if word & 0x1f00_0000 == 0x1000_0000 => {
            let immediate = signed(bits(word, 5, 19) << 2 | bits(word, 29, 2), 21);
            match word >> 31 {
                1 => Op::Page { to: register(word, 0), pages: immediate },
                _ => Op::Address { to: register(word, 0), distance: immediate },
            }
        }
        _ if word & 0xff80_0000 == 0x9100_0000 => {
            let shift = if bits(word, 22, 1) == 1 { 12 } else { 0 };
            let number = u64::from(bits(word, 10, 12)) << shift;
            Op::Add { to: register(word, 0), from: register(word, 5), number }
        }
        _ if word & 0xffc0_0000 == 0xf940_0000 => {
            let offset = u64::from(bits(word, 10, 12)) * 8;
            Op::Load { to: register(word, 0), from: register(word, 5), offset }
        }
        _ if word & 0xbf00_0000 == 0x1800_0000 => {
            let distance = signed(bits(word, 5, 19), 19) * 4;
            Op::Literal { to: register(word, 0), distance, narrow: word >> 30 == 0 }
        }
        _ if word & 0xfc00_0000 == 0x1400_0000 => Op::Branch { distance: signed(bits(word, 0, 26), 26) * 4 },
        _ if word & 0xffff_fc1f == 0xd61f_0000 => {
            Op::BranchTo { register: register(word, 5), signed_with: None }
        }
        _ if word & 0xffff_fc00 == 0xd71f_0800 => {
            Op::BranchTo { register: register(word, 5), signed_with: Some(register(word, 0)) }
        }
        _ => return None,
    })
}

/// What a register holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Unknown,
    Address(u64),
    LoadedFrom(u64),
}

/// `x16` and `x17`: no other register is used.
struct Registers([Value; 2]);

impl Registers {
    fn get(&self, register: u8) -> Value {
        match register {
            X16 => self.0[0],
            X17 => self.0[1],
            _ => Value::Unknown,
        }
    }

    fn address(&self, register: u8) -> Option<u64> {
        match self.get(register) {
            Value::Address(address) => Some(address),
            _ => None,
        }
    }

    fn set(&mut self, register: u8, value: Value) -> Option<()> {
        match register {
            X16 => self.0[0] = value,
            X17 => self.0[1] = value,
            _ => return None,
        }
        Some(())
    }
}

/// The address that an instruction computes from what registers hold.
fn computes(op: Op, at: u64, registers: &Registers) -> Option<u64> {
    match op {
        Op::Page { pages, .. } => (at & !0xfff).checked_add_signed(pages.checked_mul(0x1000)?),
        Op::Address { distance, .. } | Op::Literal { distance, .. } | Op::Branch { distance } => {
            at.checked_add_signed(distance)
        }
        Op::Add { from, number, .. } => registers.address(from)?.checked_add(number),
        Op::Load { from, offset, .. } => registers.address(from)?.checked_add(offset),
        Op::Nop | Op::PushBoth | Op::BranchTo { .. } => None,
    }
}

fn apply(op: Op, at: u64, registers: &mut Registers) -> Option<()> {
    let address = computes(op, at, registers);
    match op {
        Op::Page { to, .. } | Op::Address { to, .. } | Op::Add { to, .. } => {
            registers.set(to, Value::Address(address?))
        }
        Op::Load { to, .. } | Op::Literal { to, .. } => registers.set(to, Value::LoadedFrom(address?)),
        Op::Nop | Op::PushBoth | Op::Branch { .. } | Op::BranchTo { .. } => Some(()),
    }
}

fn words(address: LinkAddress, bytes: &[u8]) -> impl Iterator<Item = (u64, u32)> + '_ {
    let words = bytes.chunks_exact(4).filter_map(|word| u32_at(word, 0));
    (0..).map(move |index| address.0.wrapping_add(index * 4)).zip(words)
}

pub(super) fn evaluate(address: LinkAddress, bytes: &[u8]) -> Option<Code> {
    let mut code = Code { address, length: 0, through: None, to: None, passes: None, passes_address: None };
    let mut registers = Registers([Value::Unknown; 2]);
    for (at, word) in words(address, bytes) {
        let op = decode(word)?;
        code.length += 4;
        match op {
            Op::PushBoth => code.passes_address = Some(LinkAddress(registers.address(X17)?)),
            Op::Literal { to: X16, narrow: true, .. } => {
                let literal = computes(op, at, &registers)?.checked_sub(address.0)?;
                code.passes = Some(u32_at(bytes, usize::try_from(literal).ok()?)?);
            }
            Op::Branch { .. } => {
                code.to = computes(op, at, &registers).map(LinkAddress);
                // The offset stands behind the branch.
                code.length += if code.passes.is_some() { 4 } else { 0 };
                return code.to.map(|_| code);
            }
            Op::BranchTo { register, .. } => {
                let Value::LoadedFrom(slot) = registers.get(register) else { return None };
                code.through = Some(LinkAddress(slot));
                return Some(code);
            }
            _ => {}
        }
        apply(op, at, &mut registers)?;
    }
    None
}

pub(super) fn instructions(code: &Code, bytes: &Bytes) -> Vec<Instruction> {
    let mut registers = Registers([Value::Unknown; 2]);
    let mut all = Vec::new();
    let mut ended = false;
    for (index, (at, word)) in words(code.address, bytes).enumerate() {
        let bytes = bytes.slice(index * 4..index * 4 + 4);
        let address = LinkAddress(at);
        let Some(op) = decode(word).filter(|_| !ended) else {
            all.push(Instruction { address, bytes, text: format!(".long {word:#x}"), computed: None });
            continue;
        };
        let target = computes(op, at, &registers);
        let computed = target.map(|target| (how(op, at, &registers), LinkAddress(target)));
        all.push(Instruction { address, bytes, text: text(op, target), computed });
        ended = matches!(op, Op::Branch { .. } | Op::BranchTo { .. });
        // What cannot be computed is not shown as computed.
        let _ = apply(op, at, &mut registers);
    }
    all
}

fn text(op: Op, target: Option<u64>) -> String {
    let target = target.unwrap_or(0);
    match op {
        Op::Nop => "nop".to_owned(),
        Op::Page { to, .. } => format!("adrp x{to}, {target:#x}"),
        Op::Address { to, .. } => format!("adr x{to}, {target:#x}"),
        Op::Add { to, from, number } => format!("add x{to}, x{from}, #{number:#x}"),
        Op::Load { to, from, offset: 0 } => format!("ldr x{to}, [x{from}]"),
        Op::Load { to, from, offset } => format!("ldr x{to}, [x{from}, #{offset:#x}]"),
        Op::Literal { to, narrow: true, .. } => format!("ldr w{to}, {target:#x}"),
        Op::Literal { to, narrow: false, .. } => format!("ldr x{to}, {target:#x}"),
        Op::PushBoth => "stp x16, x17, [sp, #-0x10]!".to_owned(),
        Op::Branch { .. } => format!("b {target:#x}"),
        Op::BranchTo { register, signed_with: Some(with) } => format!("braa x{register}, x{with}"),
        Op::BranchTo { register, signed_with: None } => format!("br x{register}"),
    }
}

fn how(op: Op, at: u64, registers: &Registers) -> String {
    let sum = |from: u64, distance: i64| {
        let sign = if distance < 0 { '-' } else { '+' };
        format!("{from:#x} {sign} {:#x}", distance.unsigned_abs())
    };
    match op {
        Op::Page { pages, .. } => {
            format!("page of {at:#x}: {}", sum(at & !0xfff, pages.wrapping_mul(0x1000)))
        }
        Op::Address { distance, .. } | Op::Literal { distance, .. } | Op::Branch { distance } => {
            sum(at, distance)
        }
        Op::Add { from, number, .. } | Op::Load { from, offset: number, .. } => {
            format!("{:#x} + {number:#x}", registers.address(from).unwrap_or(0))
        }
        Op::Nop | Op::PushBoth | Op::BranchTo { .. } => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    // Words as `llvm-mc -triple=arm64e-apple-darwin -show-encoding` has them; targets computed by hand.
    #[test]
    fn a_stub_is_evaluated() {
        // adrp x16, #0x4000 ; ldr x16, [x16, #8] ; br x16
        let bytes = code(&[0x9000_0030, 0xf940_0610, 0xd61f_0200]);
        let found = evaluate(LinkAddress(0x3f70), &bytes).expect("a stub");
        assert_eq!(found.through, Some(LinkAddress(0x7008)));
        assert_eq!((found.length, found.to, found.passes), (12, None, None));
    }

    #[test]
    fn a_signed_stub_is_evaluated() {
        // adrp x17, #0x4000 ; add x17, x17, #16 ; ldr x16, [x17] ; braa x16, x17
        let bytes = code(&[0x9000_0031, 0x9100_4231, 0xf940_0230, 0xd71f_0a11]);
        let found = evaluate(LinkAddress(0x1000), &bytes).expect("a stub");
        assert_eq!(found.through, Some(LinkAddress(0x5010)));
        let texts: Vec<String> =
            instructions(&found, &bytes.into()).into_iter().map(|instruction| instruction.text).collect();
        assert_eq!(texts, ["adrp x17, 0x5000", "add x17, x17, #0x10", "ldr x16, [x17]", "braa x16, x17"]);
    }

    #[test]
    fn a_helper_passes_its_offset() {
        // ldr w16, #8 ; b #-0x18 ; .long 0x2a
        let bytes = code(&[0x1800_0050, 0x17ff_fffa, 0x2a]);
        let found = evaluate(LinkAddress(0x2018), &bytes).expect("a helper");
        assert_eq!((found.passes, found.to), (Some(0x2a), Some(LinkAddress(0x2004))));
        assert_eq!(found.length, 12);
    }

    #[test]
    fn other_code_is_none_of_it() {
        assert_eq!(evaluate(LinkAddress(0), &code(&[0xd65f_03c0])), None);
        // br x16, but nothing was loaded.
        assert_eq!(evaluate(LinkAddress(0), &code(&[0xd61f_0200])), None);
        assert_eq!(evaluate(LinkAddress(0), &[]), None);
    }
}
