//! What objects refer to and do not define.

use super::StubError;
use super::readable::parse;
use super::references::References;
use super::target::StubTarget;
use object::{Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _, RelocationTarget};
use object::{SectionFlags, SectionKind, SymbolFlags, elf, macho};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::hash_map::Entry;

/// A symbol that objects refer to and do not define.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NeededSymbol {
    /// Its name, as the object spells it.
    pub name: String,
    /// Whether it may stay undefined.
    pub weak: bool,
    /// Whether an object says that it is a thread-local.
    pub thread_local: bool,
    /// How code and data refer to it.
    pub references: References,
}

/// What objects refer to and do not define, sorted by name, so that two can be compared or hashed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct NeededSymbols {
    symbols: Vec<NeededSymbol>,
}

impl NeededSymbols {
    /// Strong references to these names; nothing is known of how they are referred to.
    pub fn from_names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let one = |name: S| NeededSymbol {
            name: name.into(),
            weak: false,
            thread_local: false,
            references: References::NONE,
        };
        let mut symbols: Vec<_> = names.into_iter().map(one).collect();
        symbols.sort_unstable();
        symbols.dedup();
        Self { symbols }
    }

    /// The names, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.symbols.iter().map(|symbol| symbol.name.as_str())
    }

    /// The symbols, ascending by name.
    pub fn iter(&self) -> std::slice::Iter<'_, NeededSymbol> {
        self.symbols.iter()
    }

    /// The symbol of a name.
    pub fn get(&self, name: &str) -> Option<&NeededSymbol> {
        let at = self.symbols.binary_search_by(|symbol| symbol.name.as_str().cmp(name)).ok()?;
        self.symbols.get(at)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }
}

/// The sorted symbols that an object refers to and does not define.
///
/// ```no_run
/// use livepatch_build::stubs::compute_needed_symbols;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let needed = compute_needed_symbols(&std::fs::read("patch.o")?)?;
/// for symbol in needed.iter() {
///     println!("{}: {}", symbol.name, symbol.references);
/// }
/// # Ok(())
/// # }
/// ```
pub fn compute_needed_symbols(object: &[u8]) -> Result<NeededSymbols, StubError> {
    compute_needed_symbols_multi(&[object])
}

/// The sorted symbols that objects refer to and that none of them defines for the others: the union of the
/// undefined minus the union of the defined. What an object keeps to itself (a local symbol) serves no other.
///
/// ```
/// use livepatch_build::stubs::compute_needed_symbols_multi;
///
/// let objects: [&[u8]; 0] = [];
/// assert!(compute_needed_symbols_multi(&objects)?.is_empty());
/// # Ok::<(), livepatch_build::stubs::StubError>(())
/// ```
pub fn compute_needed_symbols_multi<T: AsRef<[u8]>>(objects: &[T]) -> Result<NeededSymbols, StubError> {
    let mut names = Names::default();
    for object in objects {
        names.add(object.as_ref())?;
    }
    names.finish()
}

#[derive(Default)]
struct Names<'d> {
    undefined: FxHashMap<&'d [u8], Undefined>,
    defined: FxHashSet<&'d [u8]>,
}

#[derive(Clone, Copy)]
struct Undefined {
    weak: bool,
    thread_local: bool,
    references: References,
}

impl<'d> Names<'d> {
    fn add(&mut self, object: &'d [u8]) -> Result<(), StubError> {
        let file = parse(object, "relocatable object")?;
        if file.kind() != ObjectKind::Relocatable {
            return Err(StubError::NotRelocatable { found: format!("{:?}", file.kind()) });
        }
        let target = StubTarget::of(&file)?;
        let fail = StubError::unreadable("symbol table");
        // By the object's own index, for the relocations.
        let mut own: FxHashMap<usize, (&'d [u8], Undefined)> = FxHashMap::default();
        for symbol in file.symbols() {
            let name = symbol.name_bytes().map_err(&fail)?;
            if name.is_empty() {
                continue;
            }
            if symbol.is_undefined() && !symbol.is_common() {
                let one = Undefined {
                    weak: is_weak(&symbol),
                    thread_local: symbol.kind() == object::SymbolKind::Tls,
                    references: References::NONE,
                };
                own.insert(symbol.index().0, (name, one));
            } else if !symbol.is_local() {
                self.defined.insert(name);
            }
        }
        for section in file.sections().filter(is_loaded) {
            for (_, relocation) in section.relocations() {
                if let RelocationTarget::Symbol(index) = relocation.target()
                    && let Some((_, undefined)) = own.get_mut(&index.0)
                {
                    let more = References::of(target, relocation.flags());
                    undefined.references = undefined.references.with(more);
                }
            }
        }
        for (name, one) in own.into_values() {
            match self.undefined.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(one);
                }
                Entry::Occupied(mut entry) => {
                    let before = entry.get_mut();
                    before.weak &= one.weak;
                    before.thread_local |= one.thread_local;
                    before.references = before.references.with(one.references);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<NeededSymbols, StubError> {
        let Self { undefined, defined } = self;
        let mut symbols = undefined
            .into_iter()
            .filter(|(name, _)| !defined.contains(name))
            .map(|(name, one)| {
                let name = std::str::from_utf8(name).map_err(|_| StubError::NameNotUtf8)?;
                Ok(NeededSymbol {
                    name: name.to_owned(),
                    weak: one.weak,
                    thread_local: one.thread_local,
                    references: one.references,
                })
            })
            .collect::<Result<Vec<_>, StubError>>()?;
        symbols.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(NeededSymbols { symbols })
    }
}

/// Whether an undefined symbol may stay undefined.
fn is_weak<'d>(symbol: &object::Symbol<'d, '_>) -> bool {
    match symbol.flags() {
        SymbolFlags::MachO { n_desc } => n_desc & macho::N_WEAK_REF != 0,
        // A COFF weak external that is undefined has a default, which is why it is not undefined here.
        _ => symbol.is_weak(),
    }
}

/// Whether the running program has a section. References of debug information need nothing.
fn is_loaded<'d>(section: &object::Section<'d, '_>) -> bool {
    match section.flags() {
        SectionFlags::Elf { sh_flags } => sh_flags & u64::from(elf::SHF_ALLOC) != 0,
        _ => !matches!(section.kind(), SectionKind::Debug | SectionKind::DebugString),
    }
}
