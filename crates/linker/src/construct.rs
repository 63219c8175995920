//! Construct (`CallConstructors`): initialisers, of each library once, of what it needs before its own.

use crate::LinkerError;
use crate::call;
use crate::host;
use crate::loaded::{LibraryId, Loaded};
use crate::module::Dependency;
use crate::registry;
use crate::state::State;
use crate::trace::{Event, Phase, Trace};
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::loadable::Problem;
use livepatch_object::loadable::dynamic::Table;
use rustc_hash::FxHashSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A function of a library that the linker calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Function {
    pub(crate) kind: &'static str,
    /// Checked to be code of the library.
    pub(crate) at: RuntimeAddress,
}

/// Which functions of a library are called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// `DT_INIT`, then `DT_INIT_ARRAY`.
    Initialisers,
    /// `DT_FINI_ARRAY` from its end, then `DT_FINI`.
    Finalisers,
}

/// Says whether all functions that are to be called are code.
pub(crate) fn check(library: &Loaded, which: Which) -> Result<(), LinkerError> {
    each(library, which, &mut |_| {})
}

/// Gives out functions in the order in which they are called, as their table has them at that moment: large
/// libraries have thousands, and few libraries' tables are worth a copy.
fn each(library: &Loaded, which: Which, call: &mut dyn FnMut(Function)) -> Result<(), LinkerError> {
    let dynamic = &library.definitions.tables.dynamic;
    match which {
        Which::Initialisers => {
            single(library, "DT_INIT", dynamic.init, call)?;
            array(library, "DT_INIT_ARRAY", &dynamic.init_array, which, call)
        }
        Which::Finalisers => {
            array(library, "DT_FINI_ARRAY", &dynamic.fini_array, which, call)?;
            single(library, "DT_FINI", dynamic.fini, call)
        }
    }
}

fn single(
    library: &Loaded,
    kind: &'static str,
    at: Option<LinkAddress>,
    call: &mut dyn FnMut(Function),
) -> Result<(), LinkerError> {
    let Some(at) = at.filter(|at| at.0 != 0) else { return Ok(()) };
    let at = RuntimeAddress(library.definitions.slide.bits().wrapping_add(at.0));
    if !library.is_code(at) {
        return Err(Problem::NotCode { what: kind, address: at.0 }.of(&library.path).into());
    }
    call(Function { kind, at });
    Ok(())
}

fn array(
    library: &Loaded,
    kind: &'static str,
    table: &Table,
    which: Which,
    call: &mut dyn FnMut(Function),
) -> Result<(), LinkerError> {
    let Some((address, size)) = table.present() else { return Ok(()) };
    let words = library.mapped.pointers(address, size / size_of::<usize>() as u64);
    let words =
        words.ok_or_else(|| Problem::TableOutside { what: kind, address: address.0 }.of(&library.path));
    let code: Vec<Range<u64>> = library.code().collect();
    let mut one = |(place, value): (LinkAddress, u64)| {
        let at = RuntimeAddress(value);
        // Entries that were left empty, as old tools mark them.
        if value == 0 || value == usize::MAX as u64 {
            return Ok(());
        }
        if !code.iter().any(|range| range.contains(&value)) && !is_bound_to_function(library, place, at) {
            return Err(Problem::NotCode { what: kind, address: value }.of(&library.path).into());
        }
        call(Function { kind, at });
        Ok(())
    };
    match which {
        Which::Initialisers => words?.try_for_each(&mut one),
        Which::Finalisers => words?.rev().try_for_each(&mut one),
    }
}

/// Whether a word was bound to another library's function by its name.
fn is_bound_to_function(library: &Loaded, place: LinkAddress, at: RuntimeAddress) -> bool {
    let relocations = &library.definitions.tables.relocations;
    let plain = relocations.plain.iter().flat_map(|table| table.iter());
    let mut all = plain.chain(relocations.packed.iter().flat_map(|(_, entries)| entries.iter().copied()));
    let is_code = || {
        registry::at(at).is_some_and(|entry| entry.library.is_code(at))
            || host::initial().iter().any(|module| module.is_code(at))
    };
    all.any(|entry| entry.place == place && entry.symbol != 0) && is_code()
}

/// The libraries under `root` whose initialisers were not called yet, in the order in which they are to be:
/// what others need first, and what was found last first among those that do not need each other.
pub(crate) fn order(state: &State, root: LibraryId) -> Vec<LibraryId> {
    let group = state.local_group(&Dependency::Library(root));
    let libraries: Vec<LibraryId> = group
        .iter()
        .filter_map(|module| match module {
            crate::module::Module::Library(library) => Some(library.id),
            _ => None,
        })
        .collect();
    let mut order = Vec::new();
    let mut seen = FxHashSet::default();
    for &id in libraries.iter().rev() {
        visit(state, id, &mut seen, &mut order);
    }
    order
}

/// After everything that it needs; a library that needs itself, by whatever way, is before one of those.
fn visit(state: &State, id: LibraryId, seen: &mut FxHashSet<LibraryId>, order: &mut Vec<LibraryId>) {
    let mut stack = vec![(id, 0)];
    if !seen.insert(id) {
        return;
    }
    while let Some((id, next)) = stack.pop() {
        let Some(record) = state.records.get(&id) else { continue };
        match record.dependencies.get(next) {
            Some(dependency) => {
                stack.push((id, next + 1));
                if let Dependency::Library(needed) = dependency
                    && seen.insert(*needed)
                {
                    stack.push((*needed, 0));
                }
            }
            None if record.constructed.is_none() => order.push(id),
            None => {}
        }
    }
}

/// Calls functions of a library, which [`check`] has passed.
pub(crate) fn call_all(library: &Loaded, which: Which, trace: Option<&Trace>) -> Result<(), LinkerError> {
    library.started.store(true, Ordering::Release);
    each(library, which, &mut |function| {
        let began = trace.map(|_| Instant::now());
        // SAFETY: `each` saw that it is code of the library, or bound to a function by name; that it is such a
        // function is what the dynamic section says. The library is relocated, and the caller keeps it loaded.
        unsafe {
            match which {
                Which::Initialisers => call::initialiser(function.at),
                Which::Finalisers => call::finaliser(function.at),
            }
        }
        if let (Some(trace), Some(began)) = (trace, began) {
            record(library, which, function, trace, began);
        }
    })
}

fn record(library: &Loaded, which: Which, function: Function, trace: &Trace, began: Instant) {
    let nanoseconds = trace.nanoseconds(began);
    let phase = match which {
        Which::Initialisers => Phase::Construct,
        Which::Finalisers => Phase::Close,
    };
    trace.record(
        phase,
        Event::Call {
            library: library.path.clone(),
            kind: function.kind,
            address: function.at.0,
            symbol: library.symbol_at(function.at).map(|(name, _)| name),
            nanoseconds,
        },
    );
}
