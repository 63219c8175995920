//! The instruction sets whose code can be patched.

use object::elf;

/// An instruction set, with its relocations and its way of finding thread-locals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Architecture {
    /// x86-64, little-endian.
    #[default]
    X86_64,
    /// AArch64, little-endian (A64 instructions).
    Aarch64,
}

impl Architecture {
    /// The one that an ELF header names (`e_machine`); none for one that is not known here.
    pub fn of_machine(machine: u16) -> Option<Self> {
        match machine {
            elf::EM_X86_64 => Some(Self::X86_64),
            elf::EM_AARCH64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// What an ELF header calls it.
    pub fn machine(self) -> u16 {
        match self {
            Self::X86_64 => elf::EM_X86_64,
            Self::Aarch64 => elf::EM_AARCH64,
        }
    }

    /// Its name, as target triples have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}
