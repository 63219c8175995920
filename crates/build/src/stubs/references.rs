//! How code refers to a symbol: what each relocation type of each target means for it.
//!
//! Specifications: AMD64 psABI 4.4, i386 psABI 4.4, AAELF64 5.7, AAELF32 5.6, RISC-V psABI 8.4,
//! `mach-o/x86_64/reloc.h`, `mach-o/arm64/reloc.h`, PE/COFF "COFF Relocations".

use super::target::{Format, InstructionSet, StubTarget};
use object::RelocationFlags;

/// The ways in which code refers to a symbol, as a set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct References(u16);

impl References {
    /// None: only the symbol table names it.
    pub const NONE: Self = Self(0);
    /// A call or a branch.
    pub const CALL: Self = Self(1);
    /// Through a slot of the linker's (GOT), which holds its address.
    pub const GOT: Self = Self(1 << 1);
    /// By its distance from the code, which has a limited reach.
    pub const DIRECT: Self = Self(1 << 2);
    /// By its address, as a word of pointer size.
    pub const WORD: Self = Self(1 << 3);
    /// By its address in a field that cannot hold every address, or by its distance from the image's start.
    pub const NARROW: Self = Self(1 << 4);
    /// By its offset from the thread pointer, written into the code (local-exec).
    pub const THREAD_LOCAL_EXEC: Self = Self(1 << 5);
    /// By its offset from the thread pointer, in a slot of the linker's (initial-exec).
    pub const THREAD_INITIAL_EXEC: Self = Self(1 << 6);
    /// By asking the loader (general-dynamic, local-dynamic, descriptors).
    pub const THREAD_DYNAMIC: Self = Self(1 << 7);
    /// In a way that is not known here.
    pub const OTHER: Self = Self(1 << 8);

    /// The references that only a thread-local can have.
    pub const THREAD: Self =
        Self(Self::THREAD_LOCAL_EXEC.0 | Self::THREAD_INITIAL_EXEC.0 | Self::THREAD_DYNAMIC.0);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::CALL, "call"),
        (Self::GOT, "through the GOT"),
        (Self::DIRECT, "direct"),
        (Self::WORD, "word"),
        (Self::NARROW, "narrow"),
        (Self::THREAD_LOCAL_EXEC, "local-exec"),
        (Self::THREAD_INITIAL_EXEC, "initial-exec"),
        (Self::THREAD_DYNAMIC, "dynamic thread-local"),
        (Self::OTHER, "unknown"),
    ];

    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `others` is in here.
    pub const fn intersects(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether nothing but `others` is in here.
    pub const fn within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// What a relocation means.
    pub(super) fn of(target: StubTarget, flags: RelocationFlags) -> Self {
        let kind = match flags {
            RelocationFlags::Elf { r_type } => r_type,
            RelocationFlags::MachO { r_type, .. } => u32::from(r_type),
            RelocationFlags::Coff { typ } => u32::from(typ),
            _ => return Self::OTHER,
        };
        let found = table(target).iter().find(|(kinds, _)| kinds.contains(&kind));
        let means = found.map_or(Self::OTHER, |(_, means)| *means);
        match flags {
            RelocationFlags::MachO { r_length, .. } if means == Self::WORD && r_length != 3 => Self::NARROW,
            _ => means,
        }
    }
}

impl std::fmt::Display for References {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut names = Self::NAMES.iter().filter(|(one, _)| self.intersects(*one)).map(|(_, name)| *name);
        f.write_str(names.next().unwrap_or("none"))?;
        names.try_for_each(|name| write!(f, ", {name}"))
    }
}

impl std::fmt::Debug for References {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "References({self})")
    }
}

/// Relocation types, and what each of them means.
type Table = &'static [(&'static [u32], References)];

fn table(target: StubTarget) -> Table {
    match (target.format, target.instructions) {
        (Format::Elf, InstructionSet::X86_64) => ELF_X86_64,
        (Format::Elf, InstructionSet::Aarch64) => ELF_AARCH64,
        (Format::Elf, InstructionSet::Arm | InstructionSet::Thumb) => ELF_ARM,
        (Format::Elf, InstructionSet::I686) => ELF_I686,
        (Format::Elf, InstructionSet::Riscv64) => ELF_RISCV64,
        (Format::MachO, InstructionSet::X86_64) => MACHO_X86_64,
        (Format::MachO, _) => MACHO_AARCH64,
        (Format::Coff, InstructionSet::X86_64) => COFF_X86_64,
        (Format::Coff, _) => COFF_AARCH64,
    }
}

use object::{elf, macho, pe};

const ELF_X86_64: Table = &[
    (&[elf::R_X86_64_PLT32], References::CALL),
    (&[elf::R_X86_64_PC32, elf::R_X86_64_PC64, elf::R_X86_64_GOTOFF64], References::DIRECT),
    (
        // 43 is CODE_4_GOTPCRELX.
        &[elf::R_X86_64_GOTPCREL, elf::R_X86_64_GOTPCRELX, elf::R_X86_64_REX_GOTPCRELX, 43],
        References::GOT,
    ),
    (&[elf::R_X86_64_64], References::WORD),
    (&[elf::R_X86_64_32, elf::R_X86_64_32S, elf::R_X86_64_16, elf::R_X86_64_8], References::NARROW),
    (&[elf::R_X86_64_TPOFF32, elf::R_X86_64_TPOFF64], References::THREAD_LOCAL_EXEC),
    // 44 is CODE_4_GOTTPOFF.
    (&[elf::R_X86_64_GOTTPOFF, 44], References::THREAD_INITIAL_EXEC),
    (
        &[
            elf::R_X86_64_TLSGD,
            elf::R_X86_64_TLSLD,
            elf::R_X86_64_DTPOFF32,
            elf::R_X86_64_DTPOFF64,
            elf::R_X86_64_GOTPC32_TLSDESC,
            elf::R_X86_64_TLSDESC_CALL,
        ],
        References::THREAD_DYNAMIC,
    ),
];

const ELF_AARCH64: Table = &[
    (
        &[
            elf::R_AARCH64_CALL26,
            elf::R_AARCH64_JUMP26,
            elf::R_AARCH64_CONDBR19,
            elf::R_AARCH64_TSTBR14,
            314, // PLT32
        ],
        References::CALL,
    ),
    (
        &[
            elf::R_AARCH64_ADR_PREL_PG_HI21,
            elf::R_AARCH64_ADR_PREL_PG_HI21_NC,
            elf::R_AARCH64_ADR_PREL_LO21,
            elf::R_AARCH64_LD_PREL_LO19,
            elf::R_AARCH64_ADD_ABS_LO12_NC,
            elf::R_AARCH64_LDST8_ABS_LO12_NC,
            elf::R_AARCH64_LDST16_ABS_LO12_NC,
            elf::R_AARCH64_LDST32_ABS_LO12_NC,
            elf::R_AARCH64_LDST64_ABS_LO12_NC,
            elf::R_AARCH64_LDST128_ABS_LO12_NC,
            elf::R_AARCH64_PREL64,
            elf::R_AARCH64_PREL32,
            elf::R_AARCH64_PREL16,
        ],
        References::DIRECT,
    ),
    (
        &[
            elf::R_AARCH64_ADR_GOT_PAGE,
            elf::R_AARCH64_LD64_GOT_LO12_NC,
            elf::R_AARCH64_LD64_GOTPAGE_LO15,
            elf::R_AARCH64_GOT_LD_PREL19,
        ],
        References::GOT,
    ),
    (&[elf::R_AARCH64_ABS64], References::WORD),
    (&[elf::R_AARCH64_ABS32, elf::R_AARCH64_ABS16], References::NARROW),
    (
        &[544, 545, 546, 547, 548, 549, 550, 551, 552, 553, 554, 555, 556, 557, 558, 559, 570, 571],
        References::THREAD_LOCAL_EXEC,
    ),
    (&[539, 540, 541, 542, 543], References::THREAD_INITIAL_EXEC),
    (
        &[
            512, 513, 514, 515, 516, 517, 518, 519, 520, 521, 522, 560, 561, 562, 563, 564, 565, 566, 567,
            568, 569,
        ],
        References::THREAD_DYNAMIC,
    ),
];

const ELF_ARM: Table = &[
    (
        &[
            elf::R_ARM_CALL,
            elf::R_ARM_JUMP24,
            elf::R_ARM_PC24,
            elf::R_ARM_PLT32,
            elf::R_ARM_THM_PC22,
            elf::R_ARM_THM_JUMP24,
            elf::R_ARM_THM_JUMP19,
            elf::R_ARM_PREL31,
            elf::R_ARM_NONE,
        ],
        References::CALL,
    ),
    (
        &[
            elf::R_ARM_REL32,
            elf::R_ARM_GOTOFF,
            elf::R_ARM_MOVW_PREL_NC,
            elf::R_ARM_MOVT_PREL,
            elf::R_ARM_THM_MOVW_PREL_NC,
            elf::R_ARM_THM_MOVT_PREL,
        ],
        References::DIRECT,
    ),
    (&[elf::R_ARM_GOT32, elf::R_ARM_GOT_PREL, elf::R_ARM_GOT_ABS, elf::R_ARM_TARGET2], References::GOT),
    (&[elf::R_ARM_ABS32, elf::R_ARM_TARGET1], References::WORD),
    (
        &[elf::R_ARM_MOVW_ABS_NC, elf::R_ARM_MOVT_ABS, elf::R_ARM_THM_MOVW_ABS_NC, elf::R_ARM_THM_MOVT_ABS],
        References::NARROW,
    ),
    (&[elf::R_ARM_TLS_LE32], References::THREAD_LOCAL_EXEC),
    (&[elf::R_ARM_TLS_IE32], References::THREAD_INITIAL_EXEC),
    (
        &[
            elf::R_ARM_TLS_GD32,
            elf::R_ARM_TLS_LDM32,
            elf::R_ARM_TLS_LDO32,
            elf::R_ARM_TLS_GOTDESC,
            elf::R_ARM_TLS_CALL,
            elf::R_ARM_TLS_DESCSEQ,
            elf::R_ARM_THM_TLS_CALL,
        ],
        References::THREAD_DYNAMIC,
    ),
];

const ELF_I686: Table = &[
    (&[elf::R_386_PLT32], References::CALL),
    (&[elf::R_386_PC32, elf::R_386_GOTOFF], References::DIRECT),
    (&[elf::R_386_GOT32, elf::R_386_GOT32X], References::GOT),
    (&[elf::R_386_32], References::WORD),
    (&[elf::R_386_16, elf::R_386_8], References::NARROW),
    (&[elf::R_386_TLS_LE, elf::R_386_TLS_LE_32], References::THREAD_LOCAL_EXEC),
    (&[elf::R_386_TLS_IE, elf::R_386_TLS_GOTIE, elf::R_386_TLS_IE_32], References::THREAD_INITIAL_EXEC),
    (
        &[
            elf::R_386_TLS_GD,
            elf::R_386_TLS_LDM,
            elf::R_386_TLS_LDO_32,
            elf::R_386_TLS_GOTDESC,
            elf::R_386_TLS_DESC_CALL,
        ],
        References::THREAD_DYNAMIC,
    ),
];

const ELF_RISCV64: Table = &[
    (
        &[
            elf::R_RISCV_CALL,
            elf::R_RISCV_CALL_PLT,
            elf::R_RISCV_JAL,
            elf::R_RISCV_BRANCH,
            elf::R_RISCV_RVC_JUMP,
            elf::R_RISCV_RVC_BRANCH,
            59, // PLT32
        ],
        References::CALL,
    ),
    (&[elf::R_RISCV_PCREL_HI20, elf::R_RISCV_32_PCREL], References::DIRECT),
    // 41 is GOT32_PCREL.
    (&[elf::R_RISCV_GOT_HI20, 41], References::GOT),
    (&[elf::R_RISCV_64], References::WORD),
    (&[elf::R_RISCV_32, elf::R_RISCV_HI20, elf::R_RISCV_LO12_I, elf::R_RISCV_LO12_S], References::NARROW),
    (
        &[
            elf::R_RISCV_TPREL_HI20,
            elf::R_RISCV_TPREL_LO12_I,
            elf::R_RISCV_TPREL_LO12_S,
            elf::R_RISCV_TPREL_ADD,
        ],
        References::THREAD_LOCAL_EXEC,
    ),
    (&[elf::R_RISCV_TLS_GOT_HI20], References::THREAD_INITIAL_EXEC),
    // 62 to 65 are the descriptor's.
    (&[elf::R_RISCV_TLS_GD_HI20, 62, 63, 64, 65], References::THREAD_DYNAMIC),
];

const MACHO_X86_64: Table = &[
    (&[macho::X86_64_RELOC_BRANCH as u32], References::CALL),
    (
        &[
            macho::X86_64_RELOC_SIGNED as u32,
            macho::X86_64_RELOC_SIGNED_1 as u32,
            macho::X86_64_RELOC_SIGNED_2 as u32,
            macho::X86_64_RELOC_SIGNED_4 as u32,
        ],
        References::DIRECT,
    ),
    (&[macho::X86_64_RELOC_GOT_LOAD as u32, macho::X86_64_RELOC_GOT as u32], References::GOT),
    (&[macho::X86_64_RELOC_UNSIGNED as u32], References::WORD),
    (&[macho::X86_64_RELOC_TLV as u32], References::THREAD_DYNAMIC),
];

const MACHO_AARCH64: Table = &[
    (&[macho::ARM64_RELOC_BRANCH26 as u32], References::CALL),
    (&[macho::ARM64_RELOC_PAGE21 as u32, macho::ARM64_RELOC_PAGEOFF12 as u32], References::DIRECT),
    (
        &[
            macho::ARM64_RELOC_GOT_LOAD_PAGE21 as u32,
            macho::ARM64_RELOC_GOT_LOAD_PAGEOFF12 as u32,
            macho::ARM64_RELOC_POINTER_TO_GOT as u32,
        ],
        References::GOT,
    ),
    (&[macho::ARM64_RELOC_UNSIGNED as u32], References::WORD),
    (
        &[macho::ARM64_RELOC_TLVP_LOAD_PAGE21 as u32, macho::ARM64_RELOC_TLVP_LOAD_PAGEOFF12 as u32],
        References::THREAD_DYNAMIC,
    ),
];

const COFF_X86_64: Table = &[
    (
        // One type for calls and data alike.
        &[
            pe::IMAGE_REL_AMD64_REL32 as u32,
            pe::IMAGE_REL_AMD64_REL32_1 as u32,
            pe::IMAGE_REL_AMD64_REL32_2 as u32,
            pe::IMAGE_REL_AMD64_REL32_3 as u32,
            pe::IMAGE_REL_AMD64_REL32_4 as u32,
            pe::IMAGE_REL_AMD64_REL32_5 as u32,
        ],
        References::DIRECT,
    ),
    (&[pe::IMAGE_REL_AMD64_ADDR64 as u32], References::WORD),
    (&[pe::IMAGE_REL_AMD64_ADDR32 as u32, pe::IMAGE_REL_AMD64_ADDR32NB as u32], References::NARROW),
    (&[pe::IMAGE_REL_AMD64_SECREL as u32], References::THREAD_LOCAL_EXEC),
];

const COFF_AARCH64: Table = &[
    (
        &[
            pe::IMAGE_REL_ARM64_BRANCH26 as u32,
            pe::IMAGE_REL_ARM64_BRANCH19 as u32,
            pe::IMAGE_REL_ARM64_BRANCH14 as u32,
        ],
        References::CALL,
    ),
    (
        &[
            pe::IMAGE_REL_ARM64_PAGEBASE_REL21 as u32,
            pe::IMAGE_REL_ARM64_REL21 as u32,
            pe::IMAGE_REL_ARM64_PAGEOFFSET_12A as u32,
            pe::IMAGE_REL_ARM64_PAGEOFFSET_12L as u32,
            pe::IMAGE_REL_ARM64_REL32 as u32,
        ],
        References::DIRECT,
    ),
    (&[pe::IMAGE_REL_ARM64_ADDR64 as u32], References::WORD),
    (&[pe::IMAGE_REL_ARM64_ADDR32 as u32, pe::IMAGE_REL_ARM64_ADDR32NB as u32], References::NARROW),
    (
        &[
            pe::IMAGE_REL_ARM64_SECREL as u32,
            pe::IMAGE_REL_ARM64_SECREL_LOW12A as u32,
            pe::IMAGE_REL_ARM64_SECREL_HIGH12A as u32,
            pe::IMAGE_REL_ARM64_SECREL_LOW12L as u32,
        ],
        References::THREAD_LOCAL_EXEC,
    ),
];
