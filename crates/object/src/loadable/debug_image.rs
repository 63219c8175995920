//! An ELF image that describes a loaded library to a debugger: its code's addresses, its functions' names and how
//! to unwind through them, all at run-time addresses. Debug information is not in it: its addresses are link-time
//! ones, and nothing says where they are.

use super::machine::{Class, Machine};
use crate::ObjectError;
use crate::address::Slide;
use object::elf;
use object::read::{Object, ObjectSection, ObjectSymbol};
use object::write::elf::{FileHeader, SectionHeader, Sym, Writer};
use object::{Endianness, SectionKind, SymbolKind};

/// A function or an object, at its run-time address.
struct Named<'data> {
    name: &'data [u8],
    address: u64,
    size: u64,
    kind: u8,
}

/// What is known of a library's file of which this is the slide.
///
/// Of symbols, those of `.symtab` if there is one, otherwise those of the dynamic symbol table.
pub fn describe(file: &[u8], slide: Slide, machine: Machine) -> Result<Vec<u8>, ObjectError> {
    let library = object::File::parse(file).map_err(ObjectError::container("shared object"))?;
    let named = symbols(&library, slide);
    let code = library.sections().filter(|section| section.kind() == SectionKind::Text);
    let code: Vec<(u64, u64)> =
        code.map(|section| (slide.bits().wrapping_add(section.address()), section.size())).collect();
    let frames = library.section_by_name(".eh_frame");
    let frames =
        frames.and_then(|section| Some((slide.bits().wrapping_add(section.address()), section.data().ok()?)));
    let mut bytes = Vec::new();
    write(&mut bytes, machine, &named, &code, frames)
        .map_err(|_| ObjectError::Inconsistent { what: "what a debugger is to be told" })?;
    Ok(bytes)
}

fn symbols<'data>(library: &object::File<'data>, slide: Slide) -> Vec<Named<'data>> {
    let named = |symbol: object::Symbol<'data, '_>| {
        let kind = match symbol.kind() {
            SymbolKind::Text => elf::STT_FUNC,
            SymbolKind::Data => elf::STT_OBJECT,
            _ => return None,
        };
        let name = symbol.name_bytes().ok().filter(|name| !name.is_empty())?;
        let address = slide.bits().wrapping_add(symbol.address());
        (symbol.is_definition()).then_some(Named { name, address, size: symbol.size(), kind })
    };
    let all: Vec<_> = library.symbols().filter_map(named).collect();
    if all.is_empty() { library.dynamic_symbols().filter_map(named).collect() } else { all }
}

fn write(
    bytes: &mut Vec<u8>,
    machine: Machine,
    named: &[Named<'_>],
    code: &[(u64, u64)],
    frames: Option<(u64, &[u8])>,
) -> object::write::Result<()> {
    let mut writer = Writer::new(Endianness::Little, machine.class() == Class::Elf64, bytes);
    writer.reserve_file_header();
    let frames_offset = frames.map(|(_, data)| writer.reserve(data.len(), 8));
    let names: Vec<_> = named.iter().map(|symbol| writer.add_string(symbol.name)).collect();
    writer.reserve_null_symbol_index();
    for _ in named {
        writer.reserve_symbol_index(None);
    }
    let texts: Vec<_> =
        code.iter().map(|_| (writer.add_section_name(b".text"), writer.reserve_section_index())).collect();
    let frames_name = frames.map(|_| (writer.add_section_name(b".eh_frame"), writer.reserve_section_index()));
    writer.reserve_symtab_section_index();
    writer.reserve_strtab_section_index();
    writer.reserve_shstrtab_section_index();
    writer.reserve_symtab();
    writer.reserve_strtab();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();
    writer.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: machine.number(),
        e_entry: 0,
        e_flags: 0,
    })?;
    if let Some((_, data)) = frames {
        writer.write_align(8);
        writer.write(data);
    }
    writer.write_null_symbol();
    for (symbol, name) in named.iter().zip(names) {
        let inside = code.iter().position(|(start, size)| symbol.address.wrapping_sub(*start) < *size);
        writer.write_symbol(&Sym {
            name: Some(name),
            section: inside.map(|index| texts[index].1),
            st_info: elf::STB_GLOBAL << 4 | symbol.kind,
            st_other: 0,
            st_shndx: elf::SHN_ABS,
            st_value: symbol.address,
            st_size: symbol.size,
        });
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    let section = |name, sh_type, sh_flags: u32, sh_addr, sh_offset, sh_size| SectionHeader {
        name: Some(name),
        sh_type,
        sh_flags: sh_flags.into(),
        sh_addr,
        sh_offset,
        sh_size,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 8,
        sh_entsize: 0,
    };
    for (&(address, size), (name, _)) in code.iter().zip(&texts) {
        let flags = elf::SHF_ALLOC | elf::SHF_EXECINSTR;
        writer.write_section_header(&section(*name, elf::SHT_NOBITS, flags, address, 0, size));
    }
    if let (Some((address, data)), Some((name, _)), Some(offset)) = (frames, frames_name, frames_offset) {
        let size = data.len() as u64;
        writer.write_section_header(&section(
            name,
            elf::SHT_PROGBITS,
            elf::SHF_ALLOC,
            address,
            offset as u64,
            size,
        ));
    }
    writer.write_symtab_section_header(1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    Ok(())
}
