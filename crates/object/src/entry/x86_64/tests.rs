//! Prologues by hand, and random ones, against what another decoding of the copy shows.

use super::pun::{self, Boundaries, Opcodes};
use super::{Copy, EntryError, Function, Hazards, Method, analyze, analyze_trap};
use crate::address::RuntimeAddress;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use proptest::prelude::*;

const ENTRY: RuntimeAddress = RuntimeAddress(0x5555_5555_4000);
const COPY: RuntimeAddress = RuntimeAddress(0x5555_4000_0000);

fn function(text: &[u8], size: usize) -> Function<'_> {
    Function { entry: ENTRY, text, offset: 0, size, padding: text.len() - size }
}

fn decode(code: &[u8], at: u64) -> Instruction {
    Decoder::with_ip(64, code, at, DecoderOptions::NONE).decode()
}

/// The copy's instructions from an address on.
fn copied(copy: &Copy, at: RuntimeAddress, count: usize) -> Vec<Instruction> {
    let offset = at.checked_since(copy.at).expect("in the copy") as usize;
    let mut decoder = Decoder::with_ip(64, &copy.bytes[offset..], at.0, DecoderOptions::NONE);
    decoder.iter().take(count).collect()
}

fn cell(copy: &Copy, push: &Instruction) -> u64 {
    assert_eq!(push.code(), Code::Push_rm64);
    assert!(push.is_ip_rel_memory_operand());
    let at = (push.ip_rel_memory_address() - copy.at.0) as usize;
    u64::from_le_bytes(copy.bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What the copy has for each instruction does the same as the original there.
fn assert_equivalent(code: &[u8], copy: &Copy) {
    let place = |target: u64| {
        let offset = target.wrapping_sub(ENTRY.0) as usize;
        copy.boundaries.iter().find(|(start, _)| *start == offset).map_or(target, |(_, place)| place.0)
    };
    let mut behind = copy.at.0;
    let mut end = 0;
    let mut goes_on = true;
    for &(offset, at) in &copy.boundaries {
        assert_eq!(at.0, behind, "copied instructions follow one another");
        let original = decode(&code[offset..], ENTRY.0 + offset as u64);
        let new = copied(copy, at, 3);
        let used = match original.flow_control() {
            FlowControl::UnconditionalBranch => {
                assert_eq!(
                    (new[0].code(), new[0].near_branch64()),
                    (Code::Jmp_rel32_64, place(original.near_branch64()))
                );
                1
            }
            FlowControl::ConditionalBranch if original.is_jcc_short_or_near() => {
                assert_eq!(new[0].condition_code(), original.condition_code());
                assert_eq!(new[0].near_branch64(), place(original.near_branch64()));
                1
            }
            FlowControl::ConditionalBranch => {
                assert_eq!(new[0].code(), original.code());
                assert_eq!(new[0].near_branch64(), new[2].ip());
                assert_eq!((new[1].code(), new[1].near_branch64()), (Code::Jmp_rel8_64, new[2].next_ip()));
                assert_eq!(
                    (new[2].code(), new[2].near_branch64()),
                    (Code::Jmp_rel32_64, place(original.near_branch64()))
                );
                3
            }
            FlowControl::Call if original.code() == Code::Call_rel32_64 => {
                assert_eq!(cell(copy, &new[0]), original.next_ip());
                assert_eq!(
                    (new[1].code(), new[1].near_branch64()),
                    (Code::Jmp_rel32_64, original.near_branch64())
                );
                2
            }
            FlowControl::IndirectCall => {
                assert_eq!(cell(copy, &new[0]), original.next_ip());
                assert_same_target(&original, &new[1]);
                2
            }
            _ => {
                assert_eq!(new[0], original);
                1
            }
        };
        behind = new[used - 1].next_ip();
        end = offset + original.len();
        goes_on = !matches!(
            original.flow_control(),
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::IndirectCall
        ) && original.code() != Code::Call_rel32_64;
    }
    if goes_on {
        let back = copied(copy, RuntimeAddress(behind), 1)[0];
        assert_eq!((back.code(), back.near_branch64()), (Code::Jmp_rel32_64, ENTRY.0 + end as u64));
    }
}

/// A jump goes where a call went, the stack being one word lower.
fn assert_same_target(call: &Instruction, jump: &Instruction) {
    assert_eq!(jump.code(), Code::Jmp_rm64);
    assert_eq!(jump.op0_kind(), call.op0_kind());
    if call.op0_kind() == OpKind::Register {
        assert_eq!(jump.op0_register(), call.op0_register());
        return;
    }
    let lower = if call.memory_base() == Register::RSP { 8 } else { 0 };
    assert_eq!(jump.memory_displacement64(), call.memory_displacement64().wrapping_add(lower));
    assert_eq!(
        (jump.memory_base(), jump.memory_index(), jump.memory_index_scale(), jump.memory_segment()),
        (call.memory_base(), call.memory_index(), call.memory_index_scale(), call.memory_segment()),
    );
}

fn check(text: &[u8], size: usize) -> (Vec<usize>, Copy, Hazards) {
    let entry = analyze(&function(text, size)).expect("an entry");
    assert_eq!(entry.method(), Method::Jump);
    let copy = entry.relocate(COPY).expect("a copy");
    assert_eq!(copy.bytes.len(), entry.copy_length());
    assert_eq!(copy.at, COPY);
    assert_equivalent(text, &copy);
    (entry.boundaries().iter().collect(), copy, entry.hazards())
}

/// The boundaries of a body of code that fills its text.
fn boundaries(code: &[u8]) -> Vec<usize> {
    check(code, code.len()).0
}

#[test]
fn inner_boundaries() {
    // push rbp; mov rbp, rsp; sub rsp, 0x20; ret
    assert_eq!(boundaries(&[0x55, 0x48, 0x89, 0xE5, 0x48, 0x83, 0xEC, 0x20, 0xC3]), [1, 4]);
    // push rbp; push r15; push r14; ret
    assert_eq!(boundaries(&[0x55, 0x41, 0x57, 0x41, 0x56, 0xC3]), [1, 3]);
    // sub rsp, 0x18; ret
    assert_eq!(boundaries(&[0x48, 0x83, 0xEC, 0x18, 0xC3]), [4]);
    // mov eax, 1000; ret
    assert_eq!(boundaries(&[0xB8, 0xE8, 0x03, 0, 0, 0xC3]), []);
    // push rbx; push rbp; push rdi; push rsi; pop rax; ret
    assert_eq!(boundaries(&[0x53, 0x55, 0x57, 0x56, 0x58, 0xC3]), [1, 2, 3, 4]);
    // xor eax, eax; ret; and int3s behind it
    assert_eq!(check(&[0x31, 0xC0, 0xC3, 0xCC, 0xCC, 0xCC], 3).0, [2, 3, 4]);
    // xor eax, eax; ret; and a nop of 9 bytes behind it
    assert_eq!(check(&[0x31, 0xC0, 0xC3, 0x66, 0x0F, 0x1F, 0x84, 0, 0, 0, 0, 0], 3).0, [2, 3]);
}

#[test]
fn operands_relative_to_rip() {
    // lea rax, [rip + 0x100]; ret
    let (_, copy, _) = check(&[0x48, 0x8D, 0x05, 0, 1, 0, 0, 0xC3], 8);
    assert_eq!(copied(&copy, COPY, 1)[0].ip_rel_memory_address(), ENTRY.0 + 7 + 0x100);
    // push rbx; cmp qword ptr [rip - 2], 5; ret: the immediate is between the displacement and rip
    let (_, copy, _) = check(&[0x53, 0x48, 0x83, 0x3D, 0xFE, 0xFF, 0xFF, 0xFF, 0x05, 0xC3], 10);
    let compare = copied(&copy, copy.boundaries[1].1, 1)[0];
    assert_eq!((compare.ip_rel_memory_address(), compare.immediate8()), (ENTRY.0 + 9 - 2, 5));
}

#[test]
fn far_copies_are_refused() {
    let text = [0x48, 0x8D, 0x05, 0, 1, 0, 0, 0xC3];
    let entry = analyze(&function(&text, 8)).expect("an entry");
    let far = RuntimeAddress(ENTRY.0 - (1 << 31) - 4096);
    assert!(matches!(entry.relocate(far), Err(EntryError::OutOfReach { .. })));
}

#[test]
fn calls_push_the_original_return_address() {
    // call +0x10; nop; ret
    let (inner, copy, _) = check(&[0xE8, 0x10, 0, 0, 0, 0x90, 0xC3], 7);
    let new = copied(&copy, COPY, 2);
    assert_eq!(inner, []);
    assert_eq!((cell(&copy, &new[0]), new[1].near_branch64()), (ENTRY.0 + 5, ENTRY.0 + 5 + 0x10));
    // call rax; nop; ret
    let (inner, copy, _) = check(&[0xFF, 0xD0, 0x90, 0x90, 0x90, 0xC3], 6);
    assert_eq!((inner, cell(&copy, &copied(&copy, COPY, 1)[0])), (vec![2, 3, 4], ENTRY.0 + 2));
    // call [rip + 0x20]; ret
    check(&[0xFF, 0x15, 0x20, 0, 0, 0, 0xC3], 7);
    // push rax; call [rsp + 0x78]: with 8 more it no longer fits 8 bits
    let (_, copy, _) = check(&[0x50, 0xFF, 0x54, 0x24, 0x78, 0xC3], 6);
    assert_eq!(copied(&copy, copy.boundaries[1].1, 2)[1].memory_displacement64(), 0x80);
    // call [r12 + rax*8 - 8] and call fs:[0x10]
    check(&[0x41, 0xFF, 0x54, 0xC4, 0xF8, 0xC3], 6);
    check(&[0x64, 0xFF, 0x14, 0x25, 0x10, 0, 0, 0, 0xC3], 9);
    // call to the function itself: a new call, not a loop
    let (_, copy, hazards) = check(&[0xE8, 0xFB, 0xFF, 0xFF, 0xFF, 0xC3], 6);
    assert_eq!(copied(&copy, COPY, 2)[1].near_branch64(), ENTRY.0);
    assert!(!hazards.loop_head);
}

#[test]
fn branches_inside_the_window_stay_inside() {
    // 0: dec esi; 2: jne 0; 4: ret
    let (inner, copy, hazards) = check(&[0xFF, 0xCE, 0x75, 0xFC, 0xC3], 5);
    assert_eq!(inner, [2, 4]);
    assert_eq!(copied(&copy, copy.boundaries[1].1, 1)[0].near_branch64(), COPY.0);
    assert!(hazards.loop_head);
    // 0: push rax; 1: loop 1; 3: nop; 4: ret
    let (_, copy, hazards) = check(&[0x50, 0xE2, 0xFE, 0x90, 0xC3], 5);
    assert_eq!(copied(&copy, copy.boundaries[1].1, 3)[2].near_branch64(), copy.boundaries[1].1.0);
    assert!(!hazards.loop_head);
    // 0: jrcxz 7; 2: mov eax, ecx; 4: ret … and jecxz
    check(&[0xE3, 0x05, 0x89, 0xC8, 0xC3, 0xCC, 0xCC, 0xC3], 8);
    check(&[0x67, 0xE3, 0x04, 0x90, 0x90, 0xC3, 0xCC, 0xC3], 8);
}

#[test]
fn loops_to_the_entry_go_on_in_the_copy() {
    // 0: add [rdx], rdi; 3: dec rsi; 6: jne 0; 8: ret
    let text = [0x48, 0x01, 0x3A, 0x48, 0xFF, 0xCE, 0x75, 0xF8, 0xC3];
    let (_, copy, hazards) = check(&text, text.len());
    let &[(6, at)] = copy.loops.as_slice() else { panic!("{:?}", copy.loops) };
    let new = copied(&copy, at, 2);
    assert_eq!((new[0].code(), new[0].near_branch64()), (Code::Jne_rel32_64, COPY.0));
    assert_eq!((new[1].code(), new[1].near_branch64()), (Code::Jmp_rel32_64, ENTRY.0 + 8));
    assert!(hazards.loop_head);
    // The same with a jump of 32 bits behind 300 bytes; the one byte before that looks like one is none.
    let mut text = vec![0x48, 0x01, 0x3A];
    text.extend_from_slice(&[0x90; 300]);
    text.extend_from_slice(&[0xB8, 0xE9, 0, 0, 0]);
    let back = -(text.len() as i32 + 5);
    text.push(0xE9);
    text.extend_from_slice(&back.to_le_bytes());
    let entry = analyze(&function(&text, text.len())).expect("an entry");
    assert_eq!(entry.loops().collect::<Vec<_>>(), [(308, 5)]);
}

#[test]
fn what_only_looks_like_a_loop_is_none() {
    // 0: mov eax, [rdi]; 2: nop dword; 5: mov eax, 0xF8EB00; (EB F8 → 0 inside it); ret
    let text = [0x8B, 0x07, 0x0F, 0x1F, 0x00, 0xB8, 0x00, 0xEB, 0xF7, 0x00, 0xC3];
    let entry = analyze(&function(&text, text.len())).expect("an entry");
    assert_eq!((entry.loops().count(), entry.hazards()), (0, Hazards::default()));
    // Behind bytes that are no instruction, nothing is certain.
    let text = [0x8B, 0x07, 0x0F, 0x1F, 0x00, 0xC3, 0x06, 0xEB, 0xF7, 0xC3];
    let hazards = analyze(&function(&text, text.len())).expect("an entry").hazards();
    assert!(hazards.unseen_loops && !hazards.loop_head);
}

#[test]
fn jumps_through_tables_are_told() {
    // movsxd rax, [rcx + rdi*4]; add rax, rcx; jmp rax
    let table = [0x48, 0x63, 0x04, 0xB9, 0x48, 0x01, 0xC8, 0xFF, 0xE0];
    let hazards = |text: &[u8]| analyze(&function(text, text.len())).expect("an entry").hazards();
    assert!(hazards(&table).unseen_loops);
    // Behind a push it cannot lead back to the entry.
    assert!(!hazards(&[&[0x53][..], &table].concat()).unseen_loops);
    // movsxd rax, [rdi + rsi*4]; ret; and jmp [rcx + rax*8]; mov rax, [rcx + rax*8]; jmp rax
    assert!(!hazards(&[0x48, 0x63, 0x04, 0xB7, 0xC3]).unseen_loops);
    assert!(hazards(&[0x89, 0xF8, 0xFF, 0x24, 0xC1]).unseen_loops);
    assert!(hazards(&[0x89, 0xF8, 0x48, 0x8B, 0x04, 0xC1, 0xFF, 0xE0]).unseen_loops);
    // mov rax, [rdi + 0x18]; jmp rax: a tail call
    assert!(!hazards(&[0x48, 0x8B, 0x47, 0x18, 0xFF, 0xE0]).unseen_loops);
}

#[test]
fn short_functions_trap() {
    // xor eax, eax; ret, and the next function
    let text = [0x31, 0xC0, 0xC3, 0x55, 0x48, 0x89, 0xE5];
    let entry = analyze(&function(&text, 3)).expect("an entry");
    assert_eq!((entry.method(), entry.covered()), (Method::Trap, 2));
    assert!(entry.boundaries().is_empty());
    assert_equivalent(&text, &entry.relocate(COPY).expect("a copy"));
    // Any function can: here with a loop that would be in a jump's window.
    let text = [0xFF, 0xCE, 0x75, 0xFC, 0xC3];
    let entry = analyze_trap(&function(&text, 5)).expect("an entry");
    assert_eq!(entry.loops().collect::<Vec<_>>(), [(2, 2)]);
}

#[test]
fn what_cannot_be_redirected() {
    let refuse = |text: &[u8]| analyze(&function(text, text.len())).expect_err("an error");
    let resumable = |text: &[u8]| matches!(refuse(text), EntryError::Resumable { .. });
    let unsupported =
        |text: &[u8], at| matches!(refuse(text), EntryError::Unsupported { offset, .. } if offset == at);
    assert_eq!(refuse(&[]), EntryError::Empty);
    assert_eq!(refuse(&[0x55, 0x06, 0x90, 0x90, 0x90, 0xC3]), EntryError::Undecodable { offset: 1 });
    // The body ends inside an instruction.
    assert_eq!(refuse(&[0x55, 0x48, 0x8D, 0x05, 0, 0]), EntryError::Undecodable { offset: 1 });
    assert!(resumable(&[0xF3, 0xAA, 0x90, 0x90, 0x90, 0xC3])); // rep stosb
    assert!(resumable(&[0x0F, 0x05, 0x90, 0x90, 0x90, 0xC3])); // syscall
    assert!(resumable(&[0xCD, 0x80, 0x90, 0x90, 0x90, 0xC3])); // int 0x80
    assert!(unsupported(&[0x55, 0xC7, 0xF8, 0, 0, 0, 0, 0xC3], 1)); // xbegin
    assert!(unsupported(&[0x55, 0xFF, 0xD4, 0x90, 0x90, 0xC3], 1)); // call rsp
    assert!(unsupported(&[0xFF, 0x54, 0x24, 0xF8, 0x90, 0xC3], 0)); // call [rsp - 8]
    assert!(unsupported(&[0xFF, 0x1F, 0x90, 0x90, 0x90, 0xC3], 0)); // call far [rdi]
    assert!(unsupported(&[0x66, 0x75, 0x02, 0x90, 0x90, 0xC3], 0)); // data16 jne
    assert!(unsupported(&[0x67, 0x8B, 0x05, 0, 0, 0, 0, 0xC3], 0)); // mov eax, [eip]
    // 0: mov eax, 0; 5: jmp 2
    let into = [0xB8, 0, 0, 0, 0, 0xEB, 0xFB];
    assert_eq!(refuse(&into), EntryError::IntoInstruction { offset: 5, target: 2 });
    let outside = Function { padding: 100, ..function(&into, 5) };
    assert_eq!(analyze(&outside).err(), Some(EntryError::OutsideText));
}

#[test]
fn every_trapping_opcode_is_invalid_in_64_bit_mode() {
    for opcode in pun::TRAPPING.into_iter().filter(|&opcode| opcode != 0xCC) {
        for next in 0..=255 {
            let instruction = decode(&[opcode, next, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0);
            assert!(instruction.is_invalid(), "{opcode:02x} {next:02x}");
        }
    }
    assert_eq!(decode(&[0xCC], 0).code(), Code::Int3);
    assert_eq!((0..=255).filter(|&opcode| pun::traps(opcode)).count(), pun::TRAPPING.len());
}

#[test]
fn choices_are_what_is_allowed() {
    for bits in 0..16_usize {
        let inner = Boundaries::new((1..5).filter(|offset| bits >> (offset - 1) & 1 == 1));
        for (index, opcodes) in (0..4).flat_map(|index| Opcodes::ALL.map(|opcodes| (index, opcodes))) {
            let mut choices = inner.choices(index, opcodes).to_vec();
            choices.sort_unstable();
            let allowed: Vec<u8> = (0..=255).filter(|&byte| inner.allow_byte(index, byte, opcodes)).collect();
            assert_eq!(choices, allowed);
        }
    }
}

/// Instructions as compilers write them; `?` bytes are random.
fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |bytes: &'static [u8]| Just(bytes.to_vec()).boxed();
    let random = |opcode: &'static [u8], count: usize| {
        prop::collection::vec(any::<u8>(), count).prop_map(move |tail| [opcode, &tail].concat()).boxed()
    };
    let near = |opcode: &'static [u8]| {
        (-0x100_0000..0x100_0000_i32).prop_map(move |to| [opcode, &to.to_le_bytes()].concat()).boxed()
    };
    prop_oneof![
        (0x50..=0x5F_u8).prop_map(|opcode| vec![opcode]),
        (0x50..=0x5F_u8).prop_map(|opcode| vec![0x41, opcode]),
        fixed(&[0x48, 0x89, 0xE5]),
        fixed(&[0xC3]),
        fixed(&[0xF3, 0x0F, 0x1E, 0xFA]),
        random(&[0x48, 0x83, 0xEC], 1),
        random(&[0x48, 0x81, 0xEC], 4),
        random(&[0xB8], 4),
        random(&[0x49, 0xBA], 8),
        near(&[0x48, 0x8D, 0x05]),
        near(&[0x48, 0x83, 0x3D]).prop_map(|mut code| {
            code.push(7);
            code
        }),
        near(&[0xF2, 0x0F, 0x10, 0x05]),
        near(&[0xE8]),
        near(&[0xE9]),
        near(&[0xFF, 0x15]),
        near(&[0xFF, 0x25]),
        near(&[0x0F, 0x84]),
        random(&[0x74], 1),
        random(&[0xEB], 1),
        random(&[0xE2], 1),
        random(&[0xE3], 1),
        random(&[0xFF], 2),
        random(&[0x48, 0x8B], 2),
        random(&[0xC5], 4),
        random(&[0x62], 6),
        random(&[], 3),
    ]
}

fn assert_sound(text: &[u8], size: usize) {
    let function = function(text, size);
    for entry in [analyze(&function), analyze_trap(&function)].into_iter().flatten() {
        let window = if entry.method() == Method::Jump { 5 } else { 1 };
        let mut decoder = Decoder::with_ip(64, text, ENTRY.0, DecoderOptions::NONE);
        let mut starts = vec![];
        while decoder.position() < window {
            starts.push(decoder.position());
            assert!(!decoder.decode().is_invalid());
        }
        assert_eq!(entry.covered(), decoder.position());
        let Ok(copy) = entry.relocate(COPY) else { continue };
        assert_eq!(copy.boundaries.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), starts);
        assert!(entry.boundaries().iter().eq(starts.into_iter().skip(1)));
        assert_eq!(copy.bytes.len(), entry.copy_length());
        assert_equivalent(text, &copy);
        for (offset, at) in &copy.loops {
            let original = decode(&text[*offset..], ENTRY.0 + *offset as u64);
            assert_eq!(original.near_branch64(), ENTRY.0);
            let new = copied(&copy, *at, 3);
            assert!(new.iter().any(|new| new.near_branch64() == COPY.0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn likely_prologues(code in prop::collection::vec(instruction(), 1..12), padding in 0_usize..16) {
        let mut text = code.concat();
        let size = text.len();
        text.resize(size + padding, 0xCC);
        assert_sound(&text, size);
    }

    #[test]
    fn any_bytes(text in prop::collection::vec(any::<u8>(), 1..40), size in 0_usize..40) {
        assert_sound(&text, size.min(text.len()));
    }

    #[test]
    fn allowed_displacements_trap(bits in 0_usize..16, displacement in any::<i32>()) {
        let inner = Boundaries::new((1..5).filter(|offset| bits >> (offset - 1) & 1 == 1));
        let jump = [&[0xE9][..], &displacement.to_le_bytes()].concat();
        let sound = inner.iter().all(|offset| {
            let instruction = decode(&jump[offset..], 0);
            instruction.is_invalid() && pun::traps(jump[offset]) || instruction.code() == Code::Int3
        });
        prop_assert!(!inner.allow(displacement) || sound);
    }
}
