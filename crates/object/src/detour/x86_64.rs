//! Specification: Intel SDM volume 2, "RIP-relative addressing"; AMD64 psABI 3.2.2, the red zone.

use super::Detour;
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpKind, Register,
};

/// `jmp rel32`, `jmp qword [r11+disp32]`, `call rel32` behind a prefix that makes it as long as `call qword [rip+disp32]`.
const JMP: u8 = 0xe9;
const JMP_R11: [u8; 3] = [0x41, 0xff, 0xa3];
const CALL: [u8; 2] = [0x67, 0xe8];
const NOP: u8 = 0x90;
/// `lea rsp, [rsp-128]`, `lea rsp, [rsp+128]`: past the red zone, and no flag is touched.
const DOWN: [u8; 5] = [0x48, 0x8d, 0x64, 0x24, 0x80];
const UP: [u8; 8] = [0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0];

/// Which register may be borrowed, the first that the instruction has nothing to do with.
const BORROWED: [Register; 4] = [Register::R11, Register::R10, Register::R9, Register::RAX];

/// Moves the instruction elsewhere whose RIP-relative displacement is at `field` of `code`, and refers to a symbol
/// by `addend`; `boundary` is where some instruction before it begins. None where it is not such an instruction, or
/// cannot be moved.
pub fn detour(code: &[u8], boundary: usize, field: usize, addend: i64) -> Option<Detour> {
    let found = find(code, boundary, field)?;
    let end = found.next_ip() as usize;
    let start = end.checked_sub(found.len())?;
    // The distance counts from the instruction's end.
    let past = i64::try_from(end.checked_sub(field)?).ok()?;
    let offset = addend.checked_add(past).filter(|offset| i32::try_from(*offset).is_ok())?;
    let elsewhere = match found.code() {
        Code::Call_rm64 | Code::Jmp_rm64 => transfer(offset)?,
        _ if found.flow_control() != FlowControl::Next => return None,
        _ => load(&found, offset).or_else(|| borrow(&found, offset))?,
    };
    let call = found.code() == Code::Call_rm64;
    let mut leave = if call { CALL.to_vec() } else { vec![JMP] };
    let leave_field = leave.len();
    leave.extend_from_slice(&[0; 4]);
    // What follows a call is where it returns to.
    if leave.len() > found.len() || call && leave.len() != found.len() {
        return None;
    }
    leave.resize(found.len(), NOP);
    let Elsewhere { code, cell_field, back_field } = elsewhere;
    Some(Detour { instruction: start..end, leave, leave_field, elsewhere: code, cell_field, back_field })
}

/// The instruction with its displacement at `field`; its address is its place in `code`.
fn find(code: &[u8], boundary: usize, field: usize) -> Option<Instruction> {
    let bytes = code.get(boundary..)?;
    let mut decoder = Decoder::with_ip(64, bytes, boundary as u64, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        let next = instruction.next_ip() as usize;
        if next > field {
            let offsets = decoder.get_constant_offsets(&instruction);
            let at = instruction.ip() as usize + offsets.displacement_offset();
            let is_it = instruction.is_ip_rel_memory_operand()
                && instruction.memory_base() == Register::RIP
                && offsets.displacement_size() == 4
                && at == field;
            return is_it.then_some(instruction);
        }
    }
    None
}

/// Code elsewhere, and where its distances are.
struct Elsewhere {
    code: Vec<u8>,
    cell_field: usize,
    back_field: Option<usize>,
}

/// The word is loaded, and control goes on to where it leads: `r11` is nobody's between functions.
fn transfer(offset: i64) -> Option<Elsewhere> {
    let (mut code, cell_field) = load_cell(Register::R11);
    // The return address of a call stands on the stack already.
    code.extend_from_slice(&JMP_R11);
    code.extend_from_slice(&i32::try_from(offset).ok()?.to_le_bytes());
    Some(Elsewhere { code, cell_field, back_field: None })
}

/// A load into a general register, which has room for the address until the value comes.
fn load(instruction: &Instruction, offset: i64) -> Option<Elsewhere> {
    let loads = matches!(
        instruction.mnemonic(),
        Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Movsx | Mnemonic::Movsxd
    );
    let into = instruction.op0_register();
    let whole = into.is_gpr64() || into.is_gpr32();
    if !loads || instruction.op0_kind() != OpKind::Register || !whole || into.full_register() == Register::RSP
    {
        return None;
    }
    let (mut code, cell_field) = load_cell(into.full_register());
    code.extend_from_slice(&through(instruction, into.full_register(), offset)?);
    let back_field = go_back(&mut code);
    Some(Elsewhere { code, cell_field, back_field })
}

/// Any other instruction: a register that it does not use holds the address meanwhile.
fn borrow(instruction: &Instruction, offset: i64) -> Option<Elsewhere> {
    let mut factory = InstructionInfoFactory::new();
    let used: Vec<Register> = factory
        .info(instruction)
        .used_registers()
        .iter()
        .map(|used| used.register().full_register())
        .collect();
    // It would find another stack than it should.
    if used.contains(&Register::RSP) {
        return None;
    }
    let register = BORROWED.into_iter().find(|register| !used.contains(register))?;
    let mut code = DOWN.to_vec();
    let push = Instruction::with1(Code::Push_r64, register).ok()?;
    code.extend_from_slice(&encode(&push)?);
    let (load, field) = load_cell(register);
    let cell_field = code.len() + field;
    code.extend_from_slice(&load);
    code.extend_from_slice(&through(instruction, register, offset)?);
    let pop = Instruction::with1(Code::Pop_r64, register).ok()?;
    code.extend_from_slice(&encode(&pop)?);
    code.extend_from_slice(&UP);
    let back_field = go_back(&mut code);
    Some(Elsewhere { code, cell_field, back_field })
}

/// `mov r64, [rip+cell]`, and where the distance is.
fn load_cell(register: Register) -> (Vec<u8>, usize) {
    let number = register.number() as u8;
    let code = vec![0x48 | (number >> 3) << 2, 0x8b, 0x05 | (number & 7) << 3, 0, 0, 0, 0];
    (code, 3)
}

/// The instruction with `[register + offset]` in the place of its operand.
fn through(instruction: &Instruction, register: Register, offset: i64) -> Option<Vec<u8>> {
    let mut moved = *instruction;
    moved.set_memory_base(register);
    moved.set_memory_displacement64(offset.cast_unsigned());
    moved.set_memory_displ_size(if offset == 0 { 0 } else { 8 });
    encode(&moved)
}

fn encode(instruction: &Instruction) -> Option<Vec<u8>> {
    let mut encoder = Encoder::new(64);
    encoder.encode(instruction, 0).ok()?;
    Some(encoder.take_buffer())
}

fn go_back(code: &mut Vec<u8>) -> Option<usize> {
    code.push(JMP);
    code.extend_from_slice(&[0; 4]);
    Some(code.len() - 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a disassembler says of the code elsewhere, distances as they are.
    fn listing(code: &[u8]) -> Vec<String> {
        use iced_x86::{Formatter as _, IntelFormatter};
        let mut formatter = IntelFormatter::new();
        let mut all = Vec::new();
        for instruction in &mut Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            all.push(text);
        }
        all
    }

    fn moved(code: &[u8], field: usize, addend: i64) -> (Detour, Vec<String>) {
        let detour = detour(code, 0, field, addend).expect("it can be moved");
        assert_eq!(detour.leave.len(), detour.instruction.len());
        let listing = listing(&detour.elsewhere);
        (detour, listing)
    }

    #[test]
    fn a_load_needs_no_other_register() {
        // push rbx; mov eax, [rip+X+8]
        let (detour, listing) = moved(&[0x53, 0x8b, 0x05, 0, 0, 0, 0], 3, 4);
        assert_eq!(detour.instruction, 1..7);
        assert_eq!(detour.leave, [0xe9, 0, 0, 0, 0, 0x90]);
        assert_eq!(listing, ["mov rax,[7]", "mov eax,[rax+8]", "jmp 0000000000000012h"]);
        // movzx r9d, byte [rip+X]
        let (_, listing) = moved(&[0x44, 0x0f, 0xb6, 0x0d, 0, 0, 0, 0], 4, -4);
        assert_eq!(listing[..2], ["mov r9,[7]", "movzx r9d,byte ptr [r9]"]);
    }

    #[test]
    fn whatever_else_borrows_one_past_the_red_zone() {
        // lock add dword [rip+X], 5: the immediate follows the field.
        let code = [0xf0, 0x83, 0x05, 0, 0, 0, 0, 5];
        let (detour, listing) = moved(&code, 3, -5);
        assert_eq!(detour.instruction, 0..8);
        let expected = [
            "lea rsp,[rsp-80h]",
            "push r11",
            "mov r11,[0Eh]",
            "lock add dword ptr [r11],5",
            "pop r11",
            "lea rsp,[rsp+80h]",
            "jmp 0000000000000022h",
        ];
        assert_eq!(listing, expected);
        // The fields are where the distances are: 7 bytes of code go before the load.
        assert_eq!((detour.cell_field, detour.back_field), (10, Some(detour.elsewhere.len() - 4)));
        // mov [rip+X], r11
        let (_, listing) = moved(&[0x4c, 0x89, 0x1d, 0, 0, 0, 0], 3, -4);
        assert_eq!(listing[1..4], ["push r10", "mov r10,[0Eh]", "mov [r10],r11"]);
        // movaps xmm0, [rip+X]
        let (_, listing) = moved(&[0x0f, 0x28, 0x05, 0, 0, 0, 0], 3, -4);
        assert_eq!(listing[3], "movaps xmm0,[r11]");
    }

    #[test]
    fn a_call_returns_to_where_it_would_have() {
        // call [rip+X]
        let (detour, listing) = moved(&[0xff, 0x15, 0, 0, 0, 0], 2, -4);
        assert_eq!(detour.leave, [0x67, 0xe8, 0, 0, 0, 0]);
        assert_eq!(listing, ["mov r11,[7]", "jmp qword ptr [r11]"]);
        assert_eq!(detour.back_field, None);
        // jmp [rip+X+16]
        let (detour, listing) = moved(&[0xff, 0x25, 0, 0, 0, 0], 2, 12);
        assert_eq!(detour.leave, [0xe9, 0, 0, 0, 0, 0x90]);
        assert_eq!(listing, ["mov r11,[7]", "jmp qword ptr [r11+10h]"]);
    }

    #[test]
    fn what_cannot_be_moved_is_refused() {
        // push [rip+X]; mov [rip+X], rsp; mov eax, [rbx+disp32]; a field that is none; a boundary that is none
        for (code, field) in [
            (&[0xff, 0x35, 0, 0, 0, 0][..], 2),
            (&[0x48, 0x89, 0x25, 0, 0, 0, 0], 3),
            (&[0x8b, 0x83, 0, 0, 0, 0], 2),
            (&[0x8b, 0x05, 0, 0, 0, 0], 3),
            (&[0x06, 0x8b, 0x05, 0, 0, 0, 0], 3),
        ] {
            assert_eq!(detour(code, 0, field, -4), None, "{code:x?}");
        }
        assert_eq!(detour(&[0x8b, 0x05, 0, 0, 0, 0], 9, 2, -4), None);
        assert_eq!(detour(&[0x8b, 0x05, 0, 0, 0, 0], 0, 2, i64::MAX), None);
    }

    proptest::proptest! {
        /// Whatever the bytes: what comes out decodes, and is as long as it must be.
        #[test]
        fn anything_is_moved_or_refused(code in proptest::collection::vec(0_u8.., 0..40), field in 0_usize..40) {
            if let Some(detour) = detour(&code, 0, field, -4) {
                proptest::prop_assert_eq!(detour.leave.len(), detour.instruction.len());
                proptest::prop_assert!(detour.instruction.contains(&field));
                proptest::prop_assert!(listing(&detour.elsewhere).iter().all(|text| text != "(bad)"));
            }
        }
    }
}
