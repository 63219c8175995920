//! The machines whose shared objects are understood, and how wide their words are.

use object::elf;
use std::fmt;

/// `EI_CLASS`: how wide addresses are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// `ELFCLASS32`.
    Elf32,
    /// `ELFCLASS64`.
    Elf64,
}

impl Class {
    /// Bytes of an address.
    pub fn word(self) -> usize {
        match self {
            Self::Elf32 => 4,
            Self::Elf64 => 8,
        }
    }

    /// Bytes of an entry of a table, whose size differs between the two.
    pub(crate) fn either(self, elf32: usize, elf64: usize) -> usize {
        match self {
            Self::Elf32 => elf32,
            Self::Elf64 => elf64,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-bit", self.word() * 8)
    }
}

/// A machine whose relocations are known, always little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Machine {
    /// `EM_X86_64`.
    X86_64,
    /// `EM_AARCH64`.
    Aarch64,
    /// `EM_ARM`.
    Arm,
    /// `EM_386`.
    I386,
    /// `EM_RISCV`, 64-bit.
    Riscv64,
}

impl Machine {
    /// Every one of them.
    pub const ALL: [Self; 5] = [Self::X86_64, Self::Aarch64, Self::Arm, Self::I386, Self::Riscv64];

    /// The one that `e_machine` and `EI_CLASS` name.
    pub fn of(number: u16, class: Class) -> Option<Self> {
        Self::ALL.into_iter().find(|machine| machine.number() == number && machine.class() == class)
    }

    /// The one that this code was compiled for, if it is one of them.
    pub const fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else if cfg!(target_arch = "arm") {
            Some(Self::Arm)
        } else if cfg!(target_arch = "x86") {
            Some(Self::I386)
        } else if cfg!(target_arch = "riscv64") {
            Some(Self::Riscv64)
        } else {
            None
        }
    }

    /// `e_machine`.
    pub fn number(self) -> u16 {
        match self {
            Self::X86_64 => elf::EM_X86_64,
            Self::Aarch64 => elf::EM_AARCH64,
            Self::Arm => elf::EM_ARM,
            Self::I386 => elf::EM_386,
            Self::Riscv64 => elf::EM_RISCV,
        }
    }

    /// `EI_CLASS`.
    pub fn class(self) -> Class {
        match self {
            Self::X86_64 | Self::Aarch64 | Self::Riscv64 => Class::Elf64,
            Self::Arm | Self::I386 => Class::Elf32,
        }
    }

    /// Its folder in an Android package.
    pub fn abi(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "arm64-v8a",
            Self::Arm => "armeabi-v7a",
            Self::I386 => "x86",
            Self::Riscv64 => "riscv64",
        }
    }
}

/// `e_machine` as the headers spell it.
pub(crate) fn machine_name(number: u16) -> String {
    match number {
        elf::EM_X86_64 => "EM_X86_64".to_owned(),
        elf::EM_AARCH64 => "EM_AARCH64".to_owned(),
        elf::EM_ARM => "EM_ARM".to_owned(),
        elf::EM_386 => "EM_386".to_owned(),
        elf::EM_RISCV => "EM_RISCV".to_owned(),
        elf::EM_MIPS => "EM_MIPS".to_owned(),
        other => format!("EM_??? ({other})"),
    }
}
