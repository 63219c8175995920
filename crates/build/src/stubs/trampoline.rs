//! Code that jumps to an absolute address, or to where a slot at an absolute address leads.
//!
//! All of it is position independent, needs no relocation, and leaves every register alone that may carry an
//! argument: only what the psABI gives to linkers' own stubs is used (`r11`, `x16`, `ip`, `t3`). Each begins
//! with the landing pad of hardened processes where there is one, and is that one's legal way to go on.

use super::target::InstructionSet;

/// Where a trampoline goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Destination {
    /// To an address.
    Address(u64),
    /// To the address that the word at this address holds.
    Slot(u64),
}

/// Bytes that a trampoline to an address takes, filling included.
pub(super) fn size(instructions: InstructionSet) -> usize {
    match instructions {
        InstructionSet::Arm | InstructionSet::Thumb | InstructionSet::I686 => 12,
        InstructionSet::X86_64 | InstructionSet::Aarch64 | InstructionSet::Riscv64 => 24,
    }
}

/// Appends a trampoline, filled up to the alignment. The upper half of an address is not looked at where
/// addresses have 32 bits.
pub(super) fn write(text: &mut Vec<u8>, instructions: InstructionSet, to: Destination) {
    match instructions {
        InstructionSet::X86_64 => x86_64(text, to),
        InstructionSet::I686 => i686(text, to),
        InstructionSet::Aarch64 => aarch64(text, to),
        InstructionSet::Arm => arm(text, to),
        InstructionSet::Thumb => thumb(text, to),
        InstructionSet::Riscv64 => riscv64(text, to),
    }
}

/// `endbr64`
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// `endbr32`
const ENDBR32: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfb];

fn x86_64(text: &mut Vec<u8>, to: Destination) {
    let mut code = [0xcc; 24];
    code[..4].copy_from_slice(&ENDBR64);
    match to {
        Destination::Address(address) => {
            // jmp *cell(%rip), the cell at 16: aligned, so that no CPU reads it in two parts.
            code[4..10].copy_from_slice(&[0xff, 0x25, 6, 0, 0, 0]);
            code[16..].copy_from_slice(&address.to_le_bytes());
        }
        Destination::Slot(slot) => {
            // movabs $slot, %r11; jmp *(%r11)
            code[4..6].copy_from_slice(&[0x49, 0xbb]);
            code[6..14].copy_from_slice(&slot.to_le_bytes());
            code[14..17].copy_from_slice(&[0x41, 0xff, 0x23]);
        }
    }
    text.extend_from_slice(&code);
}

fn i686(text: &mut Vec<u8>, to: Destination) {
    let mut code = [0xcc; 12];
    code[..4].copy_from_slice(&ENDBR32);
    match to {
        Destination::Address(address) => {
            // push $address; ret. No register is free in all of the calling conventions (`regparm` takes eax, edx
            // and ecx), code cannot reach its own data without one, and processes of 32 bits have no shadow stack.
            code[4] = 0x68;
            code[5..9].copy_from_slice(&address.to_le_bytes()[..4]);
            code[9] = 0xc3;
        }
        Destination::Slot(slot) => {
            // jmp *slot
            code[4..6].copy_from_slice(&[0xff, 0x25]);
            code[6..10].copy_from_slice(&slot.to_le_bytes()[..4]);
        }
    }
    text.extend_from_slice(&code);
}

fn aarch64(text: &mut Vec<u8>, to: Destination) {
    const BTI_C: u32 = 0xd503_245f;
    const LDR_X17_X16: u32 = 0xf940_0211;
    const BR_X16: u32 = 0xd61f_0200;
    const BR_X17: u32 = 0xd61f_0220;
    const NOP: u32 = 0xd503_201f;
    let (Destination::Address(address) | Destination::Slot(address)) = to;
    let part = |at: u32| u32::from((address >> (16 * at)) as u16) << 5;
    // movz x16, …; movk x16, …, lsl #16 to #48: no data in code, which may be execute-only.
    let mut code = [BTI_C, 0xd280_0010, 0xf2a0_0010, 0xf2c0_0010, 0xf2e0_0010, BR_X16];
    for at in 0..4 {
        code[1 + at as usize] |= part(at);
    }
    match to {
        Destination::Address(_) => words(text, &code),
        Destination::Slot(_) => {
            words(text, &code[..5]);
            // x16 holds the slot's address, as a linker's own stub leaves it: a slot that is not bound yet leads to code
            // that finds out by it which one it is.
            words(text, &[LDR_X17_X16, BR_X17, NOP]);
        }
    }
}

fn arm(text: &mut Vec<u8>, to: Destination) {
    const BX_IP: u32 = 0xe12f_ff1c;
    const LDR_PC_IP: u32 = 0xe59c_f000;
    let (Destination::Address(address) | Destination::Slot(address)) = to;
    let half = |half: u16| (u32::from(half) & 0xf000) << 4 | u32::from(half) & 0x0fff;
    let [low, high] = halves(address);
    // movw ip, …; movt ip, …, which holds the slot's address afterwards as in AArch64: both ways to go on look at the lowest bit, so that Thumb is entered as such.
    let last = if matches!(to, Destination::Slot(_)) { LDR_PC_IP } else { BX_IP };
    words(text, &[0xe300_c000 | half(low), 0xe340_c000 | half(high), last]);
}

fn thumb(text: &mut Vec<u8>, to: Destination) {
    let (Destination::Address(address) | Destination::Slot(address)) = to;
    let [low, high] = halves(address);
    // T3 of MOVW and T1 of MOVT: imm16 is imm4:i:imm3:imm8.
    let mut mov = |first: u16, half: u16| {
        let first = first | (half >> 11 & 1) << 10 | half >> 12;
        let second = 0x0c00 | (half >> 8 & 7) << 12 | half & 0xff;
        text.extend_from_slice(&first.to_le_bytes());
        text.extend_from_slice(&second.to_le_bytes());
    };
    mov(0xf240, low);
    mov(0xf2c0, high);
    match to {
        // bx ip; nop
        Destination::Address(_) => text.extend_from_slice(&[0x60, 0x47, 0x00, 0xbf]),
        // ldr.w pc, [ip]
        Destination::Slot(_) => text.extend_from_slice(&[0xdc, 0xf8, 0x00, 0xf0]),
    }
}

fn halves(address: u64) -> [u16; 2] {
    [address as u16, (address >> 16) as u16]
}

fn riscv64(text: &mut Vec<u8>, to: Destination) {
    const LPAD: u32 = 0x0000_0017; // lpad 0, which is auipc zero, 0 to processors that have none
    const AUIPC_T3: u32 = 0x0000_0e17;
    const LD_T3_T3: u32 = 0x000e_3e03;
    const JR_T3: u32 = 0x000e_0067;
    const NOP: u32 = 0x0000_0013;
    let ld = |offset: u32| LD_T3_T3 | offset << 20;
    let (Destination::Address(address) | Destination::Slot(address)) = to;
    match to {
        Destination::Address(_) => words(text, &[LPAD, AUIPC_T3, ld(12), JR_T3]),
        Destination::Slot(_) => words(text, &[LPAD, AUIPC_T3, ld(20), LD_T3_T3, JR_T3, NOP]),
    }
    text.extend_from_slice(&address.to_le_bytes());
}

fn words(text: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| text.extend_from_slice(&word.to_le_bytes()));
}
