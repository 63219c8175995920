//! Link (`LinkImage`): relocate, ask what is indirect, protect.

pub(crate) mod lazy;
pub(crate) mod relocate;
mod relro;
pub(crate) mod resolve;
pub(crate) mod unique;

use crate::LinkerError;
use crate::call;
use crate::ext_info::SharedRelro;
use crate::loaded::Loaded;
use crate::open::initial_of_blocks;
use crate::tls;
use crate::trace::{Event, Phase, Trace};
use livepatch_object::loadable::Problem;
use livepatch_object::loadable::machine::Machine;
use relocate::{Deferred, Relocated, relocate};
use resolve::Scope;
use std::sync::Arc;

/// A library that is to be linked.
pub(crate) struct Job<'a> {
    pub(crate) library: Arc<Loaded>,
    pub(crate) scope: Scope,
    pub(crate) relro: SharedRelro<'a>,
}

/// What has to be kept of a linked library, as long as it is loaded.
#[derive(Default)]
pub(crate) struct Linked {
    /// Libraries that it is bound to.
    pub(crate) bound_to: Vec<Arc<Loaded>>,
    #[expect(dead_code, clippy::vec_box, reason = "its machine code points to each")]
    indexes: Vec<Box<tls::Index>>,
    #[expect(dead_code, reason = "its machine code points there")]
    context: Option<Box<lazy::Context>>,
}

/// Links libraries, those that others need first. None of their code runs before all of them are relocated,
/// and then only functions that say where others are.
pub(crate) fn link(
    jobs: &[Job<'_>],
    machine: Machine,
    lazily: bool,
    trace: Option<&Trace>,
) -> Result<Vec<Linked>, LinkerError> {
    let mut linked = Vec::with_capacity(jobs.len());
    let mut deferred = Vec::new();
    for job in jobs {
        let library = &job.library;
        let lazily = lazily && lazy::is_possible(library);
        let Relocated { counts, deferred: later, indexes, bound_to } =
            relocate(library, &job.scope, machine, lazily, trace)?;
        let context = match lazily {
            true => Some(lazy::prepare(library, &job.scope, trace)?),
            false => None,
        };
        deferred.extend(later);
        linked.push(Linked { bound_to, indexes, context });
        if let Some(trace) = trace {
            trace.record(Phase::Link, Event::Relocate { library: library.path.clone(), counts });
        }
    }
    deferred.iter().try_for_each(ask)?;
    for job in jobs {
        publish_thread_locals(&job.library)?;
        let protected = relro::protect(&job.library, &job.relro)?;
        if let (Some(trace), Some((part, shared))) = (trace, protected) {
            let start = job.library.mapped.reservation().start().0 + part.start;
            let (library, size) = (job.library.path.clone(), part.end - part.start);
            trace.record(Phase::Link, Event::Protect { library, start, size, shared });
        }
    }
    Ok(linked)
}

/// What blocks begin as is relocated by now.
fn publish_thread_locals(library: &Loaded) -> Result<(), LinkerError> {
    let (Some(module), Some(segment)) = (&library.tls, library.headers.first(object::elf::PT_TLS)) else {
        return Ok(());
    };
    let outside = || Problem::TableOutside { what: "PT_TLS", address: segment.address.0 }.of(&library.path);
    let initial = initial_of_blocks(segment, &library.mapped).ok_or_else(outside)?;
    module.publish(initial).map_err(|why| LinkerError::StaticTls {
        symbol: "any".to_owned(),
        definer: library.path.clone(),
        library: library.path.clone(),
        why,
    })
}

/// Asks a function for an address, and stores it.
fn ask(deferred: &Deferred) -> Result<(), LinkerError> {
    // SAFETY: `Relocator::defer` saw that it is code of its library, all libraries are relocated by now, and a
    // relocation or a symbol says that it is such a function.
    let address = unsafe { call::resolver(deferred.resolver) };
    let value = address.0.wrapping_add_signed(deferred.addend);
    let mut places = deferred.library.mapped.places();
    let stored = match deferred.width.bytes() {
        8 => places.store64(deferred.place, value),
        _ => places.store32(deferred.place, value as u32),
    };
    let outside = Problem::RelocationOutside { address: deferred.place.0 };
    stored.then_some(()).ok_or_else(|| outside.of(&deferred.library.path).into())
}
