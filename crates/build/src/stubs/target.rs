//! What a stub object is made for: a container, an instruction set, and what its linker gets right.

use super::StubError;
use object::{Architecture, BinaryFormat, Object as _, ObjectKind};

/// The container of objects and images.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// Linux, Android.
    Elf,
    /// macOS, the iOS simulator.
    MachO,
    /// Windows.
    Coff,
}

/// What trampolines are written in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InstructionSet {
    /// x86-64.
    X86_64,
    /// AArch64 (A64).
    Aarch64,
    /// ARMv7 in ARM state (A32).
    Arm,
    /// ARMv7 in Thumb state (T32).
    Thumb,
    /// 32-bit x86.
    I686,
    /// 64-bit RISC-V.
    Riscv64,
}

impl InstructionSet {
    /// Bytes of an address.
    pub fn pointer_size(self) -> usize {
        match self {
            Self::Arm | Self::Thumb | Self::I686 => 4,
            Self::X86_64 | Self::Aarch64 | Self::Riscv64 => 8,
        }
    }

    /// Whether two are run by one machine: ARM and Thumb are.
    pub fn same_machine(self, other: Self) -> bool {
        let machine = |of| if of == Self::Thumb { Self::Arm } else { of };
        machine(self) == machine(other)
    }

    fn of(architecture: Architecture) -> Option<Self> {
        Some(match architecture {
            Architecture::X86_64 => Self::X86_64,
            Architecture::Aarch64 => Self::Aarch64,
            Architecture::Arm => Self::Arm,
            Architecture::I386 => Self::I686,
            Architecture::Riscv64 => Self::Riscv64,
            _ => return None,
        })
    }
}

/// The linker that a patch library is made with, as far as it makes a difference here.
///
/// A patch library is position independent, so a GOT slot whose symbol is absolute must not be relocated when the
/// library is loaded. GNU ld (seen in 2.40) relocates it all the same on AArch64, ARM and RISC-V, which
/// adds the library's load bias to an address that has nothing to do with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Linker {
    /// One of which nothing is known, or GNU ld.
    #[default]
    Any,
    /// LLVM's: absolute symbols are right everywhere in ELF.
    Lld,
}

/// What a stub object is made for.
///
/// ```
/// use livepatch_build::stubs::StubTarget;
///
/// assert_eq!(StubTarget::from_triple("aarch64-linux-android"), Some(StubTarget::ELF_AARCH64));
/// assert_eq!(StubTarget::from_triple("wasm32-unknown-unknown"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StubTarget {
    pub(super) format: Format,
    pub(super) instructions: InstructionSet,
    pub(super) linker: Linker,
}

impl StubTarget {
    /// Linux and Android on x86-64.
    pub const ELF_X86_64: Self = Self::new(Format::Elf, InstructionSet::X86_64);
    /// Linux and Android on AArch64.
    pub const ELF_AARCH64: Self = Self::new(Format::Elf, InstructionSet::Aarch64);
    /// Linux and Android on ARMv7, trampolines in ARM state.
    pub const ELF_ARM: Self = Self::new(Format::Elf, InstructionSet::Arm);
    /// Linux and Android on ARMv7, trampolines in Thumb state.
    pub const ELF_THUMB: Self = Self::new(Format::Elf, InstructionSet::Thumb);
    /// Linux and Android on 32-bit x86.
    pub const ELF_I686: Self = Self::new(Format::Elf, InstructionSet::I686);
    /// Linux and Android on RISC-V.
    pub const ELF_RISCV64: Self = Self::new(Format::Elf, InstructionSet::Riscv64);
    /// macOS and the iOS simulator on x86-64.
    pub const MACHO_X86_64: Self = Self::new(Format::MachO, InstructionSet::X86_64);
    /// macOS and the iOS simulator on AArch64.
    pub const MACHO_AARCH64: Self = Self::new(Format::MachO, InstructionSet::Aarch64);
    /// Windows on x86-64.
    pub const COFF_X86_64: Self = Self::new(Format::Coff, InstructionSet::X86_64);
    /// Windows on AArch64.
    pub const COFF_AARCH64: Self = Self::new(Format::Coff, InstructionSet::Aarch64);

    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::ELF_X86_64,
        Self::ELF_AARCH64,
        Self::ELF_ARM,
        Self::ELF_THUMB,
        Self::ELF_I686,
        Self::ELF_RISCV64,
        Self::MACHO_X86_64,
        Self::MACHO_AARCH64,
        Self::COFF_X86_64,
        Self::COFF_AARCH64,
    ];

    pub(super) const fn new(format: Format, instructions: InstructionSet) -> Self {
        Self { format, instructions, linker: Linker::Any }
    }

    /// The same for a linker that is known.
    pub const fn with_linker(self, linker: Linker) -> Self {
        Self { linker, ..self }
    }

    /// The target of a rustc or clang triple; none if stubs cannot be made for it.
    pub fn from_triple(triple: &str) -> Option<Self> {
        let architecture = triple.split('-').next()?;
        let has = |what: &str| triple.split('-').skip(1).any(|part| part.starts_with(what));
        let format = if has("linux") {
            Format::Elf
        } else if has("darwin") || has("macos") || has("ios") {
            Format::MachO
        } else if has("windows") {
            Format::Coff
        } else {
            return None;
        };
        let instructions = match architecture {
            "x86_64" => InstructionSet::X86_64,
            "aarch64" | "arm64" => InstructionSet::Aarch64,
            "i386" | "i486" | "i586" | "i686" => InstructionSet::I686,
            _ if architecture.starts_with("riscv64") => InstructionSet::Riscv64,
            _ if architecture.starts_with("thumbv7") => InstructionSet::Thumb,
            _ if architecture.starts_with("armv7") => InstructionSet::Arm,
            _ => return None,
        };
        Self::ALL.into_iter().find(|one| one.format == format && one.instructions == instructions)
    }

    /// The target that a relocatable object is for. An ARM object says nothing of its state: [`Self::ELF_ARM`],
    /// whose trampolines serve both.
    pub fn of_object(object: &[u8]) -> Result<Self, StubError> {
        let file = super::readable::parse(object, "relocatable object")?;
        if file.kind() != ObjectKind::Relocatable {
            return Err(StubError::NotRelocatable { found: format!("{:?}", file.kind()) });
        }
        Self::of(&file)
    }

    pub(super) fn of(file: &object::File<'_>) -> Result<Self, StubError> {
        let architecture = file.architecture();
        let unsupported =
            || StubError::UnsupportedTarget { found: format!("{architecture:?} {:?}", file.format()) };
        let format = match file.format() {
            BinaryFormat::Elf => Format::Elf,
            BinaryFormat::MachO => Format::MachO,
            BinaryFormat::Coff | BinaryFormat::Pe => Format::Coff,
            _ => return Err(unsupported()),
        };
        let instructions = InstructionSet::of(architecture).ok_or_else(unsupported)?;
        Self::ALL
            .into_iter()
            .find(|one| {
                one.format == format
                    && one.instructions == instructions
                    && file.is_little_endian()
                    // x32 and ILP32 are other targets; COFF objects do not say.
                    && (format != Format::Elf || file.is_64() == (instructions.pointer_size() == 8))
            })
            .ok_or_else(unsupported)
    }

    /// The container.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What trampolines are written in.
    pub fn instructions(&self) -> InstructionSet {
        self.instructions
    }

    /// Whether objects for one can be linked with objects for the other.
    pub fn links_with(&self, other: &Self) -> bool {
        self.format == other.format && self.instructions.same_machine(other.instructions)
    }

    /// Whether the linker leaves a GOT slot or a word alone whose symbol is absolute.
    pub(super) fn absolute_symbols_work(&self) -> bool {
        match (self.format, self.instructions) {
            (Format::Elf, InstructionSet::X86_64 | InstructionSet::I686) => true,
            (Format::Elf, _) => self.linker == Linker::Lld,
            // Symbols have 32 bits in COFF; Mach-O linkers turn loads from the GOT into address arithmetic
            // that does not reach.
            (Format::Coff | Format::MachO, _) => false,
        }
    }
}

impl std::fmt::Display for StubTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.format, self.instructions)
    }
}
