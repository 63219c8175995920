//! Close: terminators of what nobody needs any more, and its memory.

use super::construct;
use super::linker::Linker;
use super::registry;
use crate::call;
use crate::close::in_rounds;
use crate::loaded::LibraryId;
use crate::trace::{Event, Phase, Trace};
use std::sync::{Arc, PoisonError};

/// Unloads everything that nobody needs. To be called with the lock held. What terminators make superfluous goes as
/// well.
pub(super) fn collect(linker: &Linker) {
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

fn finalise(linker: &Linker, id: LibraryId, trace: Option<&Trace>) {
    let image = {
        let state = linker.state();
        let record = state.records.get(&id).filter(|record| record.constructed.is_some());
        record.map(|record| Arc::clone(&record.loaded))
    };
    let Some(image) = image else { return };
    // What C++ has registered for the image, by its handle: the address of its header.
    // SAFETY: functions that the image has registered, which is still there.
    unsafe { call::registered_finalisers(image.header()) };
    let functions = construct::terminators(&image).unwrap_or_default();
    construct::call_all(&image, &functions, Phase::Close, trace);
}

fn unload(linker: &Linker, id: LibraryId, trace: Option<&Trace>) {
    let Some(record) = linker.state().records.remove(&id) else { return };
    let image = &record.loaded;
    registry::remove(image);
    // Others may keep its memory for a while; nothing is unwound through it any more.
    drop(image.unwinding.lock().unwrap_or_else(PoisonError::into_inner).take());
    if let Some(trace) = trace {
        let reservation = image.mapped.reservation();
        let (start, size) = (reservation.start().0, reservation.size());
        trace.record(Phase::Close, Event::Unload { library: image.path.to_string(), start, size });
    }
}
