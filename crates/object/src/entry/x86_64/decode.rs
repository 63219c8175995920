//! Takes the first instructions of a function apart, into what a copy of each needs.

use super::{EntryError, Function, JUMP};
use crate::address::RuntimeAddress;
use iced_x86::{
    Code, Decoder, DecoderError, DecoderOptions, Encoder, FlowControl, Instruction, Mnemonic, OpKind,
    Register,
};

/// The longest instruction, in bytes.
const LONGEST: usize = 15;

/// An instruction of the original, and what becomes of it in a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Where it begins, in bytes from the function's start.
    pub(super) offset: usize,
    /// How long it is in the original, in bytes.
    pub(super) length: usize,
    pub(super) kind: Kind,
    instruction: Instruction,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Copied; at most its rip-relative displacement changes.
    Plain(Raw),
    /// `jmp target`.
    Jump { target: RuntimeAddress },
    /// `jcc target`; the condition is the opcode's low four bits.
    Branch { condition: u8, target: RuntimeAddress },
    /// `loop` and `jrcxz`, which have no long form.
    Short { raw: Raw, target: RuntimeAddress },
    /// `call target`.
    Call { target: RuntimeAddress },
    /// `call r/m64`; with what jumps to the same place after the return address has been pushed.
    IndirectCall { jump: Raw },
}

/// An instruction's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    bytes: [u8; LONGEST],
    length: u8,
    /// Where its rip-relative displacement is, and what that points to.
    pub(super) reference: Option<(usize, RuntimeAddress)>,
}

impl Raw {
    fn new(bytes: &[u8], reference: Option<(usize, RuntimeAddress)>) -> Self {
        let mut all = [0; LONGEST];
        all[..bytes.len()].copy_from_slice(bytes);
        Self { bytes: all, length: bytes.len() as u8, reference }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Piece {
    /// The first byte behind it.
    pub(super) fn end(&self) -> usize {
        self.offset + self.length
    }

    pub(super) fn is_endbr64(&self) -> bool {
        self.instruction.code() == Code::Endbr64
    }

    /// Whether it is the first instruction of a stack frame's set-up, which no loop goes through.
    pub(super) fn opens_frame(&self) -> bool {
        let instruction = &self.instruction;
        instruction.mnemonic() == Mnemonic::Push
            || (instruction.mnemonic() == Mnemonic::Sub && instruction.op0_register() == Register::RSP)
    }

    /// Whether it is a call that returns among the bytes that a jump overwrites.
    pub(super) fn returns_inside(&self) -> bool {
        matches!(self.kind, Kind::Call { .. } | Kind::IndirectCall { .. }) && self.end() < JUMP
    }

    /// Whether control can reach the instruction behind it, calls aside.
    pub(super) fn falls_through(&self) -> bool {
        !matches!(
            self.instruction.flow_control(),
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Call
                | FlowControl::IndirectCall
        ) || matches!(self.kind, Kind::Plain(_)) && self.instruction.flow_control() == FlowControl::Call
    }
}

/// The first byte behind all pieces.
pub(super) fn end(pieces: &[Piece]) -> usize {
    pieces.last().map_or(0, Piece::end)
}

/// The instructions that begin in a function's first `reach` bytes and in the `nop`s and `int3`s behind
/// it; none if it is shorter than that even with them.
pub(super) fn window(function: &Function<'_>, reach: usize) -> Result<Option<Vec<Piece>>, EntryError> {
    let body = function.body().ok_or(EntryError::OutsideText)?;
    let padding = function.padding().ok_or(EntryError::OutsideText)?;
    function.entry.checked_add((body.len() + padding.len()) as u64).ok_or(EntryError::OutsideText)?;
    if body.is_empty() {
        return Err(EntryError::Empty);
    }
    let mut pieces = Vec::with_capacity(reach);
    while end(&pieces) < reach {
        let offset = end(&pieces);
        let piece = match offset.checked_sub(body.len()) {
            None => piece(&body[offset..], offset, function.entry)?,
            Some(start) => match piece(&padding[start..], offset, function.entry) {
                Ok(piece) if is_filler(&piece) => piece,
                _ => return Ok(None),
            },
        };
        pieces.push(piece);
    }
    Ok(Some(pieces))
}

fn is_filler(piece: &Piece) -> bool {
    matches!(piece.instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
}

/// Refuses functions whose first instruction may have run in part when a thread is found at it.
pub(super) fn refuse_resumable(pieces: &[Piece]) -> Result<(), EntryError> {
    let Some(first) = pieces.first() else { return Err(EntryError::Empty) };
    let instruction = &first.instruction;
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let what = if instruction.is_string_instruction() && repeated {
        "repeated string instruction"
    } else if instruction.is_vsib() {
        "gather or scatter"
    } else if matches!(first.kind, Kind::Plain(_)) && is_system_call(instruction) {
        "system call"
    } else {
        return Ok(());
    };
    Err(EntryError::Resumable { what })
}

fn is_system_call(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Syscall | Mnemonic::Int)
}

/// Takes the instruction apart that `code` begins with, `offset` bytes into the function at `entry`.
pub(super) fn piece(code: &[u8], offset: usize, entry: RuntimeAddress) -> Result<Piece, EntryError> {
    let ip = entry.0.wrapping_add(offset as u64);
    let mut decoder = Decoder::with_ip(64, code, ip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if decoder.last_error() != DecoderError::None {
        return Err(EntryError::Undecodable { offset });
    }
    let length = instruction.len();
    let constants = decoder.get_constant_offsets(&instruction);
    let displacement = (constants.displacement_size() == 4).then(|| constants.displacement_offset());
    let source = Source { bytes: &code[..length], offset, ip, instruction, displacement };
    Ok(Piece { offset, length, kind: source.kind()?, instruction })
}

/// An instruction that is being taken apart.
struct Source<'a> {
    bytes: &'a [u8],
    offset: usize,
    ip: u64,
    instruction: Instruction,
    /// Where its 32-bit displacement is.
    displacement: Option<usize>,
}

impl Source<'_> {
    fn kind(&self) -> Result<Kind, EntryError> {
        let target = RuntimeAddress(self.instruction.near_branch_target());
        match self.instruction.flow_control() {
            FlowControl::UnconditionalBranch => {
                self.require(
                    matches!(self.instruction.code(), Code::Jmp_rel8_64 | Code::Jmp_rel32_64),
                    "this jmp",
                )?;
                self.refuse_operand_size()?;
                Ok(Kind::Jump { target })
            }
            FlowControl::ConditionalBranch => self.conditional(target),
            FlowControl::IndirectBranch => {
                self.require(self.instruction.code() == Code::Jmp_rm64, "this indirect jmp")?;
                self.plain()
            }
            FlowControl::Call if self.instruction.mnemonic() == Mnemonic::Call => {
                self.require(self.instruction.code() == Code::Call_rel32_64, "this call")?;
                self.refuse_operand_size()?;
                Ok(Kind::Call { target })
            }
            FlowControl::Call => {
                self.require(self.instruction.mnemonic() != Mnemonic::Sysenter, "sysenter")?;
                self.plain()
            }
            FlowControl::IndirectCall => self.indirect_call(),
            FlowControl::XbeginXabortXend => Err(self.unsupported("a transaction")),
            FlowControl::Next | FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => {
                self.plain()
            }
        }
    }

    fn conditional(&self, target: RuntimeAddress) -> Result<Kind, EntryError> {
        let instruction = &self.instruction;
        self.refuse_operand_size()?;
        if instruction.is_jcc_short_or_near() {
            // 7x rel8 and 0F 8x rel32: the opcode is the last byte before the displacement.
            let field = if instruction.is_jcc_short() { 1 } else { 4 };
            return Ok(Kind::Branch { condition: self.bytes[self.bytes.len() - field - 1] & 0xF, target });
        }
        self.require(
            instruction.is_loop() || instruction.is_loopcc() || instruction.is_jcx_short(),
            "this branch",
        )?;
        Ok(Kind::Short { raw: Raw::new(self.bytes, None), target })
    }

    fn plain(&self) -> Result<Kind, EntryError> {
        let reference = match self.ip_relative()? {
            Some(target) => {
                Some((self.displacement.ok_or_else(|| self.unsupported("this operand"))?, target))
            }
            None => None,
        };
        Ok(Kind::Plain(Raw::new(self.bytes, reference)))
    }

    fn indirect_call(&self) -> Result<Kind, EntryError> {
        self.require(self.instruction.code() == Code::Call_rm64, "this indirect call")?;
        let mut jump = self.instruction;
        jump.set_code(Code::Jmp_rm64);
        if jump.op0_kind() == OpKind::Register {
            self.require(jump.op0_register() != Register::RSP, "call rsp")?;
        } else if matches!(jump.memory_base(), Register::RSP | Register::ESP) {
            // The pushed return address moves the stack pointer by 8, and would overwrite what is below it.
            let displacement = jump.memory_displacement64().cast_signed();
            self.require(
                (0..=i64::from(i32::MAX) - 8).contains(&displacement),
                "a call through memory below rsp",
            )?;
            self.require(jump.memory_base() == Register::RSP, "a call through [esp]")?;
            jump.set_memory_displacement64((displacement + 8).cast_unsigned());
            jump.set_memory_displ_size(8);
        }
        let target = self.ip_relative()?;
        let mut encoder = Encoder::new(64);
        let encoded = encoder.encode(&jump, self.ip).map_err(|_| self.unsupported("this indirect call"))?;
        let constants = encoder.get_constant_offsets();
        let bytes = encoder.take_buffer();
        debug_assert_eq!(bytes.len(), encoded);
        let reference = match target {
            Some(_) if constants.displacement_size() != 4 => return Err(self.unsupported("this operand")),
            Some(target) => Some((constants.displacement_offset(), target)),
            None => None,
        };
        Ok(Kind::IndirectCall { jump: Raw::new(&bytes, reference) })
    }

    /// What a rip-relative operand points to, if there is one.
    fn ip_relative(&self) -> Result<Option<RuntimeAddress>, EntryError> {
        if !self.instruction.is_ip_rel_memory_operand() {
            return Ok(None);
        }
        self.require(self.instruction.memory_base() == Register::RIP, "an eip-relative operand")?;
        Ok(Some(RuntimeAddress(self.instruction.ip_rel_memory_address())))
    }

    /// With an operand-size prefix and no REX.W, AMD's processors read a branch's displacement as 16 bits.
    fn refuse_operand_size(&self) -> Result<(), EntryError> {
        let prefixes = self.bytes.iter().take_while(|&&byte| is_prefix(byte));
        let (mut narrow, mut wide) = (false, false);
        for &byte in prefixes {
            narrow |= byte == 0x66;
            wide = byte & 0xF8 == 0x48;
        }
        self.require(!narrow || wide, "a branch with an operand-size prefix")
    }

    fn require(&self, holds: bool, what: &'static str) -> Result<(), EntryError> {
        if holds { Ok(()) } else { Err(self.unsupported(what)) }
    }

    fn unsupported(&self, what: &'static str) -> EntryError {
        EntryError::Unsupported { offset: self.offset, what }
    }
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2E | 0x36 | 0x3E | 0x40..=0x4F | 0x64..=0x67 | 0xF0 | 0xF2 | 0xF3)
}
