//! Construct: initializers of each image once, of what it needs before its own; and terminators.

use super::error::Error;
use super::loaded::{Loaded, Module};
use super::registry;
use super::state::State;
use crate::call;
use crate::host;
use crate::loaded::LibraryId;
use crate::trace::{Event, Phase, Trace};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::macho::commands::LibraryKind;
use livepatch_object::macho::initializer::CodePointer;
use rustc_hash::FxHashSet;
use std::time::Instant;

/// A function that the loader calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    kind: &'static str,
    /// Checked to be code.
    at: RuntimeAddress,
}

/// In the order in which they are called.
pub(super) fn initializers(image: &Loaded) -> Result<Vec<Function>, Error> {
    let pointers = image.image.initializers().map_err(|problem| image.wrong(problem))?;
    functions(image, "initializer", &pointers)
}

/// In the order in which they are called: the last one first.
pub(super) fn terminators(image: &Loaded) -> Result<Vec<Function>, Error> {
    let pointers = image.image.terminators().map_err(|problem| image.wrong(problem))?;
    let mut all = functions(image, "terminator", &pointers)?;
    all.reverse();
    Ok(all)
}

fn functions(image: &Loaded, kind: &'static str, pointers: &[CodePointer]) -> Result<Vec<Function>, Error> {
    let mut functions = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        let at = match *pointer {
            CodePointer::At(at) => image.runtime(at).map(|at| at.0),
            CodePointer::InSlot(slot) => image.mapped.load(slot, 8),
        };
        let at = RuntimeAddress(at.unwrap_or_default());
        // Tables are filled up with nothing.
        if at.0 == 0 {
            continue;
        }
        // A pointer may be bound to another image's function.
        let is_code = image.is_code(at)
            || registry::at(at).is_some_and(|other| other.is_code(at))
            || host::initial().iter().any(|module| module.is_code(at));
        if !is_code {
            return Err(Error::NotCode { path: image.path.to_string(), kind, address: at });
        }
        functions.push(Function { kind, at });
    }
    Ok(functions)
}

/// The images under `root` whose initializers were not called yet, what others need first. A library that is needed
/// upwards is one of those that need this one, and comes by its own way.
pub(super) fn order(state: &State, root: LibraryId) -> Vec<LibraryId> {
    let mut order = Vec::new();
    let mut seen = FxHashSet::default();
    let mut upward = vec![root];
    while let Some(id) = upward.pop() {
        visit(state, id, &mut seen, &mut order, &mut upward);
    }
    order
}

fn visit(
    state: &State,
    id: LibraryId,
    seen: &mut FxHashSet<LibraryId>,
    order: &mut Vec<LibraryId>,
    upward: &mut Vec<LibraryId>,
) {
    if !seen.insert(id) {
        return;
    }
    let mut stack = vec![(id, 0)];
    while let Some((id, next)) = stack.pop() {
        let Some(record) = state.records.get(&id) else { continue };
        let Some(dependency) = record.loaded.dependencies().get(next) else {
            if record.constructed.is_none() {
                order.push(id);
            }
            continue;
        };
        stack.push((id, next + 1));
        if let Module::Image(needed, _) = dependency.module {
            match dependency.kind {
                LibraryKind::Upward => upward.push(needed),
                _ if seen.insert(needed) => stack.push((needed, 0)),
                _ => {}
            }
        }
    }
}

/// Calls functions of an image.
pub(super) fn call_all(image: &Loaded, functions: &[Function], phase: Phase, trace: Option<&Trace>) {
    for function in functions {
        let began = Instant::now();
        // SAFETY: `functions` saw that it is code of an image that is bound; that it is such a function is what the
        // image says. The caller keeps it loaded.
        unsafe {
            match phase {
                Phase::Close => call::finaliser(function.at),
                _ => call::darwin_initialiser(function.at),
            }
        }
        if let Some(trace) = trace {
            let nanoseconds = trace.nanoseconds(began);
            trace.record(
                phase,
                Event::Call {
                    library: image.path.to_string(),
                    kind: function.kind,
                    address: function.at.0,
                    symbol: image.symbol_at(function.at).map(|(name, _)| name),
                    nanoseconds,
                },
            );
        }
    }
}
