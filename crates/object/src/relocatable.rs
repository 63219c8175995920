//! A relocatable object (`ET_REL`, x86-64 little-endian), read once into compact tables.
//!
//! Specification: System V gABI chapter 4; names as there.

use crate::ObjectError;
use crate::address::SectionOffset;
use object::elf;
use object::read::elf::{FileHeader, Rela as _, SectionHeader as _, Sym as _};
use object::{LittleEndian as LE, SymbolIndex as RawSymbolIndex};
use std::ops::Range;

/// Index into [`Relocatable::sections`]; the ELF section index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SectionId(pub u32);

/// Index into [`Relocatable::symbols`]; the ELF symbol index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SymbolId(pub u32);

/// What a section holds, as far as patching cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionKind {
    /// Executable code.
    Text,
    /// Read-only in the running program (`.data.rel.ro*` included: only the loader writes it).
    ReadOnly,
    /// Written by the running program, with initial bytes.
    Data,
    /// Written by the running program, zero at the start.
    Bss,
    /// Thread-local, with initial bytes.
    TlsData,
    /// Thread-local, zero at the start.
    TlsBss,
    /// `.eh_frame`.
    Unwind,
    /// Runs before or after `main` (`.init_array`, `.ctors`, …).
    Constructors,
    /// Not in memory: debug information.
    Debug,
    /// Not in memory, or of no interest.
    Other,
}

/// A section header.
#[derive(Clone, Debug)]
pub struct Section {
    name: Range<u32>,
    data: Range<usize>,
    /// What it holds.
    pub kind: SectionKind,
    /// Size in bytes (more than the bytes in the file for zero-initialised sections).
    pub size: u64,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// Entry size of mergeable sections, in bytes; 0 when not mergeable.
    pub merge_entry: u64,
    /// Whether a mergeable section holds NUL-terminated strings.
    pub strings: bool,
    relocations: Range<u32>,
    /// Debug information has by far the most relocations, and they are rarely needed: where they are.
    undecoded: Range<usize>,
}

/// Where a symbol is defined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Not in this object.
    Undefined,
    /// In a section.
    Section(SectionId),
    /// At a fixed value.
    Absolute,
    /// To be allocated by the linker.
    Common,
}

/// `STB_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// Known in this object only.
    Local,
    /// Known everywhere.
    Global,
    /// Known everywhere; gives way to a global, and may stay undefined.
    Weak,
}

/// `STT_*`, as far as patching cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SymbolKind {
    /// No type: also every undefined symbol.
    None,
    /// A variable.
    Data,
    /// A function.
    Function,
    /// A function whose address a resolver function decides.
    IndirectFunction,
    /// A thread-local variable.
    ThreadLocal,
    /// Stands for its section.
    Section,
    /// Names the source file of the local symbols that follow.
    File,
}

/// A symbol.
#[derive(Clone, Debug)]
pub struct Symbol {
    name: Range<u32>,
    /// Where it is defined.
    pub place: Place,
    /// Its offset in its section (its value, when absolute).
    pub offset: SectionOffset,
    /// Its size in bytes; 0 when unknown.
    pub size: u64,
    /// Its binding.
    pub binding: Binding,
    /// Its type.
    pub kind: SymbolKind,
}

/// A relocation with an explicit addend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relocation {
    /// The first byte it changes, in its section.
    pub offset: SectionOffset,
    /// `R_X86_64_*`.
    pub kind: u32,
    /// The symbol it refers to.
    pub symbol: SymbolId,
    /// Added to the symbol's address.
    pub addend: i64,
}

/// A relocatable object.
pub struct Relocatable {
    bytes: Vec<u8>,
    strings: Range<usize>,
    section_strings: Range<usize>,
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
    relocations: Vec<Relocation>,
    /// The first symbol of each section that is not its section symbol, ascending by section and offset.
    by_section: Vec<(SectionId, SectionOffset, SymbolId)>,
    file_symbol: Option<SymbolId>,
}

impl std::fmt::Debug for Relocatable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relocatable({}, {} sections)", self.file_name(), self.sections.len())
    }
}

type Header = elf::FileHeader64<LE>;

impl Relocatable {
    /// Reads an object. Every offset and name is checked here; the accessors cannot fail afterwards.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ObjectError> {
        let fail = ObjectError::container("ELF object");
        let data: &[u8] = &bytes;
        let header = Header::parse(data).map_err(&fail)?;
        let endian = header.endian().map_err(&fail)?;
        if header.e_type(endian) != elf::ET_REL || header.e_machine(endian) != elf::EM_X86_64 {
            return Err(ObjectError::WrongKind {
                needed: "a relocatable x86-64 object",
                found: format!("ELF type {}, machine {}", header.e_type(endian), header.e_machine(endian)),
            });
        }
        let table = header.sections(endian, data).map_err(&fail)?;
        let section_strings = match header.section_strings_index(endian, data) {
            Ok(index) => file_range(table.section(index).map_err(&fail)?, endian, data.len())?,
            Err(error) => return Err(fail(error)),
        };
        let mut sections = Vec::with_capacity(table.len());
        for section in table.iter() {
            sections.push(read_section(section, endian, data, &section_strings)?);
        }
        let raw = table.symbols(endian, data, elf::SHT_SYMTAB).map_err(&fail)?;
        let strings = if raw.is_empty() {
            0..0
        } else {
            file_range(table.section(raw.string_section()).map_err(&fail)?, endian, data.len())?
        };
        let mut symbols = Vec::with_capacity(raw.len());
        for (index, symbol) in raw.enumerate() {
            let shndx = raw.shndx(endian, index);
            symbols.push(read_symbol(symbol, shndx, endian, &data[strings.clone()], sections.len())?);
        }
        let mut relocations = Vec::new();
        for section in table.iter() {
            let Some((relas, _)) = section.rela(endian, data).map_err(&fail)? else { continue };
            let target = section.sh_info(endian) as usize;
            let Some(target) = sections.get_mut(target) else {
                return Err(ObjectError::Inconsistent { what: "the target of a relocation section" });
            };
            if target.relocations.end > 0 || target.undecoded.end > 0 {
                return Err(ObjectError::Inconsistent { what: "a second relocation section" });
            }
            if target.kind == SectionKind::Debug {
                target.undecoded = file_range(section, endian, data.len())?;
                continue;
            }
            let start = relocations.len();
            read_relocations(relas, endian, symbols.len(), target.size, &mut relocations)?;
            target.relocations = index(start)?..index(relocations.len())?;
        }
        let by_section = symbols_by_section(&symbols);
        let file_symbol = symbols.iter().position(|s| s.kind == SymbolKind::File);
        let file_symbol = file_symbol.and_then(|at| u32::try_from(at).ok()).map(SymbolId);
        Ok(Self { strings, section_strings, sections, symbols, relocations, by_section, file_symbol, bytes })
    }

    /// All sections, by ELF index (0 is the null section).
    pub fn sections(&self) -> impl Iterator<Item = (SectionId, &Section)> {
        (0u32..).map(SectionId).zip(&self.sections)
    }

    /// All symbols, by ELF index (0 is the null symbol).
    pub fn symbols(&self) -> impl Iterator<Item = (SymbolId, &Symbol)> {
        (0u32..).map(SymbolId).zip(&self.symbols)
    }

    /// A section.
    pub fn section(&self, id: SectionId) -> &Section {
        &self.sections[id.0 as usize]
    }

    /// A symbol.
    pub fn symbol(&self, id: SymbolId) -> &Symbol {
        &self.symbols[id.0 as usize]
    }

    /// A section's bytes in the file; empty for zero-initialised sections.
    pub fn data(&self, id: SectionId) -> &[u8] {
        &self.bytes[self.section(id).data.clone()]
    }

    /// A debug section's relocations, in file order, read anew each time. Those that make no sense are
    /// left out.
    pub fn debug_relocations(&self, id: SectionId) -> impl Iterator<Item = Relocation> {
        let size = self.section(id).size;
        let bytes = &self.bytes[self.section(id).undecoded.clone()];
        let count = bytes.len() / size_of::<elf::Rela64<LE>>();
        let relas =
            object::slice_from_bytes::<elf::Rela64<LE>>(bytes, count).map_or(&[][..], |(relas, _)| relas);
        relas.iter().filter_map(move |rela| decode(rela, LE, self.symbols.len(), size))
    }

    /// A section's relocations, in file order; none for debug sections.
    pub fn relocations(&self, id: SectionId) -> &[Relocation] {
        let range = &self.section(id).relocations;
        &self.relocations[range.start as usize..range.end as usize]
    }

    /// A section's name.
    pub fn section_name(&self, id: SectionId) -> &str {
        self.text(&self.section_strings, &self.section(id).name)
    }

    /// A symbol's name; empty for section symbols.
    pub fn name(&self, id: SymbolId) -> &str {
        self.text(&self.strings, &self.symbol(id).name)
    }

    /// The `STT_FILE` name, which scopes this object's local symbols in a linked image; for rustc the
    /// codegen unit's name.
    pub fn file_name(&self) -> &str {
        self.file_symbol.map_or("", |id| self.name(id))
    }

    /// Symbols other than section symbols that are defined in a section, ascending by offset.
    pub fn symbols_in(&self, section: SectionId) -> impl Iterator<Item = SymbolId> {
        let start = self.by_section.partition_point(|entry| entry.0 < section);
        self.by_section[start..].iter().take_while(move |entry| entry.0 == section).map(|entry| entry.2)
    }

    /// Symbols other than section symbols that are defined at an offset of a section.
    pub fn symbols_at(&self, section: SectionId, offset: SectionOffset) -> impl Iterator<Item = SymbolId> {
        let start = self.by_section.partition_point(|entry| (entry.0, entry.1) < (section, offset));
        let here =
            move |entry: &&(SectionId, SectionOffset, SymbolId)| (entry.0, entry.1) == (section, offset);
        self.by_section[start..].iter().take_while(here).map(|entry| entry.2)
    }

    fn text(&self, table: &Range<usize>, name: &Range<u32>) -> &str {
        let bytes = &self.bytes[table.start + name.start as usize..table.start + name.end as usize];
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

fn index(n: usize) -> Result<u32, ObjectError> {
    u32::try_from(n).map_err(|_| ObjectError::Inconsistent { what: "a table's size" })
}

/// A section's bytes in the file, checked against the file's length.
fn file_range(
    section: &elf::SectionHeader64<LE>,
    endian: LE,
    file_len: usize,
) -> Result<Range<usize>, ObjectError> {
    let Some((offset, size)) = section.file_range(endian) else { return Ok(0..0) };
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|start| start.checked_add(usize::try_from(size).ok()?));
    match (start, end) {
        (Some(start), Some(end)) if end <= file_len => Ok(start..end),
        _ => Err(ObjectError::Inconsistent { what: "a section's place in the file" }),
    }
}

/// The range of a NUL-terminated name in its table, checked to be UTF-8.
fn name_range(table: &[u8], at: u32, what: &'static str) -> Result<Range<u32>, ObjectError> {
    let rest = table.get(at as usize..).ok_or(ObjectError::Inconsistent { what })?;
    let len = rest.iter().position(|&b| b == 0).ok_or(ObjectError::Inconsistent { what })?;
    std::str::from_utf8(&rest[..len]).map_err(|_| ObjectError::NotUtf8 { what })?;
    let end = at.checked_add(index(len)?).ok_or(ObjectError::Inconsistent { what })?;
    Ok(at..end)
}

fn read_section(
    section: &elf::SectionHeader64<LE>,
    endian: LE,
    data: &[u8],
    names: &Range<usize>,
) -> Result<Section, ObjectError> {
    if section.sh_type(endian) == elf::SHT_NULL {
        return Ok(Section {
            name: 0..0,
            data: 0..0,
            kind: SectionKind::Other,
            size: 0,
            align: 1,
            merge_entry: 0,
            strings: false,
            relocations: 0..0,
            undecoded: 0..0,
        });
    }
    let name = name_range(&data[names.clone()], section.sh_name(endian), "a section")?;
    let text = &data[names.start + name.start as usize..names.start + name.end as usize];
    let flags = section.sh_flags(endian);
    let align = section.sh_addralign(endian).max(1);
    let merge = flags & u64::from(elf::SHF_MERGE) != 0;
    if !align.is_power_of_two() || align > 1 << 20 {
        return Err(ObjectError::Inconsistent { what: "a section's alignment" });
    }
    if section.sh_size(endian) > 1 << 40 {
        return Err(ObjectError::Inconsistent { what: "a section's size" });
    }
    Ok(Section {
        data: file_range(section, endian, data.len())?,
        kind: section_kind(std::str::from_utf8(text).unwrap_or_default(), section.sh_type(endian), flags),
        size: section.sh_size(endian),
        align,
        merge_entry: if merge { section.sh_entsize(endian) } else { 0 },
        strings: merge && flags & u64::from(elf::SHF_STRINGS) != 0,
        relocations: 0..0,
        undecoded: 0..0,
        name,
    })
}

fn section_kind(name: &str, section_type: u32, flags: u64) -> SectionKind {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let zero = section_type == elf::SHT_NOBITS;
    if !has(elf::SHF_ALLOC) {
        let debug = name.starts_with(".debug_") || name == ".gdb_index";
        return if debug { SectionKind::Debug } else { SectionKind::Other };
    }
    match section_type {
        elf::SHT_INIT_ARRAY | elf::SHT_FINI_ARRAY | elf::SHT_PREINIT_ARRAY => {
            return SectionKind::Constructors;
        }
        elf::SHT_NOTE => return SectionKind::Other,
        _ if name.starts_with(".ctors") || name.starts_with(".dtors") => return SectionKind::Constructors,
        _ if name == ".eh_frame" => return SectionKind::Unwind,
        _ => {}
    }
    match () {
        () if has(elf::SHF_EXECINSTR) => SectionKind::Text,
        () if has(elf::SHF_TLS) && zero => SectionKind::TlsBss,
        () if has(elf::SHF_TLS) => SectionKind::TlsData,
        () if !has(elf::SHF_WRITE) || name.starts_with(".data.rel.ro") => SectionKind::ReadOnly,
        () if zero => SectionKind::Bss,
        () => SectionKind::Data,
    }
}

fn read_symbol(
    symbol: &elf::Sym64<LE>,
    extended: Option<u32>,
    endian: LE,
    strings: &[u8],
    sections: usize,
) -> Result<Symbol, ObjectError> {
    let name = match symbol.st_name(endian) {
        0 => 0..0,
        at => name_range(strings, at, "a symbol")?,
    };
    let place = match symbol.st_shndx(endian) {
        elf::SHN_UNDEF => Place::Undefined,
        elf::SHN_ABS => Place::Absolute,
        elf::SHN_COMMON => Place::Common,
        elf::SHN_XINDEX => Place::Section(SectionId(extended.unwrap_or(0))),
        at if at >= elf::SHN_LORESERVE => Place::Undefined,
        at => Place::Section(SectionId(u32::from(at))),
    };
    if let Place::Section(id) = place
        && id.0 as usize >= sections
    {
        return Err(ObjectError::Inconsistent { what: "a symbol's section" });
    }
    let binding = match symbol.st_bind() {
        elf::STB_LOCAL => Binding::Local,
        elf::STB_WEAK => Binding::Weak,
        _ => Binding::Global,
    };
    let kind = match symbol.st_type() {
        elf::STT_OBJECT | elf::STT_COMMON => SymbolKind::Data,
        elf::STT_FUNC => SymbolKind::Function,
        elf::STT_GNU_IFUNC => SymbolKind::IndirectFunction,
        elf::STT_TLS => SymbolKind::ThreadLocal,
        elf::STT_SECTION => SymbolKind::Section,
        elf::STT_FILE => SymbolKind::File,
        _ => SymbolKind::None,
    };
    let (offset, size) = (SectionOffset(symbol.st_value(endian)), symbol.st_size(endian));
    Ok(Symbol { name, place, offset, size, binding, kind })
}

fn read_relocations(
    relas: &[elf::Rela64<LE>],
    endian: LE,
    symbols: usize,
    section_size: u64,
    out: &mut Vec<Relocation>,
) -> Result<(), ObjectError> {
    for rela in relas {
        let bad = ObjectError::Inconsistent { what: "a relocation" };
        out.push(decode(rela, endian, symbols, section_size).ok_or(bad)?);
    }
    Ok(())
}

/// A relocation whose symbol exists and whose field begins inside its section.
fn decode(rela: &elf::Rela64<LE>, endian: LE, symbols: usize, section_size: u64) -> Option<Relocation> {
    let symbol = rela.symbol(endian, false).unwrap_or(RawSymbolIndex(0)).0;
    let inside = symbol < symbols && rela.r_offset(endian) < section_size;
    inside.then_some(Relocation {
        offset: SectionOffset(rela.r_offset(endian)),
        kind: rela.r_type(endian, false),
        symbol: SymbolId(u32::try_from(symbol).ok()?),
        addend: rela.r_addend(endian),
    })
}

fn symbols_by_section(symbols: &[Symbol]) -> Vec<(SectionId, SectionOffset, SymbolId)> {
    let mut table: Vec<_> = (0u32..)
        .zip(symbols)
        .filter_map(|(at, symbol)| match symbol.place {
            Place::Section(section) if symbol.kind != SymbolKind::Section => {
                Some((section, symbol.offset, SymbolId(at)))
            }
            _ => None,
        })
        .collect();
    table.sort_unstable();
    table
}
