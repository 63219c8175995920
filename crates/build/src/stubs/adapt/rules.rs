//! Which reference becomes which: relocation types of each instruction set, and the fields they write.

use super::Means;
use crate::stubs::resolve::Cell;
use crate::stubs::target::InstructionSet;
use object::elf;

/// A relocation, and the bytes of the section it applies to.
pub(super) struct Site<'d> {
    pub(super) instructions: InstructionSet,
    pub(super) kind: u32,
    pub(super) offset: usize,
    /// Of RELA; REL's stand in the field.
    pub(super) addend: Option<i64>,
    pub(super) data: &'d [u8],
    /// Whether code refers to the symbol directly in no other way than computing its address.
    pub(super) only_computed: bool,
    /// Whether all thread-locals that the object counts from the start of a block have a known offset.
    pub(super) local_dynamic: bool,
}

/// What becomes of a relocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Edit {
    /// Its new type.
    pub(super) kind: u32,
    /// The word that it refers to from now on.
    pub(super) cell: Option<Cell>,
    /// Bytes to be written, and where in the section.
    pub(super) patch: Option<(usize, Vec<u8>)>,
    /// Whether the next relocation, of the same sequence, goes.
    pub(super) swallows: bool,
}

impl Edit {
    fn cell(kind: u32, cell: Cell) -> Self {
        Self { kind, cell: Some(cell), patch: None, swallows: false }
    }

    fn value(offset: usize, bytes: Vec<u8>) -> Self {
        // The type of no relocation is 0 in every psABI.
        Self { kind: 0, cell: None, patch: Some((offset, bytes)), swallows: false }
    }
}

impl Site<'_> {
    /// What becomes of it, if anything.
    pub(super) fn edit(&self, means: Means) -> Option<Edit> {
        match means {
            Means::Address(address) => self
                .through_slot(GOT, Cell::Address)
                .or_else(|| self.computed())
                .or_else(|| self.word(address)),
            Means::ThreadOffset(offset) => self
                .through_slot(INITIAL_EXEC, Cell::ThreadOffset)
                .or_else(|| self.local_exec(offset))
                .or_else(|| self.block_offset(offset))
                .or_else(|| self.dynamic(offset)),
        }
    }

    fn through_slot(&self, table: &[(InstructionSet, u32, u32)], cell: Cell) -> Option<Edit> {
        let row = table.iter().find(|row| row.0.same_machine(self.instructions) && row.1 == self.kind)?;
        // `X@GOT` without a register is an address, which position independent code cannot have.
        if self.instructions == InstructionSet::I686 && self.modrm()? >> 6 != 2 {
            return None;
        }
        Some(Edit::cell(row.2, cell))
    }

    /// The byte before the field.
    fn modrm(&self) -> Option<u8> {
        self.data.get(self.offset.checked_sub(1)?).copied()
    }

    /// An address that an instruction computes is loaded from a word instead.
    fn computed(&self) -> Option<Edit> {
        match (self.instructions, self.kind) {
            (InstructionSet::X86_64, elf::R_X86_64_PC32) if self.addend == Some(-4) => {
                // lea X(%rip), %reg becomes mov word(%rip), %reg.
                let at = self.offset.checked_sub(3)?;
                let [rex, opcode, modrm] = *self.data.get(at..self.offset)? else { return None };
                let lea = rex & 0xf8 == 0x48 && opcode == 0x8d && modrm & 0xc7 == 5;
                let patch = Some((at + 1, vec![0x8b]));
                lea.then(|| Edit { patch, ..Edit::cell(self.kind, Cell::Address) })
            }
            (InstructionSet::Aarch64, elf::R_AARCH64_ADR_PREL_PG_HI21) if self.only_computed => {
                Some(Edit::cell(self.kind, Cell::Address))
            }
            (InstructionSet::Aarch64, elf::R_AARCH64_ADD_ABS_LO12_NC) if self.only_computed => {
                // add xd, xn, :lo12:X becomes ldr xd, [xn, :lo12:word].
                let registers = self.instruction()? & 0x3ff;
                let patch = Some((self.offset, (0xf940_0000 | registers).to_le_bytes().to_vec()));
                Some(Edit { patch, ..Edit::cell(elf::R_AARCH64_LDST64_ABS_LO12_NC, Cell::Address) })
            }
            _ => None,
        }
    }

    /// Whether this is one of the relocations of code that computes an address and does nothing else.
    pub(super) fn computes(&self) -> bool {
        let add = || self.instruction().is_some_and(|word| word & 0xffc0_0000 == 0x9100_0000);
        self.addend == Some(0)
            && match self.kind {
                elf::R_AARCH64_ADR_PREL_PG_HI21 => true,
                elf::R_AARCH64_ADD_ABS_LO12_NC => add(),
                _ => false,
            }
    }

    /// A word of pointer size that holds the address.
    fn word(&self, address: u64) -> Option<Edit> {
        let (kind, size) = match self.instructions {
            InstructionSet::X86_64 => (elf::R_X86_64_64, 8),
            InstructionSet::Aarch64 => (elf::R_AARCH64_ABS64, 8),
            InstructionSet::Riscv64 => (elf::R_RISCV_64, 8),
            InstructionSet::I686 => (elf::R_386_32, 4),
            InstructionSet::Arm | InstructionSet::Thumb => (elf::R_ARM_ABS32, 4),
        };
        if self.kind != kind {
            return None;
        }
        let field = self.data.get(self.offset..self.offset.checked_add(size)?)?;
        let addend = self.addend.or_else(|| Some(i64::from(i32::from_le_bytes(field.try_into().ok()?))))?;
        let value = address.wrapping_add_signed(addend).to_le_bytes()[..size].to_vec();
        Some(Edit::value(self.offset, value))
    }

    /// An offset from the thread pointer that stands in the code.
    fn local_exec(&self, offset: i64) -> Option<Edit> {
        let value = offset.checked_add(match self.addend {
            Some(addend) => addend,
            None => self.instruction()?.cast_signed().into(),
        })?;
        let narrow = || i32::try_from(value).ok().map(|value| value.to_le_bytes().to_vec());
        let bytes = match (self.instructions, self.kind) {
            (InstructionSet::X86_64, elf::R_X86_64_TPOFF32)
            | (InstructionSet::I686, elf::R_386_TLS_LE)
            | (InstructionSet::Arm | InstructionSet::Thumb, elf::R_ARM_TLS_LE32) => narrow()?,
            (InstructionSet::Aarch64, kind) => {
                aarch64_offset(kind, self.instruction()?, value)?.to_le_bytes().to_vec()
            }
            (InstructionSet::Riscv64, kind) => {
                riscv64_offset(kind, self.instruction()?, value)?.to_le_bytes().to_vec()
            }
            _ => return None,
        };
        Some(Edit::value(self.offset, bytes))
    }

    /// What a local-dynamic access adds to the start of the block, which is the thread pointer once it is
    /// [rewritten](Self::dynamic).
    fn block_offset(&self, offset: i64) -> Option<Edit> {
        let value = offset.checked_add(self.addend?)?;
        let bytes = match (self.instructions, self.kind) {
            _ if !self.local_dynamic => return None,
            (InstructionSet::X86_64, elf::R_X86_64_DTPOFF32) => {
                i32::try_from(value).ok()?.to_le_bytes().to_vec()
            }
            (InstructionSet::X86_64, elf::R_X86_64_DTPOFF64) => value.to_le_bytes().to_vec(),
            _ => return None,
        };
        Some(Edit::value(self.offset, bytes))
    }

    /// A sequence that asks the loader (`__tls_get_addr`, a descriptor), for which there is a shorter one.
    fn dynamic(&self, offset: i64) -> Option<Edit> {
        use livepatch_object::address::SectionOffset;
        use livepatch_object::architecture::Architecture;
        use livepatch_object::relocatable::{Relocation, SymbolId};
        use livepatch_object::relocation::RelocationKind;
        let architecture = match (self.instructions, self.kind) {
            (
                InstructionSet::X86_64,
                elf::R_X86_64_TLSGD | elf::R_X86_64_GOTPC32_TLSDESC | elf::R_X86_64_TLSDESC_CALL,
            ) => Architecture::X86_64,
            (InstructionSet::X86_64, elf::R_X86_64_TLSLD) if self.local_dynamic => Architecture::X86_64,
            (
                InstructionSet::Aarch64,
                elf::R_AARCH64_TLSDESC_ADR_PAGE21
                | elf::R_AARCH64_TLSDESC_LD64_LO12
                | elf::R_AARCH64_TLSDESC_ADD_LO12
                | elf::R_AARCH64_TLSDESC_CALL,
            ) if self.addend == Some(0) => Architecture::Aarch64,
            _ => return None,
        };
        let relocation = Relocation {
            offset: SectionOffset(self.offset as u64),
            kind: RelocationKind::new(architecture, self.kind),
            symbol: SymbolId(0),
            addend: self.addend?,
        };
        // The sequences begin at most 4 bytes before the field and end at most 13 after it.
        let end = self.offset.saturating_add(16).min(self.data.len());
        let old = self.data.get(..end)?;
        let mut code = old.to_vec();
        let swallows = livepatch_object::tls::relax(&mut code, &relocation, offset).ok()?;
        // Bytes beside these may be another relocation's.
        let differs = |at: &usize| code.get(*at) != old.get(*at);
        let (first, last) = ((0..end).find(differs)?, (0..end).rfind(differs)?);
        let patch = Some((first, code.get(first..=last)?.to_vec()));
        Some(Edit { kind: 0, cell: None, patch, swallows })
    }

    /// The instruction, or the word, at the field.
    fn instruction(&self) -> Option<u32> {
        let bytes = self.data.get(self.offset..self.offset.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }
}

use InstructionSet::{Aarch64, Arm, I686, Riscv64, X86_64};

/// References through a GOT slot, and the type of the same reference to a word: CODE_4_GOTPCRELX is 43.
const GOT: &[(InstructionSet, u32, u32)] = &[
    (X86_64, elf::R_X86_64_GOTPCREL, elf::R_X86_64_PC32),
    (X86_64, elf::R_X86_64_GOTPCRELX, elf::R_X86_64_PC32),
    (X86_64, elf::R_X86_64_REX_GOTPCRELX, elf::R_X86_64_PC32),
    (X86_64, 43, elf::R_X86_64_PC32),
    (Aarch64, elf::R_AARCH64_ADR_GOT_PAGE, elf::R_AARCH64_ADR_PREL_PG_HI21),
    (Aarch64, elf::R_AARCH64_LD64_GOT_LO12_NC, elf::R_AARCH64_LDST64_ABS_LO12_NC),
    (Aarch64, elf::R_AARCH64_GOT_LD_PREL19, elf::R_AARCH64_LD_PREL_LO19),
    (Arm, elf::R_ARM_GOT_PREL, elf::R_ARM_REL32),
    (Arm, elf::R_ARM_GOT32, elf::R_ARM_GOTOFF),
    (I686, elf::R_386_GOT32, elf::R_386_GOTOFF),
    (I686, elf::R_386_GOT32X, elf::R_386_GOTOFF),
    (Riscv64, elf::R_RISCV_GOT_HI20, elf::R_RISCV_PCREL_HI20),
];

/// The same for slots that hold a thread-local's offset. CODE_4_GOTTPOFF is 44.
const INITIAL_EXEC: &[(InstructionSet, u32, u32)] = &[
    (X86_64, elf::R_X86_64_GOTTPOFF, elf::R_X86_64_PC32),
    (X86_64, 44, elf::R_X86_64_PC32),
    (Aarch64, elf::R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21, elf::R_AARCH64_ADR_PREL_PG_HI21),
    (Aarch64, elf::R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC, elf::R_AARCH64_LDST64_ABS_LO12_NC),
    (Aarch64, elf::R_AARCH64_TLSIE_LD_GOTTPREL_PREL19, elf::R_AARCH64_LD_PREL_LO19),
    (Arm, elf::R_ARM_TLS_IE32, elf::R_ARM_REL32),
    (I686, elf::R_386_TLS_GOTIE, elf::R_386_GOTOFF),
    (Riscv64, elf::R_RISCV_TLS_GOT_HI20, elf::R_RISCV_PCREL_HI20),
];

/// The instruction with its part of an offset (AAELF64 5.7.12).
fn aarch64_offset(kind: u32, instruction: u32, value: i64) -> Option<u32> {
    let value = u32::try_from(value).ok().filter(|value| value >> 24 == 0)?;
    let (field, scale) = match kind {
        elf::R_AARCH64_TLSLE_ADD_TPREL_HI12 => (value >> 12, 0),
        elf::R_AARCH64_TLSLE_ADD_TPREL_LO12_NC => (value & 0xfff, 0),
        elf::R_AARCH64_TLSLE_LDST8_TPREL_LO12_NC => (value & 0xfff, 0),
        elf::R_AARCH64_TLSLE_LDST16_TPREL_LO12_NC => (value & 0xfff, 1),
        elf::R_AARCH64_TLSLE_LDST32_TPREL_LO12_NC => (value & 0xfff, 2),
        elf::R_AARCH64_TLSLE_LDST64_TPREL_LO12_NC => (value & 0xfff, 3),
        _ => return None,
    };
    let exact = field & ((1 << scale) - 1) == 0;
    exact.then_some(instruction & !(0xfff << 10) | (field >> scale) << 10)
}

/// The instruction with its part of an offset (RISC-V psABI 8.4.5).
fn riscv64_offset(kind: u32, instruction: u32, value: i64) -> Option<u32> {
    let value = i32::try_from(value).ok()?.cast_unsigned();
    Some(match kind {
        elf::R_RISCV_TPREL_HI20 => instruction & 0xfff | value.wrapping_add(0x800) & 0xffff_f000,
        elf::R_RISCV_TPREL_LO12_I => instruction & 0x000f_ffff | value << 20,
        elf::R_RISCV_TPREL_LO12_S => {
            instruction & 0x01ff_f07f | (value >> 5 & 0x7f) << 25 | (value & 0x1f) << 7
        }
        elf::R_RISCV_TPREL_ADD => instruction,
        _ => return None,
    })
}
