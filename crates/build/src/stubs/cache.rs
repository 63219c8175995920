//! The host, parsed once: what it defines, and where its file has it.

mod elf;
mod other;

use super::StubError;
use super::needed::NeededSymbol;
use super::target::StubTarget;
use hashbrown::HashTable;
use livepatch_object::address::{LinkAddress, RuntimeAddress, Slide};
use livepatch_object::relocatable::{Binding, SymbolKind};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::hash::BuildHasher as _;
use std::path::Path;
use std::sync::Arc;

/// The anchor of a host that links the `livepatch` crate, as C sees it.
pub const ANCHOR: &str = livepatch_proto::HOST_ANCHOR;

/// Images move by whole pages; no target has smaller ones.
const PAGE: u64 = 0x1000;

/// How many names are [read ahead](HotpatchModuleCache::read_ahead) together.
pub(super) const READ_AHEAD: usize = 64;

/// Bytes that memory delivers at once, on most machines.
const CACHE_LINE: usize = 64;

/// Who can see a symbol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Visibility {
    /// Every image of the process.
    Default,
    /// Every image, and this one always means its own.
    Protected,
    /// This image only (`STV_HIDDEN`, `STV_INTERNAL`, `N_PEXT`).
    Hidden,
}

/// Which of a host's tables the symbols are from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SymbolSource {
    /// All symbols: `.symtab`, `LC_SYMTAB`, COFF.
    Symtab,
    /// `.dynsym`, because there is no `.symtab`: exported symbols only.
    Dynsym,
    /// PE exports, because there are no COFF symbols.
    Exports,
}

/// A symbol that the host defines.
#[derive(Clone, Debug)]
pub struct ModuleSymbol {
    pub(super) name: Name,
    section: u32,
    /// Where; for ELF's thread-locals the offset in the TLS segment.
    pub address: LinkAddress,
    /// How long, in bytes; 0 where the container does not say.
    pub size: u64,
    /// Its type. What has none is a function if it is in code.
    pub kind: SymbolKind,
    /// Its binding.
    pub binding: Binding,
    /// Who can see it.
    pub visibility: Visibility,
    /// Whether its value is absolute: the same in every process.
    pub absolute: bool,
    /// Whether it is a function in Thumb state; the address has the bit cleared.
    pub thumb: bool,
}

/// Where a name is among all names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name {
    start: u32,
    length: u32,
}

/// What a name stands for in the host.
#[derive(Clone, Debug)]
pub enum Lookup<'c> {
    /// No definition.
    Missing,
    /// One, or several at one address.
    Found(&'c ModuleSymbol),
    /// Several, at different addresses.
    Ambiguous(Vec<&'c ModuleSymbol>),
}

/// The thread-local storage of an image whose offset from the thread pointer is known: an executable's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ThreadSegment {
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) align: u64,
}

/// What there is to say of an image besides its symbols.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) target: StubTarget,
    pub(super) source: SymbolSource,
    pub(super) build_id: Vec<u8>,
    pub(super) entry: LinkAddress,
    /// `e_flags`; what is linked with it must agree with it.
    pub(super) elf_flags: u32,
    /// Mach-O: platform, oldest version, SDK.
    pub(super) platform: Option<[u32; 3]>,
    /// The TLS segment, if this is an executable.
    pub(super) threads: Option<ThreadSegment>,
    pub(super) sections: Vec<String>,
    /// Slots that the loader fills with the address of what the image imports, by name.
    pub(super) import_slots: FxHashMap<String, LinkAddress>,
    /// What the image imports through slots that only its own stubs can go through before they are bound.
    pub(super) lazy_imports: FxHashSet<String>,
    /// Slots that the loader fills with what a resolver answers, by the resolver's address.
    pub(super) resolver_slots: FxHashMap<u64, LinkAddress>,
}

struct Module {
    facts: Facts,
    names: Vec<u8>,
    symbols: Vec<ModuleSymbol>,
    by_name: HashTable<u32>,
}

/// The host, parsed once. A clone shares what was parsed.
///
/// ```
/// use livepatch_build::stubs::{HotpatchModuleCache, Lookup};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let host = HotpatchModuleCache::from_path(std::env::current_exe()?)?;
/// assert!(matches!(host.lookup("main"), Lookup::Found(_)));
/// assert!(matches!(host.lookup("no such function"), Lookup::Missing));
/// println!("{} symbols for {}", host.symbol_count(), host.target());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HotpatchModuleCache {
    module: Arc<Module>,
    anchor: Anchor,
}

/// What the process says the address of.
#[derive(Clone, Debug)]
enum Anchor {
    /// The symbol of this name, as the object files spell it.
    Symbol(Arc<str>),
    /// What the file has there: the entry point, say.
    Address(LinkAddress),
}

impl std::fmt::Debug for HotpatchModuleCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HotpatchModuleCache({}, {} symbols)", self.target(), self.symbol_count())
    }
}

impl HotpatchModuleCache {
    /// Reads and parses the host at `path`.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, StubError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| StubError::Io { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes)
    }

    /// Parses a linked ELF, Mach-O or PE image. The bytes are not kept.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StubError> {
        let (facts, table) =
            if bytes.starts_with(&object::elf::ELFMAG) { elf::read(bytes)? } else { other::read(bytes)? };
        let name = match facts.target.format {
            super::Format::MachO => format!("_{ANCHOR}"),
            super::Format::Elf | super::Format::Coff => ANCHOR.to_owned(),
        };
        Ok(Self { module: Arc::new(table.index(facts)?), anchor: Anchor::Symbol(name.into()) })
    }

    /// The same host, with another symbol for an anchor than [`ANCHOR`]; its name is spelled as in the file.
    pub fn with_anchor(&self, name: &str) -> Self {
        Self { module: self.module.clone(), anchor: Anchor::Symbol(name.into()) }
    }

    /// The same host, with what the file has at `address` for an anchor: its entry point, say, for a program
    /// that knows nothing of live patching.
    pub fn with_anchor_at(&self, address: LinkAddress) -> Self {
        Self { module: self.module.clone(), anchor: Anchor::Address(address) }
    }

    /// Where the file has the anchor.
    pub fn anchor(&self) -> Result<LinkAddress, StubError> {
        match &self.anchor {
            Anchor::Address(address) => Ok(*address),
            Anchor::Symbol(name) => match self.lookup(name) {
                Lookup::Found(symbol) => Ok(symbol.address),
                Lookup::Missing => Err(StubError::NoAnchor { name: name.to_string() }),
                Lookup::Ambiguous(_) => Err(StubError::AmbiguousAnchor { name: name.to_string() }),
            },
        }
    }

    /// How far the process has the host from where the file has it, when it has the anchor at
    /// `aslr_reference`.
    pub fn slide(&self, aslr_reference: RuntimeAddress) -> Result<Slide, StubError> {
        use super::target::{Format, InstructionSet};
        let target = self.target();
        let anchor = self.anchor()?;
        let reference = match target.instructions {
            // A function's address says which state it is in.
            InstructionSet::Arm | InstructionSet::Thumb => RuntimeAddress(aslr_reference.0 & !1),
            _ => aslr_reference,
        };
        // Windows may load an image below the address that it was linked for.
        if reference.0 < anchor.0 && target.format != Format::Coff {
            return Err(StubError::ReferenceBelowAnchor { reference, anchor });
        }
        if !reference.0.abs_diff(anchor.0).is_multiple_of(PAGE) {
            return Err(StubError::SlideNotAligned { reference, anchor });
        }
        if i64::try_from(i128::from(reference.0) - i128::from(anchor.0)).is_err() {
            return Err(StubError::SlideOverflow { reference, anchor });
        }
        Ok(Slide::between(anchor, reference))
    }

    /// What the host is for.
    pub fn target(&self) -> StubTarget {
        self.module.facts.target
    }

    /// Which table the symbols are from.
    pub fn source(&self) -> SymbolSource {
        self.module.facts.source
    }

    /// GNU build-id, `LC_UUID` or CodeView GUID; empty when there is none.
    pub fn build_id(&self) -> &[u8] {
        &self.module.facts.build_id
    }

    /// The entry point; 0 if there is none.
    pub fn entry(&self) -> LinkAddress {
        self.module.facts.entry
    }

    /// How many symbols the host defines.
    pub fn symbol_count(&self) -> usize {
        self.module.symbols.len()
    }

    /// All symbols that the host defines, in the file's order.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, &ModuleSymbol)> {
        self.module.symbols.iter().map(|symbol| (self.name(symbol), symbol))
    }

    /// A symbol's name; the empty one if it is not text.
    pub fn name(&self, symbol: &ModuleSymbol) -> &str {
        std::str::from_utf8(self.module.name(symbol.name)).unwrap_or_default()
    }

    /// The name of the section that a symbol is in; the empty one for an absolute symbol.
    pub fn section(&self, symbol: &ModuleSymbol) -> &str {
        self.module.facts.sections.get(symbol.section as usize).map_or("", String::as_str)
    }

    /// The definition of a name: the global one; else the only local one; else the only one that differs in
    /// nothing but the `.llvm.<n>` that LLVM ends the name of a promoted local symbol with.
    pub fn lookup(&self, name: &str) -> Lookup<'_> {
        let name = name.as_bytes();
        let module = &*self.module;
        // Nearly always there is one, under its own name.
        let base = without_suffix(name);
        let candidates =
            || module.by_name.iter_hash(hash(base)).filter_map(|&at| module.symbols.get(at as usize));
        let exact = |symbol: &&ModuleSymbol| module.name(symbol.name) == name;
        match one(candidates().filter(exact).filter(|symbol| symbol.binding != Binding::Local)) {
            Lookup::Missing => {}
            found => return found,
        }
        match one(candidates().filter(exact)) {
            Lookup::Missing => {}
            found => return found,
        }
        one(candidates().filter(|symbol| without_suffix(module.name(symbol.name)) == base))
    }

    /// Has memory deliver what lookups of these names will read. In a large host each of them waits for memory four times
    /// over; here one does not wait for another.
    pub(super) fn read_ahead(&self, symbols: &[NeededSymbol]) {
        let module = &*self.module;
        let mut places = [0_usize; READ_AHEAD];
        let mut seen = 0_usize;
        let mut hashes = [0_u64; READ_AHEAD];
        for (symbol, hash_of) in symbols.iter().zip(&mut hashes) {
            *hash_of = hash(without_suffix(symbol.name.as_bytes()));
        }
        for (&hash, place) in hashes.iter().zip(&mut places) {
            *place = module.by_name.iter_hash(hash).next().map_or(0, |&at| at as usize);
        }
        for place in &mut places {
            *place = module.symbols.get(*place).map_or(0, |symbol| symbol.name.start as usize);
        }
        for place in places {
            seen += usize::from(module.names.get(place).copied().unwrap_or_default());
            seen += usize::from(module.names.get(place + CACHE_LINE).copied().unwrap_or_default());
        }
        std::hint::black_box(seen);
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.module.facts
    }
}

/// The definition among all; several at one address count as one.
fn one<'c>(mut all: impl Iterator<Item = &'c ModuleSymbol>) -> Lookup<'c> {
    let Some(first) = all.next() else { return Lookup::Missing };
    let mut others: Vec<_> = all.filter(|o| o.address != first.address || o.kind != first.kind).collect();
    if others.is_empty() {
        return Lookup::Found(first);
    }
    others.insert(0, first);
    Lookup::Ambiguous(others)
}

/// A name without the `.llvm.<n>` at its end.
fn without_suffix(name: &[u8]) -> &[u8] {
    const INFIX: &[u8] = b".llvm.";
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return name;
    }
    name[..name.len() - digits].strip_suffix(INFIX).filter(|base| !base.is_empty()).unwrap_or(name)
}

fn hash(name: &[u8]) -> u64 {
    FxBuildHasher.hash_one(name)
}

impl Module {
    fn name(&self, name: Name) -> &[u8] {
        let start = name.start as usize;
        self.names.get(start..start + name.length as usize).unwrap_or_default()
    }
}

/// What a reader of a container collects.
#[derive(Default)]
struct Table {
    names: Vec<u8>,
    symbols: Vec<ModuleSymbol>,
    hashes: Vec<u64>,
}

/// What a container says of a symbol.
struct Entry {
    section: u32,
    address: u64,
    size: u64,
    kind: SymbolKind,
    binding: Binding,
    visibility: Visibility,
    absolute: bool,
    thumb: bool,
}

impl Table {
    fn with_capacity(symbols: usize, names: usize) -> Self {
        Self {
            names: Vec::with_capacity(names),
            symbols: Vec::with_capacity(symbols),
            hashes: Vec::with_capacity(symbols),
        }
    }

    fn push(&mut self, name: &[u8], entry: Entry) -> Result<(), StubError> {
        let too_large = |_| StubError::TooLarge { what: "the names of the host's symbols" };
        let start = u32::try_from(self.names.len()).map_err(too_large)?;
        let length = u32::try_from(name.len()).map_err(too_large)?;
        self.names.extend_from_slice(name);
        self.hashes.push(hash(without_suffix(name)));
        self.symbols.push(ModuleSymbol {
            name: Name { start, length },
            section: entry.section,
            address: LinkAddress(entry.address),
            size: entry.size,
            kind: entry.kind,
            binding: entry.binding,
            visibility: entry.visibility,
            absolute: entry.absolute,
            thumb: entry.thumb,
        });
        Ok(())
    }

    fn index(self, facts: Facts) -> Result<Module, StubError> {
        let Self { names, symbols, hashes } = self;
        let count =
            u32::try_from(symbols.len()).map_err(|_| StubError::TooLarge { what: "the host's symbols" })?;
        let mut by_name = HashTable::with_capacity(symbols.len());
        for (at, &hash) in (0..count).zip(&hashes) {
            by_name.insert_unique(hash, at, |&at| hashes[at as usize]);
        }
        Ok(Module { facts, names, symbols, by_name })
    }
}
