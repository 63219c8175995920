//! The host: the linked image whose functions are patched. What it defines, and where.

use crate::ObjectError;
use crate::address::LinkAddress;
use crate::architecture::Architecture;
use crate::relocatable::{Binding, SymbolKind};
use crate::strings::{Strings, checked_range, text};
use bytes::Bytes;
use hashbrown::HashTable;
use object::LittleEndian as LE;
use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader as _, Sym as _};
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher as _;
use std::ops::Range;

/// The host's thread-local segment (`PT_TLS`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsSegment {
    /// Size in memory, in bytes.
    pub size: u64,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// Its link-time address.
    pub address: LinkAddress,
    architecture: Architecture,
}

/// What variant I has at the thread pointer, before the program's block: two words (AArch64 TLS ABI).
const THREAD_CONTROL_BLOCK: u64 = 16;

impl TlsSegment {
    /// The offset from the thread pointer of the byte at `offset` in the segment, in the program itself
    /// (local-exec).
    pub fn tp_offset(&self, offset: u64) -> i64 {
        match self.architecture {
            // Variant II: the block ends at the thread pointer.
            Architecture::X86_64 => {
                let misaligned = self.address.0 & (self.align - 1);
                let end = (self.size + misaligned).next_multiple_of(self.align) - misaligned;
                offset.wrapping_sub(end).cast_signed()
            }
            // Variant I: it begins behind the control block, as misaligned as the segment is.
            Architecture::Aarch64 => {
                let gap = self.address.0.wrapping_sub(THREAD_CONTROL_BLOCK) & (self.align - 1);
                (THREAD_CONTROL_BLOCK + gap).wrapping_add(offset).cast_signed()
            }
        }
    }
}

/// A symbol that the host defines.
#[derive(Clone, Debug)]
pub struct HostSymbol {
    name: u32,
    file: u32,
    /// Where; for thread-locals the offset in the TLS segment.
    pub address: LinkAddress,
    /// How long, in bytes.
    pub size: u64,
    /// Its type.
    pub kind: SymbolKind,
    /// Its binding.
    pub binding: Binding,
    /// Whether its value is absolute: the same in every process.
    pub absolute: bool,
}

/// What a name stands for in the host.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'h> {
    /// No definition.
    Missing,
    /// One, or several at one address.
    Found(&'h HostSymbol),
    /// Several, at different addresses.
    Ambiguous,
}

/// A range of bytes in the file that the process has in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    address: LinkAddress,
    /// Length in memory.
    length: u64,
    executable: bool,
}

/// The host image.
pub struct Host {
    bytes: Bytes,
    architecture: Architecture,
    /// Executable segments, and where they are in the file.
    code: Vec<(LinkAddress, Range<usize>)>,
    strings: Strings,
    symbols: Vec<HostSymbol>,
    by_name: HashTable<u32>,
    /// Indices of function symbols, ascending by address.
    functions: Vec<u32>,
    segments: Vec<Segment>,
    tls: Option<TlsSegment>,
    entry: LinkAddress,
    build_id: Vec<u8>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({} symbols)", self.symbols.len())
    }
}

type Header = elf::FileHeader64<LE>;

/// The contents of a linked image's build-id note; empty when there is none.
pub fn build_id_of<'d>(data: impl ReadRef<'d>) -> Result<Vec<u8>, ObjectError> {
    let fail = ObjectError::container("ELF image");
    let header = Header::parse(data).map_err(&fail)?;
    let endian = header.endian().map_err(&fail)?;
    for segment in header.program_headers(endian, data).map_err(&fail)? {
        let notes = segment.notes(endian, data).map_err(&fail)?;
        if let Some(id) = build_id(notes, endian) {
            return Ok(id);
        }
    }
    Ok(Vec::new())
}

impl Host {
    /// Reads a linked image.
    ///
    /// The bytes are kept, and may be a mapped file: only its headers and its symbol table are looked at
    /// here.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, ObjectError> {
        let bytes = bytes.into();
        let data: &[u8] = &bytes;
        let fail = ObjectError::container("ELF image");
        let header = Header::parse(data).map_err(&fail)?;
        let endian = header.endian().map_err(&fail)?;
        let linked = matches!(header.e_type(endian), elf::ET_DYN | elf::ET_EXEC);
        let architecture = Architecture::of_machine(header.e_machine(endian));
        let Some(architecture) = architecture.filter(|_| linked) else {
            return Err(ObjectError::WrongKind {
                needed: "a linked image for x86-64 or AArch64",
                found: format!("ELF type {}, machine {}", header.e_type(endian), header.e_machine(endian)),
            });
        };
        let mut host = Self {
            architecture,
            bytes: bytes.clone(),
            code: Vec::new(),
            strings: Strings::default(),
            symbols: Vec::new(),
            by_name: HashTable::new(),
            functions: Vec::new(),
            segments: Vec::new(),
            tls: None,
            entry: LinkAddress(header.e_entry(endian)),
            build_id: Vec::new(),
        };
        host.read_segments(header, endian, data)?;
        host.read_symbols(header, endian, data)?;
        Ok(host)
    }

    /// The instruction set of its code.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The entry point: the anchor.
    pub fn entry(&self) -> LinkAddress {
        self.entry
    }

    /// The contents of the build-id note; empty when there is none.
    pub fn build_id(&self) -> &[u8] {
        &self.build_id
    }

    /// The thread-local segment.
    pub fn tls(&self) -> Option<TlsSegment> {
        self.tls
    }

    /// How many symbols there are.
    pub fn symbol_count(&self) -> usize {
        self.symbols.len()
    }

    /// The first and the last address of the image in memory, page boundaries not counted in.
    pub fn extent(&self) -> Range<LinkAddress> {
        let start = self.segments.iter().map(|s| s.address.0).min().unwrap_or(0);
        let end = self.segments.iter().map(|s| s.address.0.saturating_add(s.length)).max().unwrap_or(0);
        LinkAddress(start)..LinkAddress(end)
    }

    /// A symbol's name.
    pub fn name(&self, symbol: &HostSymbol) -> &str {
        text(self.strings.get(&self.bytes, symbol.name))
    }

    /// Every definition of a name.
    pub fn definitions<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h HostSymbol> {
        self.by_name
            .iter_hash(hash(name.as_bytes()))
            .filter_map(|&at| self.symbols.get(at as usize))
            .filter(move |symbol| self.strings.get(&self.bytes, symbol.name) == name.as_bytes())
    }

    /// The definition of a name, seen from a source file (`STT_FILE`): that file's own local symbol
    /// first, then a global one, then the only local one there is.
    pub fn lookup(&self, name: &str, file: &str) -> Lookup<'_> {
        let own = |s: &&HostSymbol| {
            s.binding == Binding::Local && self.strings.get(&self.bytes, s.file) == file.as_bytes()
        };
        if !file.is_empty()
            && let Lookup::Found(symbol) = one(self.definitions(name).filter(own))
        {
            return Lookup::Found(symbol);
        }
        match one(self.definitions(name).filter(|s| s.binding != Binding::Local)) {
            Lookup::Missing => one(self.definitions(name)),
            found => found,
        }
    }

    /// Whether code of a source file (`STT_FILE`) can name a symbol.
    pub fn is_visible(&self, symbol: &HostSymbol, file: &str) -> bool {
        symbol.binding != Binding::Local || self.strings.get(&self.bytes, symbol.file) == file.as_bytes()
    }

    /// The executable segment that an address is in, and how far into it the address is.
    pub fn code(&self, at: LinkAddress) -> Option<(&[u8], usize)> {
        self.code.iter().find_map(|(start, range)| {
            let bytes = &self.bytes[range.clone()];
            let from = usize::try_from(at.checked_since(*start)?).ok()?;
            (from < bytes.len()).then_some((bytes, from))
        })
    }

    /// How many bytes there are from `at` to the next function's first byte, or to the end of the code.
    pub fn room(&self, at: LinkAddress) -> u64 {
        let next = self.functions.partition_point(|&f| self.symbols[f as usize].address <= at);
        let next = self.functions.get(next).map(|&f| self.symbols[f as usize].address);
        let end = self.code.iter().find_map(|(start, range)| {
            let end = start.checked_add(range.len() as u64)?;
            (*start <= at && at < end).then_some(end)
        });
        let limit = match (next, end) {
            (Some(next), Some(end)) => next.min(end),
            (None, Some(end)) => end,
            _ => at,
        };
        limit.0 - at.0.min(limit.0)
    }

    /// The function whose code an address lies in.
    pub fn function_at(&self, at: LinkAddress) -> Option<&HostSymbol> {
        let after = self.functions.partition_point(|&f| self.symbols[f as usize].address <= at);
        let symbol = &self.symbols[*self.functions.get(after.checked_sub(1)?)? as usize];
        (at.checked_since(symbol.address)? < symbol.size.max(1)).then_some(symbol)
    }

    fn read_segments(&mut self, header: &Header, endian: LE, data: &[u8]) -> Result<(), ObjectError> {
        let fail = ObjectError::container("ELF image");
        for segment in header.program_headers(endian, data).map_err(&fail)? {
            let address = LinkAddress(segment.p_vaddr(endian));
            let length = segment.p_memsz(endian);
            match segment.p_type(endian) {
                elf::PT_LOAD => {
                    let executable = segment.p_flags(endian) & elf::PF_X != 0;
                    if executable {
                        let (offset, length) = segment.file_range(endian);
                        let range = checked_range(offset, length, data.len())
                            .ok_or(ObjectError::Inconsistent { what: "a program header" })?;
                        self.code.push((address, range));
                    }
                    self.segments.push(Segment { address, length, executable });
                }
                elf::PT_TLS => {
                    let align = segment.p_align(endian).max(1);
                    if !align.is_power_of_two() || length > 1 << 40 {
                        return Err(ObjectError::Inconsistent { what: "the thread-local segment" });
                    }
                    let architecture = self.architecture;
                    self.tls = Some(TlsSegment { size: length, align, address, architecture });
                }
                elf::PT_NOTE => {
                    let notes = segment.notes(endian, data).map_err(&fail)?;
                    self.build_id = build_id(notes, endian).unwrap_or(std::mem::take(&mut self.build_id));
                }
                _ => {}
            }
        }
        if self.segments.iter().all(|segment| !segment.executable) {
            return Err(ObjectError::WrongKind { needed: "an image with code", found: "no code".into() });
        }
        Ok(())
    }

    fn read_symbols(&mut self, header: &Header, endian: LE, data: &[u8]) -> Result<(), ObjectError> {
        let fail = ObjectError::container("symbol table");
        let sections = header.sections(endian, data).map_err(&fail)?;
        let table = sections.symbols(endian, data, elf::SHT_SYMTAB).map_err(&fail)?;
        if table.is_empty() {
            return Ok(());
        }
        let strings = sections.section(table.string_section()).map_err(&fail)?;
        self.strings = Strings::read(strings, data)?;
        let mut hashes = Vec::new();
        let mut file = 0;
        for symbol in table.symbols() {
            let name = symbol.st_name(endian);
            if symbol.st_type() == elf::STT_FILE {
                file = name;
                continue;
            }
            let index = symbol.st_shndx(endian);
            let bytes = self.strings.get(data, name);
            if index == elf::SHN_UNDEF || symbol.st_type() == elf::STT_SECTION || text(bytes).is_empty() {
                continue;
            }
            hashes.push(hash(bytes));
            let local = symbol.st_bind() == elf::STB_LOCAL;
            self.symbols.push(HostSymbol {
                file: if local { file } else { 0 },
                name,
                address: LinkAddress(symbol.st_value(endian)),
                size: symbol.st_size(endian),
                kind: kind(symbol.st_type()),
                binding: match symbol.st_bind() {
                    elf::STB_LOCAL => Binding::Local,
                    elf::STB_WEAK => Binding::Weak,
                    _ => Binding::Global,
                },
                absolute: index == elf::SHN_ABS,
            });
        }
        self.index(&hashes)
    }

    fn index(&mut self, hashes: &[u64]) -> Result<(), ObjectError> {
        let count = u32::try_from(self.symbols.len())
            .map_err(|_| ObjectError::Inconsistent { what: "the symbol table's size" })?;
        let symbols = &self.symbols;
        self.by_name = HashTable::with_capacity(symbols.len());
        for (at, &hash) in (0..count).zip(hashes) {
            self.by_name.insert_unique(hash, at, |&at| hashes[at as usize]);
        }
        self.functions = (0..count)
            .filter(|&at| {
                let symbol = &symbols[at as usize];
                matches!(symbol.kind, SymbolKind::Function | SymbolKind::IndirectFunction) && !symbol.absolute
            })
            .collect();
        self.functions.sort_unstable_by_key(|&at| symbols[at as usize].address);
        Ok(())
    }
}

fn hash(name: &[u8]) -> u64 {
    FxBuildHasher.hash_one(name)
}

/// The only definition among `all`; definitions at one address count as one.
fn one<'h>(mut all: impl Iterator<Item = &'h HostSymbol>) -> Lookup<'h> {
    let Some(first) = all.next() else { return Lookup::Missing };
    if all.all(|other| other.address == first.address && other.kind == first.kind) {
        Lookup::Found(first)
    } else {
        Lookup::Ambiguous
    }
}

fn kind(symbol_type: u8) -> SymbolKind {
    match symbol_type {
        elf::STT_FUNC => SymbolKind::Function,
        elf::STT_OBJECT | elf::STT_COMMON => SymbolKind::Data,
        elf::STT_TLS => SymbolKind::ThreadLocal,
        elf::STT_GNU_IFUNC => SymbolKind::IndirectFunction,
        _ => SymbolKind::None,
    }
}

fn build_id(notes: Option<object::read::elf::NoteIterator<'_, Header>>, endian: LE) -> Option<Vec<u8>> {
    let mut notes = notes?;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
            return Some(note.desc().to_vec());
        }
    }
    None
}
