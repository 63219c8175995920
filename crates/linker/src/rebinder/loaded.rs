//! Slots of shared objects that linkers of this process have loaded.

use super::word;
use crate::link::lazy;
use crate::linker::Linker;
use crate::loaded::Loaded;
use crate::registry::{self, Entry as Known};
use livepatch::import_slot::{ImportSlot, Keep, SlotKind, SlotSource};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::relocation::{Entry, Formula, Width, howto};
use livepatch_object::loadable::symbol::Symbol;
use std::sync::Arc;

/// All of them.
pub(super) struct Libraries;

impl SlotSource for Libraries {
    fn slots(&self, symbol: &str) -> Vec<ImportSlot> {
        let all = registry::all();
        all.iter().flat_map(|known| of_library(known, symbol)).collect()
    }
}

fn of_library(known: &Known, name: &str) -> Vec<ImportSlot> {
    let tables = &known.library.definitions.tables;
    let relocations = &tables.relocations;
    let plain = relocations.plain.iter().chain(&relocations.plt).flat_map(|table| table.iter());
    let packed = relocations.packed.iter().flat_map(|(_, entries)| entries.iter().copied());
    let slot = |entry: Entry| {
        let symbol = tables.symbols.get(entry.symbol).filter(|_| entry.symbol != 0)?;
        let is_meant = !symbol.is_thread_local() && tables.symbols.is_named(&symbol, name.as_bytes());
        is_meant.then(|| slot(known, &entry, &symbol, name)).flatten()
    };
    plain.chain(packed).filter_map(slot).collect()
}

fn slot(known: &Known, entry: &Entry, symbol: &Symbol, name: &str) -> Option<ImportSlot> {
    let library: &Loaded = &known.library;
    let howto = howto(Machine::native()?, entry.kind).filter(|howto| howto.width == Width::Word64)?;
    let kind = match howto.formula {
        Formula::LazyImport => SlotKind::Function,
        Formula::Import => SlotKind::Import,
        Formula::Symbol => SlotKind::Data,
        _ => return None,
    };
    library.mapped.load(entry.place, 8)?;
    // SAFETY: in a readable segment of a library that `keep` has stay in memory.
    let word = unsafe { word(library.runtime(entry.place)?) }?;
    let holds = RuntimeAddress((word.load() as u64).wrapping_add_signed(entry.addend.wrapping_neg()));
    let own = symbol.is_defined().then(|| library.definitions.address(symbol));
    let is_bound = kind != SlotKind::Function || !library.is_code(holds) || own == Some(holds);
    let original = match is_bound {
        true => Some(holds).filter(|there| there.0 != 0),
        false => resolved(known, entry.symbol),
    };
    let version = library.definitions.tables.versions.of(entry.symbol);
    Some(ImportSlot {
        image: library.path.as_str().into(),
        symbol: name.to_owned(),
        version: version.map(|version| String::from_utf8_lossy(&version.name).into_owned()),
        kind,
        addend: entry.addend,
        is_bound,
        original: original.map(|at| at.0 as usize),
        word,
        keep: Keep::new(Arc::clone(&known.library)),
    })
}

/// What the slot would be bound to at the first call.
fn resolved(known: &Known, symbol: u32) -> Option<RuntimeAddress> {
    let linker = Linker { shared: known.linker.upgrade()? };
    let scope = linker.state().record(known.library.id)?.scope.clone();
    // The state is not locked any more: a function that says where another is may call the linker.
    lazy::resolve(&known.library, &scope, symbol).ok().map(|resolved| resolved.address)
}
