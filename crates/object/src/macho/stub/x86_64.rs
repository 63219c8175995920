//! Stubs and helpers of x86-64.
//!
//! A stub is `jmp *slot(%rip)`; a helper's entry `push $offset; jmp common`; what they have in common
//! `lea private(%rip), %r11; push %r11; jmp *binder(%rip)`.

use super::{Code, Instruction};
use crate::address::LinkAddress;
use bytes::Bytes;
use iced_x86::{Decoder, DecoderOptions, Formatter as _, IntelFormatter, Mnemonic, OpKind, Register};

fn decoder(address: LinkAddress, bytes: &[u8]) -> Decoder<'_> {
    Decoder::with_ip(64, bytes, address.0, DecoderOptions::NONE)
}

pub(super) fn evaluate(address: LinkAddress, bytes: &[u8]) -> Option<Code> {
    let mut code = Code { address, length: 0, through: None, to: None, passes: None, passes_address: None };
    let mut in_r11 = None;
    for instruction in &mut decoder(address, bytes) {
        match (instruction.mnemonic(), instruction.op0_kind()) {
            (Mnemonic::Lea, _) if instruction.is_ip_rel_memory_operand() => {
                if instruction.op0_register() != Register::R11 {
                    return None;
                }
                in_r11 = Some(LinkAddress(instruction.ip_rel_memory_address()));
            }
            (Mnemonic::Push, OpKind::Register) if instruction.op0_register() == Register::R11 => {
                code.passes_address = Some(in_r11?);
            }
            (Mnemonic::Push, OpKind::Immediate32to64) => {
                // Pushed with its sign; offsets have none.
                code.passes = u32::try_from(instruction.immediate(0)).ok();
            }
            (Mnemonic::Jmp, OpKind::Memory) if instruction.is_ip_rel_memory_operand() => {
                code.through = Some(LinkAddress(instruction.ip_rel_memory_address()));
            }
            (Mnemonic::Jmp, OpKind::NearBranch64) => {
                code.to = Some(LinkAddress(instruction.near_branch_target()));
            }
            _ => return None,
        }
        code.length += instruction.len() as u64;
        if code.through.is_some() || code.to.is_some() {
            return Some(code);
        }
    }
    None
}

pub(super) fn instructions(code: &Code, bytes: &Bytes) -> Vec<Instruction> {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_rip_relative_addresses(true);
    formatter.options_mut().set_branch_leading_zeros(false);
    formatter.options_mut().set_uppercase_hex(false);
    let mut all = Vec::new();
    for instruction in &mut decoder(code.address, bytes) {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        let (at, next) = (instruction.ip(), instruction.next_ip());
        let length = instruction.len();
        let target = match instruction.op0_kind() {
            OpKind::NearBranch64 => Some(instruction.near_branch_target()),
            _ if instruction.is_ip_rel_memory_operand() => Some(instruction.ip_rel_memory_address()),
            _ => None,
        };
        let computed = target.map(|target| {
            let displacement = target.wrapping_sub(next).cast_signed();
            let sign = if displacement < 0 { '-' } else { '+' };
            let how = format!("{at:#x} + {length} {sign} {:#x}", displacement.unsigned_abs());
            (how, LinkAddress(target))
        });
        let from = (at - code.address.0) as usize;
        let bytes = bytes.slice(from..from + length);
        all.push(Instruction { address: LinkAddress(at), bytes, text, computed });
    }
    all
}
