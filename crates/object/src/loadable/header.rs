//! The ELF header (generic ABI, "ELF Header").

use super::fields::Fields;
use super::machine::{Class, Machine};
use super::problem::Problem;
use crate::address::FileOffset;
use object::elf;

/// An ELF header whose identification was checked; the rest is as the file has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// How wide its addresses are.
    pub class: Class,
    /// `e_type`.
    pub kind: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `e_version`.
    pub version: u32,
    /// `e_phoff`.
    pub program_headers: FileOffset,
    /// `e_phentsize`.
    pub program_header_size: u16,
    /// `e_phnum`.
    pub program_header_count: u16,
    /// `e_shoff`.
    pub section_headers: FileOffset,
    /// `e_shentsize`.
    pub section_header_size: u16,
    /// `e_shnum`.
    pub section_header_count: u16,
    /// `e_shstrndx`.
    pub section_names: u16,
}

/// Bytes of the shorter of the two headers.
const SHORTEST: usize = 52;
/// Bytes of the longer of the two headers.
pub const LONGEST: usize = 64;

impl Header {
    /// Reads it from a file's beginning.
    pub fn read(file: &[u8]) -> Result<Self, Problem> {
        let small = Problem::TooSmall { length: file.len() };
        // As Android's linker does: what is shorter than any header is that, and nothing else.
        if file.len() < SHORTEST {
            return Err(small);
        }
        let magic = *file.first_chunk::<4>().ok_or(small.clone())?;
        if magic != elf::ELFMAG {
            return Err(Problem::BadMagic(magic));
        }
        let (class, data) = match file {
            [_, _, _, _, class, data, ..] => (*class, *data),
            _ => return Err(small),
        };
        let class = match class {
            elf::ELFCLASS32 => Class::Elf32,
            elf::ELFCLASS64 => Class::Elf64,
            other => return Err(Problem::BadClass(other)),
        };
        if data != elf::ELFDATA2LSB {
            return Err(Problem::NotLittleEndian(data));
        }
        Self::fields(Fields::new(file, class)).ok_or(small)
    }

    fn fields(f: Fields<'_>) -> Option<Self> {
        let class = f.class;
        // Behind e_entry, three words of the class's width; everything after shifts by that.
        let after = class.either(0x24, 0x30);
        Some(Self {
            class,
            kind: f.u16(0x10)?,
            machine: f.u16(0x12)?,
            version: f.u32(0x14)?,
            program_headers: FileOffset(f.word(class.either(0x1c, 0x20))?),
            section_headers: FileOffset(f.word(class.either(0x20, 0x28))?),
            program_header_size: f.u16(after + 6)?,
            program_header_count: f.u16(after + 8)?,
            section_header_size: f.u16(after + 10)?,
            section_header_count: f.u16(after + 12)?,
            section_names: f.u16(after + 14)?,
        })
    }

    /// Checks that it is a shared object of `machine`, as Android's linker does, in its order.
    pub fn verify(&self, machine: Machine) -> Result<(), Problem> {
        if self.class != machine.class() {
            return Err(Problem::WrongClass { found: self.class, wanted: machine.class() });
        }
        if self.kind != elf::ET_DYN {
            return Err(Problem::BadType(self.kind));
        }
        if self.version != u32::from(elf::EV_CURRENT) {
            return Err(Problem::BadVersion(self.version));
        }
        if self.machine != machine.number() {
            return Err(Problem::WrongMachine { found: self.machine, wanted: machine.number() });
        }
        Ok(())
    }

    /// What Android's linker asks of the section headers for apps of API level 26 and later, though it never
    /// loads anything by them.
    pub fn verify_sections(&self) -> Result<(), Problem> {
        let wanted = self.class.either(40, 64);
        if usize::from(self.section_header_size) != wanted {
            return Err(Problem::BadSectionHeaderSize { found: self.section_header_size, wanted });
        }
        if self.section_names == 0 {
            return Err(Problem::BadSectionNames);
        }
        Ok(())
    }

    /// The machine, if it is one that is known.
    pub fn known_machine(&self) -> Option<Machine> {
        Machine::of(self.machine, self.class)
    }
}
