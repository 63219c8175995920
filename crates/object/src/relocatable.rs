//! A relocatable object (`ET_REL`, 64-bit, little-endian), read once into compact tables.
//!
//! Specification: System V gABI chapter 4; names as there.

mod by_section;

use crate::ObjectError;
use crate::address::SectionOffset;
use crate::architecture::Architecture;
use crate::relocation::RelocationKind;
use crate::strings::{Strings, file_range, text};
use by_section::BySection;
use bytes::Bytes;
use object::elf;
use object::read::elf::{FileHeader, Rela as _, SectionHeader as _, Sym as _};
use object::{LittleEndian as LE, SymbolIndex as RawSymbolIndex};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::OnceLock;

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
    name: u32,
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
    relocations: RelocationTable,
}

/// Where a section's relocations are.
#[derive(Clone, Debug)]
enum RelocationTable {
    /// In [`Relocatable::relocations`].
    Decoded(Range<u32>),
    /// In the file: debug information has by far the most relocations, and they are rarely needed.
    InFile(Range<usize>),
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
    /// Marks where code or data begins in a section (`$x`, `$d`; AArch64 ELF ABI, "Mapping symbols"); names
    /// nothing.
    Mapping,
}

/// A symbol.
#[derive(Clone, Debug)]
pub struct Symbol {
    name: u32,
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
    /// What it does.
    pub kind: RelocationKind,
    /// The symbol it refers to.
    pub symbol: SymbolId,
    /// Added to the symbol's address.
    pub addend: i64,
}

/// A relocatable object.
pub struct Relocatable {
    bytes: Bytes,
    architecture: Architecture,
    strings: Strings,
    section_strings: Strings,
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
    relocations: Vec<Relocation>,
    by_section: BySection,
    file_symbol: Option<SymbolId>,
    renamed: OnceLock<FxHashMap<SymbolId, Box<str>>>,
}

impl std::fmt::Debug for Relocatable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relocatable({}, {} sections)", self.file_name(), self.sections.len())
    }
}

type Header = elf::FileHeader64<LE>;

impl Relocatable {
    /// Reads an object. Every offset and name is checked here; the accessors cannot fail afterwards.
    ///
    /// The bytes are kept, and may be a mapped file: of debug information nothing is looked at here.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, ObjectError> {
        let bytes = bytes.into();
        let fail = ObjectError::container("ELF object");
        let data: &[u8] = &bytes;
        let header = Header::parse(data).map_err(&fail)?;
        let endian = header.endian().map_err(&fail)?;
        let architecture = Architecture::of_machine(header.e_machine(endian));
        let Some(architecture) = architecture.filter(|_| header.e_type(endian) == elf::ET_REL) else {
            return Err(ObjectError::WrongKind {
                needed: "a relocatable object for x86-64 or AArch64",
                found: format!("ELF type {}, machine {}", header.e_type(endian), header.e_machine(endian)),
            });
        };
        let table = header.sections(endian, data).map_err(&fail)?;
        let names = header.section_strings_index(endian, data).map_err(&fail)?;
        let section_strings = Strings::checked(table.section(names).map_err(&fail)?, data)?;
        let mut sections = Vec::with_capacity(table.len());
        for section in table.iter() {
            sections.push(read_section(section, data, &section_strings)?);
        }
        let raw = table.symbols(endian, data, elf::SHT_SYMTAB).map_err(&fail)?;
        let strings = match raw.string_section() {
            _ if raw.is_empty() => Strings::default(),
            at if at == names => section_strings.clone(),
            at => Strings::checked(table.section(at).map_err(&fail)?, data)?,
        };
        let mut symbols = Vec::with_capacity(raw.len());
        for (index, symbol) in raw.enumerate() {
            strings.check(data, symbol.st_name(endian), "a symbol's name")?;
            let mut symbol = read_symbol(symbol, raw.shndx(endian, index), sections.len())?;
            if let Place::Section(section) = symbol.place
                && symbol.offset.0 > sections[section.0 as usize].size
            {
                return Err(ObjectError::Inconsistent { what: "a symbol's offset in its section" });
            }
            if architecture == Architecture::Aarch64 && is_mapping(&symbol, strings.get(data, symbol.name)) {
                symbol.kind = SymbolKind::Mapping;
            }
            symbols.push(symbol);
        }
        let mut relocations = Vec::new();
        for section in table.iter() {
            let Some((relas, _)) = section.rela(endian, data).map_err(&fail)? else { continue };
            let target = section.sh_info(endian) as usize;
            let Some(target) = sections.get_mut(target) else {
                return Err(ObjectError::Inconsistent { what: "the target of a relocation section" });
            };
            if !matches!(target.relocations, RelocationTable::Decoded(Range { end: 0, .. })) {
                return Err(ObjectError::Inconsistent { what: "a second relocation section" });
            }
            target.relocations = if target.kind == SectionKind::Debug {
                RelocationTable::InFile(file_range(section, data.len())?)
            } else {
                let start = relocations.len();
                read_relocations(architecture, relas, symbols.len(), target.size, &mut relocations)?;
                RelocationTable::Decoded(index(start)?..index(relocations.len())?)
            };
        }
        let by_section = BySection::of(&symbols, sections.len())?;
        let file_symbol = symbols.iter().position(|s| s.kind == SymbolKind::File);
        let file_symbol = file_symbol.and_then(|at| u32::try_from(at).ok()).map(SymbolId);
        let renamed = OnceLock::new();
        Ok(Self {
            strings,
            section_strings,
            sections,
            symbols,
            relocations,
            by_section,
            file_symbol,
            renamed,
            architecture,
            bytes,
        })
    }

    /// The instruction set of its code.
    pub fn architecture(&self) -> Architecture {
        self.architecture
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
        let Section { size, relocations, .. } = self.section(id);
        let bytes = match relocations {
            RelocationTable::InFile(range) => &self.bytes[range.clone()],
            RelocationTable::Decoded(_) => &[],
        };
        let count = bytes.len() / size_of::<elf::Rela64<LE>>();
        let relas =
            object::slice_from_bytes::<elf::Rela64<LE>>(bytes, count).map_or(&[][..], |(relas, _)| relas);
        relas.iter().filter_map(move |rela| decode(self.architecture, rela, self.symbols.len(), *size))
    }

    /// A section's relocations, in file order; none for debug sections.
    pub fn relocations(&self, id: SectionId) -> &[Relocation] {
        match &self.section(id).relocations {
            RelocationTable::Decoded(range) => &self.relocations[range.start as usize..range.end as usize],
            RelocationTable::InFile(_) => &[],
        }
    }

    /// A section's name.
    pub fn section_name(&self, id: SectionId) -> &str {
        text(self.section_strings.get(&self.bytes, self.section(id).name))
    }

    /// A symbol's name; empty for section symbols.
    pub fn name(&self, id: SymbolId) -> &str {
        match self.new_name(id) {
            Some(name) => name,
            None => text(self.strings.get(&self.bytes, self.symbol(id).name)),
        }
    }

    /// The symbols that have another name than in the file: the file's, and the one they have.
    pub fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        let in_file = |id| text(self.strings.get(&self.bytes, self.symbol(id).name));
        self.renamed.get().into_iter().flatten().map(move |(&id, name)| (in_file(id), &**name))
    }

    fn new_name(&self, id: SymbolId) -> Option<&str> {
        self.renamed.get()?.get(&id).map(|name| &**name)
    }

    /// Gives symbols other names than the file does. Counts once: who held names before holds the file's.
    pub fn rename(&self, names: impl FnOnce() -> FxHashMap<SymbolId, Box<str>>) {
        self.renamed.get_or_init(names);
    }

    /// Whether a symbol's name starts with that.
    pub(crate) fn name_starts_with(&self, id: SymbolId, start: &[u8]) -> bool {
        match self.new_name(id) {
            Some(name) => name.as_bytes().starts_with(start),
            None => self.strings.from(&self.bytes, self.symbol(id).name).starts_with(start),
        }
    }

    /// Whether a symbol has the same name as one of another object.
    pub(crate) fn same_name(&self, id: SymbolId, other: &Self, of: SymbolId) -> bool {
        if self.renamed.get().is_some() || other.renamed.get().is_some() {
            return self.name(id) == other.name(of);
        }
        let name = self.strings.get(&self.bytes, self.symbol(id).name);
        let rest = other.strings.from(&other.bytes, other.symbol(of).name).strip_prefix(name);
        rest.is_some_and(|rest| rest.first().is_none_or(|&end| end == 0))
    }

    /// The `STT_FILE` name, which scopes this object's local symbols in a linked image; for rustc the
    /// codegen unit's name.
    pub fn file_name(&self) -> &str {
        self.file_symbol.map_or("", |id| self.name(id))
    }

    /// Symbols other than section and mapping symbols that are defined in a section, ascending by offset.
    pub fn symbols_in(&self, section: SectionId) -> impl Iterator<Item = SymbolId> {
        self.by_section.get(section).iter().copied()
    }

    /// Symbols other than section and mapping symbols that are defined at an offset of a section.
    pub fn symbols_at(&self, section: SectionId, offset: SectionOffset) -> impl Iterator<Item = SymbolId> {
        let all = self.by_section.get(section);
        let start = all.partition_point(|&id| self.symbol(id).offset < offset);
        all[start..].iter().copied().take_while(move |&id| self.symbol(id).offset == offset)
    }
}

fn index(n: usize) -> Result<u32, ObjectError> {
    u32::try_from(n).map_err(|_| ObjectError::Inconsistent { what: "a table's size" })
}

fn read_section(
    section: &elf::SectionHeader64<LE>,
    data: &[u8],
    names: &Strings,
) -> Result<Section, ObjectError> {
    let none = RelocationTable::Decoded(0..0);
    if section.sh_type(LE) == elf::SHT_NULL {
        return Ok(Section {
            name: 0,
            data: 0..0,
            kind: SectionKind::Other,
            size: 0,
            align: 1,
            merge_entry: 0,
            strings: false,
            relocations: none,
        });
    }
    let name = section.sh_name(LE);
    names.check(data, name, "a section's name")?;
    let flags = section.sh_flags(LE);
    let align = section.sh_addralign(LE).max(1);
    let merge = flags & u64::from(elf::SHF_MERGE) != 0;
    if !align.is_power_of_two() || align > 1 << 20 {
        return Err(ObjectError::Inconsistent { what: "a section's alignment" });
    }
    if section.sh_size(LE) > 1 << 40 {
        return Err(ObjectError::Inconsistent { what: "a section's size" });
    }
    Ok(Section {
        data: file_range(section, data.len())?,
        kind: section_kind(text(names.get(data, name)), section.sh_type(LE), flags),
        size: section.sh_size(LE),
        align,
        merge_entry: if merge { section.sh_entsize(LE) } else { 0 },
        strings: merge && flags & u64::from(elf::SHF_STRINGS) != 0,
        relocations: none,
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
    sections: usize,
) -> Result<Symbol, ObjectError> {
    let place = match symbol.st_shndx(LE) {
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
    let (offset, size) = (SectionOffset(symbol.st_value(LE)), symbol.st_size(LE));
    Ok(Symbol { name: symbol.st_name(LE), place, offset, size, binding, kind })
}

fn is_mapping(symbol: &Symbol, name: &[u8]) -> bool {
    // LLVM gives those of thread-local sections the type of what is there.
    let marks = matches!(name, [b'$', b'x' | b'd'] | [b'$', b'x' | b'd', b'.', ..]);
    marks && symbol.size == 0 && symbol.binding == Binding::Local
}

fn read_relocations(
    architecture: Architecture,
    relas: &[elf::Rela64<LE>],
    symbols: usize,
    section_size: u64,
    out: &mut Vec<Relocation>,
) -> Result<(), ObjectError> {
    for rela in relas {
        let bad = ObjectError::Inconsistent { what: "a relocation" };
        out.push(decode(architecture, rela, symbols, section_size).ok_or(bad)?);
    }
    Ok(())
}

/// A relocation whose symbol exists and whose field begins inside its section.
fn decode(
    architecture: Architecture,
    rela: &elf::Rela64<LE>,
    symbols: usize,
    section_size: u64,
) -> Option<Relocation> {
    let symbol = rela.symbol(LE, false).unwrap_or(RawSymbolIndex(0)).0;
    let inside = symbol < symbols && rela.r_offset(LE) < section_size;
    inside.then_some(Relocation {
        offset: SectionOffset(rela.r_offset(LE)),
        kind: RelocationKind::new(architecture, rela.r_type(LE, false)),
        symbol: SymbolId(u32::try_from(symbol).ok()?),
        addend: rela.r_addend(LE),
    })
}
