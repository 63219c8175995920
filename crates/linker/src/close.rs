//! Close: finalisers of what nobody needs any more, and its memory.

use crate::construct::{self, Which};
use crate::debugger;
use crate::link::unique;
use crate::linker::Linker;
use crate::loaded::{LibraryId, Loaded};
use crate::registry;
use crate::trace::{Event, Phase, Trace};
use std::sync::Arc;

/// Unloads everything that nobody needs. To be called with the lock held.
///
/// Finalisers may open and close libraries themselves; what they make superfluous goes as well.
pub(crate) fn collect(linker: &Linker) {
    let trace = linker.state().trace.clone();
    let take = || {
        let mut state = linker.state();
        let garbage = state.garbage();
        for id in &garbage {
            if let Some(record) = state.records.get_mut(id) {
                record.closing = true;
            }
        }
        garbage
    };
    in_rounds(take, |id| finalise(linker, id, trace.as_ref()), |id| unload(linker, id, trace.as_ref()));
}

/// Finalises all that is taken, and then unloads it, until there is nothing to take any more.
pub(crate) fn in_rounds(
    take: impl Fn() -> Vec<LibraryId>,
    finalise: impl Fn(LibraryId),
    unload: impl Fn(LibraryId),
) {
    loop {
        let garbage = take();
        if garbage.is_empty() {
            return;
        }
        garbage.iter().for_each(|&id| finalise(id));
        garbage.iter().for_each(|&id| unload(id));
    }
}

fn finalise(linker: &Linker, id: LibraryId, trace: Option<&Trace>) {
    let library = {
        let state = linker.state();
        let record = state.records.get(&id).filter(|record| record.constructed.is_some());
        record.map(|record| Arc::clone(&record.loaded))
    };
    let Some(library) = library else { return };
    // What was refused before it was initialised is not loaded; what has changed since is left alone.
    let _ = construct::call_all(&library, Which::Finalisers, trace);
}

fn unload(linker: &Linker, id: LibraryId, trace: Option<&Trace>) {
    let mut state = linker.state();
    let Some(record) = state.records.remove(&id) else { return };
    for namespace in &mut state.namespaces {
        namespace.members.retain(|&member| member != id);
    }
    let library: &Loaded = &record.loaded;
    drop(state);
    unique::forget(library);
    debugger::unloading(library);
    registry::remove(library);
    if let Some(trace) = trace {
        let reservation = library.mapped.reservation();
        let (start, size) = (reservation.start().0, reservation.size());
        trace.record(Phase::Close, Event::Unload { library: library.path.clone(), start, size });
    }
}
