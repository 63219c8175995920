//! A relocatable ELF object: code, words, notes, symbols.
//!
//! Specification: System V gABI chapter 4; `.note.gnu.property` in the x86-64 psABI and AAELF64.

use super::{align, field};
use crate::stubs::StubError;
use crate::stubs::cache::Facts;
use crate::stubs::layout::{Kind, Layout, Place, StubSymbol};
use crate::stubs::target::InstructionSet;
use object::elf;

/// Section names, and where each is among them.
const NAMES: &[u8] = b"\0.text\0.rodata\0.note.GNU-stack\0.note.gnu.property\0.symtab\0.strtab\0.shstrtab\0";
const NAME_TEXT: u32 = 1;
const NAME_CELLS: u32 = 7;
const NAME_STACK: u32 = 15;
const NAME_PROPERTY: u32 = 31;
const NAME_SYMTAB: u32 = 50;
const NAME_STRTAB: u32 = 58;
const NAME_SHSTRTAB: u32 = 66;

const SECTION_TEXT: u16 = 1;
const SECTION_CELLS: u16 = 2;
const SECTION_STRTAB: u32 = 6;
const SECTION_SHSTRTAB: u16 = 7;
const SECTIONS: u16 = 8;

/// A section header, of either class.
#[derive(Default)]
struct Section {
    name: u32,
    kind: u32,
    flags: u32,
    start: usize,
    size: usize,
    link: u32,
    info: u32,
    align: usize,
    entry: usize,
}

/// Writes a stub object.
pub(super) fn write(layout: &Layout<'_>, host: &Facts) -> Result<Vec<u8>, StubError> {
    let wide = layout.target.instructions.pointer_size() == 8;
    let class = Class { wide };
    let locals = mapping_symbol(layout.target.instructions);
    let count = 1 + locals.iter().len() + layout.symbols.len();
    let size = layout.text.len() + layout.cells.len() + count * class.symbol_size() + layout.names + 1024;
    let mut out = Vec::with_capacity(size);
    out.resize(class.header_size(), 0);
    let mut sections = vec![Section::default()];
    let mut add = |out: &mut Vec<u8>, bytes: &[u8], section: Section| {
        align(out, section.align);
        sections.push(Section { start: out.len(), size: bytes.len(), ..section });
        out.extend_from_slice(bytes);
    };
    let contents =
        |name, flags, align| Section { name, kind: elf::SHT_PROGBITS, flags, align, ..Section::default() };
    add(&mut out, &layout.text, contents(NAME_TEXT, elf::SHF_ALLOC | elf::SHF_EXECINSTR, 16));
    // Not mergeable: a linker must not fold words whose addresses code holds.
    add(&mut out, &layout.cells, contents(NAME_CELLS, elf::SHF_ALLOC, 8));
    // Without this one the whole library asks for an executable stack.
    add(&mut out, &[], contents(NAME_STACK, 0, 1));
    let note = Section { kind: elf::SHT_NOTE, ..contents(NAME_PROPERTY, elf::SHF_ALLOC, class.word()) };
    let property = property(layout.target.instructions, wide);
    // An empty note is one for some linkers.
    let unused = Section { kind: elf::SHT_NULL, align: 1, ..Section::default() };
    add(&mut out, &property, if property.is_empty() { unused } else { note });
    let mut strings = Vec::with_capacity(layout.names + 8);
    let symbols = symbols(layout, class, locals, &mut strings)?;
    let symtab = Section {
        name: NAME_SYMTAB,
        kind: elf::SHT_SYMTAB,
        link: SECTION_STRTAB,
        info: 1 + locals.iter().len() as u32,
        align: class.word(),
        entry: class.symbol_size(),
        ..Section::default()
    };
    add(&mut out, &symbols, symtab);
    let text = |name| Section { name, kind: elf::SHT_STRTAB, align: 1, ..Section::default() };
    add(&mut out, &strings, text(NAME_STRTAB));
    add(&mut out, NAMES, text(NAME_SHSTRTAB));
    align(&mut out, class.word());
    let table = out.len();
    for section in &sections {
        class.section(&mut out, section)?;
    }
    let indirect = layout.symbols.iter().any(|symbol| symbol.kind == Kind::IndirectFunction);
    let header = class.header(layout.target.instructions, host.elf_flags, indirect, field(table)?);
    out[..header.len()].copy_from_slice(&header);
    Ok(out)
}

/// The symbol that tells linkers and disassemblers what state code is in.
fn mapping_symbol(instructions: InstructionSet) -> Option<&'static str> {
    match instructions {
        InstructionSet::Aarch64 => Some("$x"),
        InstructionSet::Arm => Some("$a"),
        InstructionSet::Thumb => Some("$t"),
        InstructionSet::X86_64 | InstructionSet::I686 | InstructionSet::Riscv64 => None,
    }
}

fn symbols(
    layout: &Layout<'_>,
    class: Class,
    mapping: Option<&str>,
    strings: &mut Vec<u8>,
) -> Result<Vec<u8>, StubError> {
    let mut out = Vec::with_capacity((layout.symbols.len() + 2) * class.symbol_size());
    let mut string = |name: &str| {
        let at = field(strings.len());
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
        at
    };
    string("")?;
    class.symbol(&mut out, &Symbol::default());
    if let Some(name) = mapping {
        let one = Symbol { name: string(name)?, section: SECTION_TEXT, ..Symbol::default() };
        class.symbol(&mut out, &one);
    }
    let bit = layout.function_bit();
    for StubSymbol { name, place, size, kind } in &layout.symbols {
        let (section, value) = match *place {
            Place::Text(at) => (SECTION_TEXT, at as u64 | bit),
            Place::Cells(at) => (SECTION_CELLS, at as u64),
            Place::Absolute(value) => (elf::SHN_ABS, value),
        };
        let kind = match kind {
            Kind::Function => elf::STT_FUNC,
            Kind::IndirectFunction => elf::STT_GNU_IFUNC,
            Kind::Data => elf::STT_OBJECT,
        };
        // Weak: what the patch or an archive defines comes first. Hidden: never seen from outside.
        let one = Symbol {
            name: string(name)?,
            info: elf::STB_WEAK << 4 | kind,
            other: elf::STV_HIDDEN,
            section,
            value,
            size: *size,
        };
        class.symbol(&mut out, &one);
    }
    Ok(out)
}

/// The note that says that all code here has landing pads. Linkers take for granted of a library only what all of
/// its objects say.
fn property(instructions: InstructionSet, wide: bool) -> Vec<u8> {
    const X86_FEATURES: u32 = 0xc000_0002;
    const AARCH64_FEATURES: u32 = 0xc000_0000;
    let (kind, features) = match instructions {
        // IBT, shadow stacks.
        InstructionSet::X86_64 => (X86_FEATURES, 1 | 2),
        // IBT only: a trampoline returns to where nobody called from.
        InstructionSet::I686 => (X86_FEATURES, 1),
        // BTI, signed return addresses, guarded control stacks: no trampoline touches a return address.
        InstructionSet::Aarch64 => (AARCH64_FEATURES, 1 | 2 | 4),
        InstructionSet::Arm | InstructionSet::Thumb | InstructionSet::Riscv64 => return Vec::new(),
    };
    let length: u32 = if wide { 16 } else { 12 };
    let mut out = Vec::new();
    for word in [4, length, elf::NT_GNU_PROPERTY_TYPE_0, u32::from_le_bytes(*b"GNU\0"), kind, 4, features] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.resize(16 + length as usize, 0);
    out
}

#[derive(Default)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u32,
}

/// `ELFCLASS64` or `ELFCLASS32`.
#[derive(Clone, Copy)]
struct Class {
    wide: bool,
}

impl Class {
    fn word(self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    fn header_size(self) -> usize {
        if self.wide { 64 } else { 52 }
    }

    fn symbol_size(self) -> usize {
        if self.wide { 24 } else { 16 }
    }

    /// A field as wide as an address. Values of 64 bits in a file of the smaller class were refused before.
    fn address(self, out: &mut Vec<u8>, value: u64) {
        out.extend_from_slice(&value.to_le_bytes()[..self.word()]);
    }

    fn symbol(self, out: &mut Vec<u8>, symbol: &Symbol) {
        out.extend_from_slice(&symbol.name.to_le_bytes());
        if !self.wide {
            self.address(out, symbol.value);
            out.extend_from_slice(&symbol.size.to_le_bytes());
        }
        out.extend_from_slice(&[symbol.info, symbol.other]);
        out.extend_from_slice(&symbol.section.to_le_bytes());
        if self.wide {
            self.address(out, symbol.value);
            self.address(out, symbol.size.into());
        }
    }

    fn section(self, out: &mut Vec<u8>, section: &Section) -> Result<(), StubError> {
        out.extend_from_slice(&section.name.to_le_bytes());
        out.extend_from_slice(&section.kind.to_le_bytes());
        self.address(out, section.flags.into());
        self.address(out, 0);
        self.address(out, field(section.start)?.into());
        self.address(out, field(section.size)?.into());
        out.extend_from_slice(&section.link.to_le_bytes());
        out.extend_from_slice(&section.info.to_le_bytes());
        self.address(out, section.align as u64);
        self.address(out, section.entry as u64);
        Ok(())
    }

    fn header(self, instructions: InstructionSet, host_flags: u32, indirect: bool, sections: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header_size());
        out.extend_from_slice(&elf::ELFMAG);
        let class = if self.wide { elf::ELFCLASS64 } else { elf::ELFCLASS32 };
        let abi = if indirect { elf::ELFOSABI_GNU } else { elf::ELFOSABI_NONE };
        out.extend_from_slice(&[class, elf::ELFDATA2LSB, elf::EV_CURRENT, abi]);
        out.resize(16, 0);
        let (machine, flags) = match instructions {
            InstructionSet::X86_64 => (elf::EM_X86_64, 0),
            InstructionSet::Aarch64 => (elf::EM_AARCH64, 0),
            InstructionSet::I686 => (elf::EM_386, 0),
            InstructionSet::Arm | InstructionSet::Thumb => (elf::EM_ARM, elf::EF_ARM_EABI_VER5),
            // The floating-point ABI: linkers refuse to mix.
            InstructionSet::Riscv64 => (elf::EM_RISCV, host_flags),
        };
        out.extend_from_slice(&elf::ET_REL.to_le_bytes());
        out.extend_from_slice(&machine.to_le_bytes());
        out.extend_from_slice(&1_u32.to_le_bytes());
        self.address(&mut out, 0);
        self.address(&mut out, 0);
        self.address(&mut out, sections.into());
        out.extend_from_slice(&flags.to_le_bytes());
        let section_size = if self.wide { 64 } else { 40 };
        for half in [self.header_size() as u16, 0, 0, section_size, SECTIONS, SECTION_SHSTRTAB] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        out
    }
}
