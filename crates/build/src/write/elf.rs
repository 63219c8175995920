//! Headers and tables around the image.
//!
//! The file starts with a page that holds the ELF header only; the image follows, with the program
//! headers as its first bytes. Specification: System V gABI chapters 4 and 5.

use super::WriteError;
use super::content::offset;
use super::debug::DebugSections;
use crate::place::{Layout, PAGE, Span};
use crate::resolve::Closure;
use livepatch_object::address::LinkAddress;
use livepatch_object::compare::is_named;
use livepatch_object::relocatable::{SectionKind, SymbolKind};
use object::elf;

const PHDR_SIZE: u64 = 56;
const SHDR_SIZE: usize = 64;
const SYM_SIZE: u64 = 24;
const MAX_PHDRS: u64 = 5;
/// `.dynsym` (one null symbol), `.dynstr` (one NUL, padded), `.hash` (one empty bucket), `.dynamic`.
const DYNSYM: u64 = MAX_PHDRS * PHDR_SIZE;
const DYNSTR: u64 = DYNSYM + SYM_SIZE;
const HASH: u64 = DYNSTR + 8;
const DYNAMIC: u64 = HASH + 16;
const DYNAMIC_TAGS: u64 = 6;

/// Bytes at the start of every image.
pub(super) const HEADERS: u64 = (DYNAMIC + DYNAMIC_TAGS * 16).next_multiple_of(16);

/// Where the image starts in the file.
const IMAGE_OFFSET: u64 = PAGE;

/// One entry of the section header table.
struct Header {
    name: &'static str,
    owned_name: String,
    kind: u32,
    flags: u32,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    align: u64,
    entry: u64,
}

impl Header {
    fn new(name: &'static str, kind: u32, flags: u32) -> Self {
        Self {
            name,
            owned_name: String::new(),
            kind,
            flags,
            address: 0,
            offset: 0,
            size: 0,
            link: 0,
            info: 0,
            align: 1,
            entry: 0,
        }
    }

    /// A section of the image.
    fn loaded(name: &'static str, kind: u32, flags: u32, base: LinkAddress, span: Span, align: u64) -> Self {
        let mut header = Self::new(name, kind, flags | elf::SHF_ALLOC);
        header.address = base.0.wrapping_add(span.start);
        header.offset = IMAGE_OFFSET + span.start;
        header.size = span.length;
        header.align = align;
        header
    }

    fn name(&self) -> &str {
        if self.owned_name.is_empty() { self.name } else { &self.owned_name }
    }
}

/// Writes the file: header page, image, symbol table, debug sections, section headers.
pub(super) fn write(
    closure: &Closure,
    layout: &Layout,
    base: LinkAddress,
    image: &[u8],
    debug: DebugSections,
) -> Result<Vec<u8>, WriteError> {
    let debug_length: usize = debug.values().map(Vec::len).sum();
    let mut file = Vec::with_capacity(offset(IMAGE_OFFSET) + image.len() + debug_length + TABLES);
    file.resize(offset(IMAGE_OFFSET), 0);
    file.extend_from_slice(image);
    let headers = program_headers(layout, base);
    let phnum = u16::try_from(headers.len() as u64 / PHDR_SIZE).map_err(|_| TOO_LARGE)?;
    let start = offset(IMAGE_OFFSET);
    file[start..start + headers.len()].copy_from_slice(&headers);
    let tables = dynamic_tables(base);
    file[start + offset(DYNSYM)..][..tables.len()].copy_from_slice(&tables);

    let mut sections = loaded_sections(layout, base);
    add_symbols(closure, layout, base, &mut sections, &mut file)?;
    for (name, bytes) in debug {
        let mut header = Header::new("", elf::SHT_PROGBITS, 0);
        header.owned_name = name;
        append(&mut file, &mut header, &bytes);
        sections.push(header);
    }
    let table = section_table(&mut sections, &mut file)?;
    let shnum = u16::try_from(sections.len()).map_err(|_| TOO_LARGE)?;
    file[..64].copy_from_slice(&elf_header(closure.architecture.machine(), table, phnum, shnum));
    Ok(file)
}

/// Room for the tables of a usual patch, in bytes.
const TABLES: usize = 1 << 16;

const TOO_LARGE: WriteError = WriteError::Inconsistent("a table is too large");

fn append(file: &mut Vec<u8>, header: &mut Header, bytes: &[u8]) {
    file.resize(file.len().next_multiple_of(offset(header.align)), 0);
    header.offset = file.len() as u64;
    header.size = bytes.len() as u64;
    file.extend_from_slice(bytes);
}

fn elf_header(machine: u16, section_table: u64, phnum: u16, shnum: u16) -> [u8; 64] {
    let mut out = Vec::with_capacity(64);
    out.extend(elf::ELFMAG);
    out.extend([elf::ELFCLASS64, elf::ELFDATA2LSB, elf::EV_CURRENT, elf::ELFOSABI_NONE]);
    out.extend([0; 8]);
    out.extend(elf::ET_DYN.to_le_bytes());
    out.extend(machine.to_le_bytes());
    out.extend(u32::from(elf::EV_CURRENT).to_le_bytes());
    out.extend(0u64.to_le_bytes()); // no entry point
    out.extend(IMAGE_OFFSET.to_le_bytes()); // program headers
    out.extend(section_table.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    for half in [64, 56, phnum, 64, shnum, shnum - 1] {
        out.extend(half.to_le_bytes());
    }
    let mut header = [0; 64];
    header.copy_from_slice(&out);
    header
}

fn program_headers(layout: &Layout, base: LinkAddress) -> Vec<u8> {
    let mut out = Vec::new();
    let mut push = |kind: u32, flags: u32, span: Span, in_file: u64, align: u64| {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        out.extend((IMAGE_OFFSET + span.start).to_le_bytes());
        out.extend(base.0.wrapping_add(span.start).to_le_bytes());
        out.extend(base.0.wrapping_add(span.start).to_le_bytes());
        for word in [in_file, span.length, align] {
            out.extend(word.to_le_bytes());
        }
    };
    let code = Span { start: 0, length: layout.code_length() };
    push(elf::PT_LOAD, elf::PF_R | elf::PF_X, code, code.length, super::IMAGE_ALIGN);
    if layout.has_data() {
        let length = layout.bss.end() - layout.data.start;
        let data = Span { start: layout.data.start, length };
        push(elf::PT_LOAD, elf::PF_R | elf::PF_W, data, layout.data.length, PAGE);
    }
    let dynamic = Span { start: DYNAMIC, length: DYNAMIC_TAGS * 16 };
    push(elf::PT_DYNAMIC, elf::PF_R, dynamic, dynamic.length, 8);
    push(elf::PT_GNU_EH_FRAME, elf::PF_R, layout.eh_frame_hdr, layout.eh_frame_hdr.length, 4);
    // Without this one, the dynamic linker makes all stacks executable.
    push(elf::PT_GNU_STACK, elf::PF_R | elf::PF_W, Span::default(), 0, 16);
    out
}

/// What `dlopen` insists on, with nothing in it.
fn dynamic_tables(base: LinkAddress) -> Vec<u8> {
    let mut out = vec![0; offset(HASH - DYNSYM)];
    for word in [1u32, 1, 0, 0] {
        out.extend(word.to_le_bytes()); // buckets, chains, bucket 0, chain 0
    }
    let at = |position: u64| base.0.wrapping_add(position);
    let tags: [(u32, u64); DYNAMIC_TAGS as usize] = [
        (elf::DT_HASH, at(HASH)),
        (elf::DT_STRTAB, at(DYNSTR)),
        (elf::DT_SYMTAB, at(DYNSYM)),
        (elf::DT_STRSZ, 1),
        (elf::DT_SYMENT, SYM_SIZE),
        (elf::DT_NULL, 0),
    ];
    for (tag, value) in tags {
        out.extend(u64::from(tag).to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    out
}

const TEXT: u16 = 1;
const CONSTANTS: u16 = 2;
const DATA: u16 = 9;
const BSS: u16 = 10;

fn loaded_sections(layout: &Layout, base: LinkAddress) -> Vec<Header> {
    let table = |name, kind, start, length, link, entry| {
        let mut header = Header::loaded(name, kind, 0, base, Span { start, length }, 8);
        (header.link, header.entry) = (link, entry);
        header
    };
    let bits = elf::SHT_PROGBITS;
    let mut bss = Header::loaded(".bss", elf::SHT_NOBITS, elf::SHF_WRITE, base, layout.bss, 16);
    bss.offset = IMAGE_OFFSET + layout.data.end();
    let mut dynsym = table(".dynsym", elf::SHT_DYNSYM, DYNSYM, SYM_SIZE, 6, SYM_SIZE);
    dynsym.info = 1;
    vec![
        Header::new("", elf::SHT_NULL, 0),
        Header::loaded(".text", bits, elf::SHF_EXECINSTR, base, layout.text, 16),
        Header::loaded(".rodata", bits, 0, base, layout.constants, 16),
        Header::loaded(".eh_frame", bits, 0, base, layout.eh_frame, 8),
        Header::loaded(".eh_frame_hdr", bits, 0, base, layout.eh_frame_hdr, 4),
        dynsym,
        table(".dynstr", elf::SHT_STRTAB, DYNSTR, 1, 0, 0),
        table(".hash", elf::SHT_HASH, HASH, 16, 5, 4),
        table(".dynamic", elf::SHT_DYNAMIC, DYNAMIC, DYNAMIC_TAGS * 16, 6, 16),
        Header::loaded(".data", bits, elf::SHF_WRITE, base, layout.data, 16),
        bss,
    ]
}

/// `.symtab` with the name of everything that the patch defines, and its `.strtab`.
fn add_symbols(
    closure: &Closure,
    layout: &Layout,
    base: LinkAddress,
    sections: &mut Vec<Header>,
    file: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let (mut symbols, mut strings) = (vec![0; offset(SYM_SIZE)], vec![0]);
    for (part, &start) in closure.parts.iter().zip(&layout.parts) {
        let image = &part.object.image;
        let section = match image.section(part.section).kind {
            SectionKind::Text => TEXT,
            SectionKind::ReadOnly => CONSTANTS,
            SectionKind::Data => DATA,
            SectionKind::Bss => BSS,
            _ => continue,
        };
        for id in image.symbols_in(part.section).filter(|&id| is_named(image, id)) {
            let symbol = image.symbol(id);
            let kind = if symbol.kind == SymbolKind::Function { elf::STT_FUNC } else { elf::STT_OBJECT };
            symbols.extend(u32::try_from(strings.len()).map_err(|_| TOO_LARGE)?.to_le_bytes());
            symbols.extend([(elf::STB_LOCAL << 4) | kind, elf::STV_DEFAULT]);
            symbols.extend(section.to_le_bytes());
            symbols.extend(base.0.wrapping_add(start).wrapping_add(symbol.offset.0).to_le_bytes());
            symbols.extend(symbol.size.to_le_bytes());
            strings.extend_from_slice(image.name(id).as_bytes());
            strings.push(0);
        }
    }
    let mut header = Header::new(".symtab", elf::SHT_SYMTAB, 0);
    (header.align, header.entry) = (8, SYM_SIZE);
    header.link = u32::try_from(sections.len() + 1).map_err(|_| TOO_LARGE)?;
    header.info = u32::try_from(symbols.len() as u64 / SYM_SIZE).map_err(|_| TOO_LARGE)?; // all are local
    append(file, &mut header, &symbols);
    sections.push(header);
    let mut header = Header::new(".strtab", elf::SHT_STRTAB, 0);
    append(file, &mut header, &strings);
    sections.push(header);
    Ok(())
}

/// Appends `.shstrtab` and the section header table; returns the table's place in the file.
fn section_table(sections: &mut Vec<Header>, file: &mut Vec<u8>) -> Result<u64, WriteError> {
    sections.push(Header::new(".shstrtab", elf::SHT_STRTAB, 0));
    let mut names = Vec::new();
    let mut places = Vec::new();
    for section in sections.iter() {
        places.push(u32::try_from(names.len()).map_err(|_| TOO_LARGE)?);
        names.extend_from_slice(section.name().as_bytes());
        names.push(0);
    }
    if let Some(last) = sections.last_mut() {
        append(file, last, &names);
    }
    file.resize(file.len().next_multiple_of(8), 0);
    let table = file.len() as u64;
    file.reserve(sections.len() * SHDR_SIZE);
    for (section, name) in sections.iter().zip(places) {
        file.extend(name.to_le_bytes());
        file.extend(section.kind.to_le_bytes());
        for word in [u64::from(section.flags), section.address, section.offset, section.size] {
            file.extend(word.to_le_bytes());
        }
        file.extend(section.link.to_le_bytes());
        file.extend(section.info.to_le_bytes());
        file.extend(section.align.to_le_bytes());
        file.extend(section.entry.to_le_bytes());
    }
    Ok(table)
}
