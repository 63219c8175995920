//! Looks for branches that lead from a function's body back to its first instructions.

use super::decode::{self, Kind, Piece};
use super::{EntryError, Function, Hazards, JUMP};
use crate::address::RuntimeAddress;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// What [`find`] found.
pub(super) struct Found {
    /// Branches to the entry itself, from behind the copied instructions.
    pub(super) branches: Vec<Piece>,
    pub(super) hazards: Hazards,
}

/// Looks through the body behind `window`, the instructions that are copied.
///
/// Most bodies are not decoded at all: no branch can be where no bytes look like one.
pub(super) fn find(function: &Function<'_>, window: &[Piece]) -> Result<Found, EntryError> {
    let body = function.body().ok_or(EntryError::OutsideText)?;
    let start = decode::end(window).min(body.len());
    let mut found = Found { branches: Vec::new(), hazards: Hazards::default() };
    for piece in window {
        let target = target_of(&piece.kind).and_then(|target| target.checked_since(function.entry));
        found.hazards.loop_head |= target == Some(0);
        if let Some(target) = target.filter(|&target| target < JUMP as u64) {
            found.hazards.lasting_traps = true;
            refuse_middle(window, piece.offset, target as usize)?;
        }
    }
    let direct = may_branch_back(body, start);
    let indirect = !window.first().is_some_and(Piece::opens_frame) && may_jump_indirectly(body);
    if direct || indirect {
        sweep(function, body, window, direct, &mut found)?;
    }
    Ok(found)
}

/// Whether any bytes from `start` on look like a direct branch to one of the first bytes.
fn may_branch_back(body: &[u8], start: usize) -> bool {
    let is_near = |distance: i64| (0..JUMP as i64).contains(&distance);
    // An 8-bit displacement reaches back 128 bytes from behind itself.
    let short = (start..body.len().min(JUMP + 130)).any(|at| {
        let Some(&field) = body.get(at + 1) else { return false };
        is_near(at as i64 + 2 + i64::from(field.cast_signed()))
            && matches!(body[at], 0x70..=0x7F | 0xE0..=0xE3 | 0xEB)
    });
    // A 32-bit one has FF on top, if the body is shorter than 16 MiB.
    let wide = body.len() >= 1 << 24;
    short
        || wide
        || ones(body).any(|top| {
            let Some([opcode @ .., a, b, c, d]) = body.get(start..=top) else { return false };
            let displacement = i32::from_le_bytes([*a, *b, *c, *d]);
            is_near(top as i64 + 1 + i64::from(displacement))
                && matches!(opcode, [.., 0xE9] | [.., 0x0F, 0x80..=0x8F])
        })
}

/// Whether any bytes look like `FF /4`.
fn may_jump_indirectly(body: &[u8]) -> bool {
    ones(body).any(|at| body.get(at + 1).is_some_and(|field| field >> 3 & 7 == 4))
}

/// Where `body` has bytes FF, eight bytes looked at at a time.
fn ones(body: &[u8]) -> impl Iterator<Item = usize> {
    const LOW: u64 = u64::MAX / 0xFF;
    let has_ones = |chunk: &[u8]| {
        let Ok(word) = chunk.try_into().map(u64::from_le_bytes) else { return true };
        // A byte of the complement that is 0 borrows.
        (!word).wrapping_sub(LOW) & word & (LOW << 7) != 0
    };
    body.chunks(8).enumerate().filter(move |(_, chunk)| has_ones(chunk)).flat_map(|(index, chunk)| {
        (index * 8..).zip(chunk).filter(|(_, byte)| **byte == 0xFF).map(|(at, _)| at)
    })
}

/// Decodes the body from its start, as far as it can be decoded.
fn sweep(
    function: &Function<'_>,
    body: &[u8],
    window: &[Piece],
    direct: bool,
    found: &mut Found,
) -> Result<(), EntryError> {
    let opens_frame = window.first().is_some_and(Piece::opens_frame);
    let mut decoder = Decoder::with_ip(64, body, function.entry.0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut table = false;
    while decoder.can_decode() {
        let offset = decoder.position();
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            found.hazards.unseen_loops |= direct || !opens_frame;
            return Ok(());
        }
        let target = back_to(function, &instruction);
        if let Some(target) = target.filter(|_| offset >= decode::end(window)) {
            branch_back(function, body, window, (offset, target), found)?;
        }
        table |= loads_from_table(&instruction);
        if !opens_frame && may_be_table_jump(&instruction, table) {
            found.hazards.unseen_loops = true;
        }
    }
    Ok(())
}

/// The offset among the first bytes that a direct branch leads to; calls are not branches.
fn back_to(function: &Function<'_>, instruction: &Instruction) -> Option<usize> {
    let branch = matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
    );
    let near = matches!(instruction.op0_kind(), OpKind::NearBranch64);
    let target = instruction.near_branch64().checked_sub(function.entry.0)?;
    (branch && near && target < JUMP as u64).then_some(target as usize)
}

fn branch_back(
    function: &Function<'_>,
    body: &[u8],
    window: &[Piece],
    (offset, target): (usize, usize),
    found: &mut Found,
) -> Result<(), EntryError> {
    found.hazards.lasting_traps = true;
    if target == 0 {
        found.branches.push(decode::piece(&body[offset..], offset, function.entry)?);
        found.hazards.loop_head = true;
    }
    refuse_middle(window, offset, target)
}

/// Refuses a branch into a copied instruction.
fn refuse_middle(window: &[Piece], offset: usize, target: usize) -> Result<(), EntryError> {
    if target < decode::end(window) && !window.iter().any(|piece| piece.offset == target) {
        return Err(EntryError::IntoInstruction { offset, target });
    }
    Ok(())
}

/// Whether this may be the jump of a `match` or `switch`: through a table, or to a register, `table` saying
/// whether anything was loaded from a table before. Other indirect jumps are tail calls.
fn may_be_table_jump(jump: &Instruction, table: bool) -> bool {
    let register = jump.op0_kind() == OpKind::Register;
    jump.code() == Code::Jmp_rm64 && if register { table } else { jump.memory_index() != Register::None }
}

/// Whether this loads an element of 4 or 8 bytes of an array.
fn loads_from_table(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Movsxd | Mnemonic::Add)
        && instruction.op1_kind() == OpKind::Memory
        && instruction.memory_index() != Register::None
        && matches!(instruction.memory_index_scale(), 4 | 8)
}

/// Where a piece branches to, calls aside.
fn target_of(kind: &Kind) -> Option<RuntimeAddress> {
    match *kind {
        Kind::Jump { target } | Kind::Branch { target, .. } | Kind::Short { target, .. } => Some(target),
        Kind::Plain(_) | Kind::Call { .. } | Kind::IndirectCall { .. } => None,
    }
}
