//! Objects that use the host's statics and thread-locals in the place of their own.
//!
//! A thin build's objects define their crate's variables anew. Linked as they are, a patch library would have copies,
//! with values that begin at the beginning. Here such a definition becomes a reference to the name: the stub
//! object then leads to the variable that the host has, value and all.
//!
//! Only what is known for certain is shared: a variable that is alone in a writable section, as compilers place them
//! for Rust and with `-fdata-sections`, whose name stands for one variable of the host's. Constants with addresses in
//! them (`.data.rel.ro`) are the object's own: nobody writes to them.
//!
//! Specification: System V gABI chapter 4; 64-bit little-endian ELF. Other objects are left as they are.

use crate::stubs::{HotpatchModuleCache, Lookup};
use livepatch_object::relocatable::SymbolKind;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _, SectionTable, Sym as _, SymbolTable};
use object::{FileKind, LittleEndian as LE, SectionIndex};
use rustc_hash::{FxHashMap, FxHashSet};

/// An object after [`share_statics`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedStatics {
    /// The object.
    pub bytes: Vec<u8>,
    /// The variables that are the host's from now on, ascending.
    pub names: Vec<String>,
}

type Header = FileHeader64<LE>;
type Failure = object::read::Error;

/// Has `object` use the variables that `host` has, but for those that `fresh` names.
///
/// ```no_run
/// use livepatch_build::statics::share_statics;
/// use livepatch_build::stubs::HotpatchModuleCache;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let host = HotpatchModuleCache::from_path("target/debug/app")?;
/// let shared = share_statics(&std::fs::read("patch.o")?, &host, &Default::default())?;
/// println!("live values of {:?} are kept", shared.names);
/// # Ok(())
/// # }
/// ```
pub fn share_statics(
    object: &[u8],
    host: &HotpatchModuleCache,
    fresh: &FxHashSet<String>,
) -> Result<SharedStatics, Failure> {
    if FileKind::parse(object)? != FileKind::Elf64 || object.get(5) != Some(&elf::ELFDATA2LSB) {
        return Ok(SharedStatics { bytes: object.to_vec(), names: Vec::new() });
    }
    let header = Header::parse(object)?;
    let sections = header.sections(LE, object)?;
    let symbols = sections.symbols(LE, object, elf::SHT_SYMTAB)?;
    let variables = variables(&sections, &symbols, host, fresh)?;
    let mut names: Vec<String> = variables.values().map(|variable| variable.name.clone()).collect();
    names.sort_unstable();
    if names.is_empty() || symbols.shndx_section().0 != 0 {
        return Ok(SharedStatics { bytes: object.to_vec(), names: Vec::new() });
    }
    let mut bytes = object.to_vec();
    let used = relocations(object, &sections)?.into_iter().map(|one| one.symbol).collect();
    let (replaced, new, retired) = undefine(&symbols, variables, &used);
    point_relocations(&mut bytes, object, &sections, &replaced)?;
    append_symbols(&mut bytes, object, header, &sections, &symbols, &new, &retired)?;
    Ok(SharedStatics { bytes, names })
}

/// A variable that is to be the host's.
struct Variable {
    name: String,
    symbol: usize,
    is_local: bool,
    is_thread_local: bool,
}

/// The variables of an object that the host has too, by section.
fn variables(
    sections: &SectionTable<'_, Header>,
    symbols: &SymbolTable<'_, Header>,
    host: &HotpatchModuleCache,
    fresh: &FxHashSet<String>,
) -> Result<FxHashMap<usize, Variable>, Failure> {
    let mut found: FxHashMap<usize, Variable> = FxHashMap::default();
    let mut crowded: FxHashSet<usize> = FxHashSet::default();
    for (at, symbol) in symbols.enumerate() {
        let section = usize::from(symbol.st_shndx(LE));
        let kind = symbol.st_type();
        if matches!(kind, elf::STT_SECTION | elf::STT_FILE) || section == 0 || section >= sections.len() {
            continue;
        }
        let name = String::from_utf8_lossy(symbols.symbol_name(LE, symbol)?).into_owned();
        // Marks where data begins; in thread-local sections it has the type of what is there.
        if is_mapping(&name) && symbol.is_local() {
            continue;
        }
        let variable = Variable {
            name,
            symbol: at.0,
            is_local: symbol.is_local(),
            is_thread_local: kind == elf::STT_TLS,
        };
        let whole = symbol.st_value(LE) == 0 && matches!(kind, elf::STT_OBJECT | elf::STT_TLS);
        if found.insert(section, variable).is_some() || !whole {
            crowded.insert(section);
        }
    }
    found.retain(|section, variable| {
        !crowded.contains(section)
            && !fresh.contains(&variable.name)
            && is_writable(sections, *section)
            && is_of_host(host, variable)
    });
    Ok(found)
}

/// Whether a name marks a state of code or data (AArch64 ELF ABI, "Mapping symbols").
fn is_mapping(name: &str) -> bool {
    matches!(name.as_bytes(), [b'$', b'a' | b'd' | b't' | b'x'] | [b'$', b'a' | b'd' | b't' | b'x', b'.', ..])
}

fn is_writable(sections: &SectionTable<'_, Header>, section: usize) -> bool {
    let Ok(header) = sections.section(SectionIndex(section)) else { return false };
    let flags = u64::from(elf::SHF_ALLOC | elf::SHF_WRITE);
    let name = sections.section_name(LE, header).unwrap_or_default();
    header.sh_flags(LE) & flags == flags
        && matches!(header.sh_type(LE), elf::SHT_PROGBITS | elf::SHT_NOBITS)
        && !name.starts_with(b".data.rel.ro")
        // The address of a personality routine, which compilers put into a word of its own.
        && !name.starts_with(b".data.DW.ref.")
}

fn is_of_host(host: &HotpatchModuleCache, variable: &Variable) -> bool {
    let wanted = if variable.is_thread_local { SymbolKind::ThreadLocal } else { SymbolKind::Data };
    matches!(host.lookup(&variable.name), Lookup::Found(symbol) if symbol.kind == wanted)
}

/// A symbol that is to be appended.
struct NewSymbol {
    name: String,
    is_thread_local: bool,
}

/// What the names of symbols begin with that nothing refers to any more.
const UNUSED: &str = "__livepatch_unused.";

/// What a symbol's entry becomes where its variable is the host's and the symbol was global: what is global cannot just
/// go, so it becomes another name that may stay undefined.
struct Retired {
    symbol: usize,
    name: String,
}

/// Takes definitions away. Answers with what symbols are replaced by, the new symbols for that, and the old ones that are
/// in the way of them.
fn undefine(
    symbols: &SymbolTable<'_, Header>,
    variables: FxHashMap<usize, Variable>,
    used: &FxHashSet<usize>,
) -> (FxHashMap<usize, usize>, Vec<NewSymbol>, Vec<Retired>) {
    let (mut replaced, mut new, mut retired) = (FxHashMap::default(), Vec::new(), Vec::new());
    let mut of_section: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
    for (at, symbol) in symbols.enumerate() {
        of_section.entry(symbol.st_shndx(LE).into()).or_default().push(at.0);
    }
    for (section, variable) in variables {
        let own = of_section.remove(&section).unwrap_or_default();
        if !variable.is_local {
            retired.push(Retired { symbol: variable.symbol, name: format!("{UNUSED}{}", variable.name) });
        }
        // A name that nothing refers to need not be resolved.
        if own.iter().any(|symbol| used.contains(symbol)) {
            replaced.extend(own.into_iter().map(|symbol| (symbol, symbols.len() + new.len())));
            let is_thread_local = variable.is_thread_local;
            new.push(NewSymbol { name: variable.name, is_thread_local });
        }
    }
    (replaced, new, retired)
}

/// Sizes of table entries.
const SYMBOL: u64 = 24;
const RELA: u64 = 24;

/// A relocation of something that is loaded.
struct Relocation {
    /// Where its `r_info` is in the file.
    info: (u64, u64),
    symbol: usize,
    kind: u32,
}

fn relocations(object: &[u8], sections: &SectionTable<'_, Header>) -> Result<Vec<Relocation>, Failure> {
    let mut all = Vec::new();
    for section in sections.iter() {
        let Some((entries, _)) = section.rela(LE, object)? else { continue };
        let target = sections.section(SectionIndex(section.sh_info(LE) as usize))?;
        if target.sh_flags(LE) & u64::from(elf::SHF_ALLOC) == 0 {
            continue;
        }
        all.extend(entries.iter().enumerate().map(|(at, rela)| Relocation {
            info: (section.sh_offset(LE), at as u64 * RELA + 8),
            symbol: rela.r_sym(LE, false) as usize,
            kind: rela.r_type(LE, false),
        }));
    }
    Ok(all)
}

/// Has relocations refer to the replacements. A section begins where its only variable does, so what they add
/// stays.
fn point_relocations(
    bytes: &mut [u8],
    object: &[u8],
    sections: &SectionTable<'_, Header>,
    replaced: &FxHashMap<usize, usize>,
) -> Result<(), Failure> {
    for Relocation { info: (table, offset), symbol, kind } in relocations(object, sections)? {
        if let Some(&by) = replaced.get(&symbol) {
            write(bytes, table, offset, &((by as u64) << 32 | u64::from(kind)).to_le_bytes());
        }
    }
    Ok(())
}

/// Puts the symbol table and its strings to the end of the file, with the new symbols in them.
fn append_symbols(
    bytes: &mut Vec<u8>,
    object: &[u8],
    header: &Header,
    sections: &SectionTable<'_, Header>,
    symbols: &SymbolTable<'_, Header>,
    new: &[NewSymbol],
    retired: &[Retired],
) -> Result<(), Failure> {
    let (table, strings) =
        (sections.section(symbols.section())?, sections.section(symbols.string_section())?);
    let start = usize::try_from(table.sh_offset(LE)).unwrap_or(usize::MAX);
    let length = table.data(LE, object)?.len();
    // As changed so far.
    let mut entries = bytes.get(start..start.saturating_add(length)).unwrap_or_default().to_vec();
    let mut text = strings.data(LE, object)?.to_vec();
    let mut undefined = |name: &str, binding: u8, kind: u8| {
        let at = u32::try_from(text.len()).unwrap_or(u32::MAX);
        text.extend_from_slice(name.as_bytes());
        text.push(0);
        [&at.to_le_bytes()[..], &[binding << 4 | kind, elf::STV_HIDDEN], &[0; 18]].concat()
    };
    for symbol in new {
        let kind = if symbol.is_thread_local { elf::STT_TLS } else { elf::STT_NOTYPE };
        entries.extend(undefined(&symbol.name, elf::STB_GLOBAL, kind));
    }
    for Retired { symbol, name } in retired {
        let entry = undefined(name, elf::STB_WEAK, elf::STT_NOTYPE);
        write(&mut entries, 0, *symbol as u64 * SYMBOL, &entry);
    }
    for (section, contents) in [(symbols.section(), entries), (symbols.string_section(), text)] {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        // sh_offset and sh_size follow each other.
        let place = [bytes.len() as u64, contents.len() as u64].map(u64::to_le_bytes).concat();
        bytes.extend_from_slice(&contents);
        let entry = section.0 as u64 * u64::from(header.e_shentsize(LE)) + 24;
        write(bytes, header.e_shoff(LE), entry, &place);
    }
    Ok(())
}

/// Writes to a table that was read before.
fn write(bytes: &mut [u8], table: u64, offset: u64, value: &[u8]) {
    let at = table.checked_add(offset).and_then(|at| usize::try_from(at).ok());
    let end = at.and_then(|at| at.checked_add(value.len()));
    if let Some(field) = at.zip(end).and_then(|(at, end)| bytes.get_mut(at..end)) {
        field.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests;
