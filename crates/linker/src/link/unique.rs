//! Definitions that there is one of in the whole process (`STB_GNU_UNIQUE`), whichever scopes find it: the first
//! that was used.

use super::resolve::Definition;
use crate::loaded::Loaded;
use crate::module::Module;
use livepatch_object::address::RuntimeAddress;
use livepatch_object::loadable::hash::Name;
use livepatch_object::loadable::symbol::Symbol;
use object::elf;
use rustc_hash::FxHashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

static FIRST: LazyLock<Mutex<FxHashMap<Box<[u8]>, Definition>>> = LazyLock::new(Mutex::default);

/// The one that a definition of such a symbol stands for; others stand for themselves. The modules are those
/// of the lookup that found it.
pub(crate) fn first(found: Definition, name: &Name<'_>, modules: &[Module]) -> Definition {
    match &found {
        Definition::Symbol(_, symbol) if is_unique(symbol) => {}
        _ => return found,
    }
    let mut all = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(name.bytes) {
        return known.clone();
    }
    // The program's loader has a table of its own. What is in there is what modules of the program use.
    let of_host = modules.iter().find_map(|module| of_host(module, name));
    let first = of_host.map_or(found, |address| Definition::Address(address, "the program"));
    all.insert(name.bytes.into(), first.clone());
    first
}

/// Forgets those of a library that is unloaded.
pub(crate) fn forget(library: &Loaded) {
    let mut all = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, definition| {
        !matches!(definition, Definition::Symbol(Module::Library(other), _) if other.id == library.id)
    });
}

fn is_unique(symbol: &Symbol) -> bool {
    symbol.binding() == elf::STB_GNU_UNIQUE
}

/// Where modules of the program have a unique symbol that this one defines, in whichever version.
fn of_host(module: &Module, name: &Name<'_>) -> Option<RuntimeAddress> {
    let Module::Host(host) = module else { return None };
    let tables = &host.definitions.tables;
    let mut found = None;
    let index = tables.hash.find(name, |index| {
        let symbol = tables.symbols.get(index);
        found = symbol.filter(|symbol| {
            is_unique(symbol) && symbol.is_exported() && tables.symbols.is_named(symbol, name.bytes)
        });
        found.is_some()
    });
    host.bound(index?).or_else(|| Some(host.definitions.address(&found?)))
}
