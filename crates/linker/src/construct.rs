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
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A function of a library that the linker calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Function {
    pub(crate) kind: &'static str,
    /// Checked to be code of the library.
    pub(crate) at: RuntimeAddress,
}

/// Initialisers in the order in which they are called: `DT_INIT`, then `DT_INIT_ARRAY`.
pub(crate) fn initialisers(library: &Loaded) -> Result<Vec<Function>, LinkerError> {
    let dynamic = &library.definitions.tables.dynamic;
    let mut functions = Vec::new();
    functions.extend(single(library, "DT_INIT", dynamic.init)?);
    functions.extend(array(library, "DT_INIT_ARRAY", &dynamic.init_array)?);
    Ok(functions)
}

/// Finalisers in the order in which they are called: `DT_FINI_ARRAY` from its end, then `DT_FINI`.
pub(crate) fn finalisers(library: &Loaded) -> Result<Vec<Function>, LinkerError> {
    let dynamic = &library.definitions.tables.dynamic;
    let mut functions = array(library, "DT_FINI_ARRAY", &dynamic.fini_array)?;
    functions.reverse();
    functions.extend(single(library, "DT_FINI", dynamic.fini)?);
    Ok(functions)
}

fn single(
    library: &Loaded,
    kind: &'static str,
    at: Option<LinkAddress>,
) -> Result<Option<Function>, LinkerError> {
    let Some(at) = at.filter(|at| at.0 != 0) else { return Ok(None) };
    let runtime = library.definitions.slide.bits().wrapping_add(at.0);
    checked(library, kind, RuntimeAddress(runtime)).map(Some)
}

fn array(library: &Loaded, kind: &'static str, table: &Table) -> Result<Vec<Function>, LinkerError> {
    let Some((address, size)) = table.present() else { return Ok(Vec::new()) };
    let word = size_of::<usize>() as u64;
    let mut functions = Vec::new();
    for offset in (0..size / word).map(|index| index * word) {
        let place = address.checked_add(offset);
        let value = place.and_then(|place| library.mapped.load(place, word));
        let outside = || Problem::TableOutside { what: kind, address: address.0 }.of(&library.path);
        let value = value.ok_or_else(outside)?;
        // Entries that were left empty, as old tools mark them.
        if value != 0 && value != usize::MAX as u64 {
            let at = RuntimeAddress(value);
            let is_bound = || place.is_some_and(|place| is_bound_to_function(library, place, at));
            functions.push(match library.is_code(at) || !is_bound() {
                true => checked(library, kind, at)?,
                false => Function { kind, at },
            });
        }
    }
    Ok(functions)
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

fn checked(library: &Loaded, kind: &'static str, at: RuntimeAddress) -> Result<Function, LinkerError> {
    match library.is_code(at) {
        true => Ok(Function { kind, at }),
        false => Err(Problem::NotCode { what: kind, address: at.0 }.of(&library.path).into()),
    }
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

/// Calls functions of a library.
pub(crate) fn call_all(library: &Loaded, functions: &[Function], phase: Phase, trace: Option<&Trace>) {
    library.started.store(true, Ordering::Release);
    for function in functions {
        let began = Instant::now();
        // SAFETY: `checked` saw that it is code of the library, which is relocated; that it is such a function
        // is what its dynamic section says. The caller keeps the library loaded.
        unsafe {
            match phase {
                Phase::Close => call::finaliser(function.at),
                _ => call::initialiser(function.at),
            }
        }
        if let Some(trace) = trace {
            let nanoseconds = trace.nanoseconds(began);
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
    }
}
