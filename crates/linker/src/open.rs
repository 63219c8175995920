//! From a name to libraries that are mapped and can be linked: what comes before any relocation, in one step.

use crate::LinkerError;
use crate::ext_info::{ExtInfo, SharedRelro};
use crate::find::{self, Candidate};
use crate::flags::{Flags, native};
use crate::link::Job;
use crate::link::resolve::Scope;
use crate::loaded::{LibraryId, Loaded};
use crate::memory::Mapped;
use crate::module::{Definitions, Dependency, Module};
use crate::read::copy_large_segments;
use crate::state::{State, local_group};
use crate::tls;
use crate::trace::{Event, Phase, Trace};
use bytes::Bytes;
use livepatch_object::loadable::Problem;
use livepatch_object::loadable::program::ProgramHeader;
use livepatch_object::loadable::relocation::Plain;
use object::elf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A library that was mapped, and what it needs.
pub(crate) struct New {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What is about to be linked.
pub(crate) struct Opening<'a> {
    pub(crate) root: Dependency,
    pub(crate) new: Vec<New>,
    /// What others need first.
    pub(crate) jobs: Vec<Job<'a>>,
}

/// Finds, reads, maps and prelinks.
pub(crate) fn open<'a>(
    state: &State,
    name: &str,
    caller: Option<LibraryId>,
    flags: Flags,
    ext_info: &ExtInfo<'a>,
) -> Result<Opening<'a>, LinkerError> {
    let found = find::find(state, name, caller, flags, ext_info, native()?)?;
    let mut new = Vec::with_capacity(found.candidates.len());
    let mut groups = Vec::with_capacity(found.candidates.len());
    for candidate in found.candidates {
        groups.push(candidate.group);
        new.push(load(candidate, state.trace.as_ref(), state.tells_debugger)?);
    }
    let jobs = jobs(state, &new, &groups, ext_info);
    Ok(Opening { root: found.root, new, jobs })
}

/// Gives a candidate's thread-locals a place, and makes it a library.
fn load(candidate: Candidate, trace: Option<&Trace>, tells_debugger: bool) -> Result<New, LinkerError> {
    let Candidate { id, namespace, read, mapped, tables, needed, .. } = candidate;
    let relocations = tables.relocations.plain.iter().map(Plain::len).sum();
    copy_large_segments(&read, &mapped, relocations)?;
    let file = if tells_debugger { read.opened.whole() } else { None };
    let path = read.opened.path;
    let tls = read.headers.first(elf::PT_TLS).filter(|segment| segment.memory_size > 0);
    let tls = tls.map(|segment| tls_image(segment, &mapped).map(tls::Module::register));
    let tls = tls.transpose().map_err(|problem| problem.of(&path))?;
    if let Some(module) = &tls {
        if tables.dynamic.static_tls() {
            // That it cannot be is an error only for those who need it so.
            let _ = module.make_static();
        }
        if let Some(trace) = trace {
            let (module, size, offset) = (module.id(), module.size() as u64, module.offset());
            let library = path.clone();
            trace.record(Phase::Prelink, Event::ThreadLocals { library, module, size, offset });
        }
    }
    let soname = tables.soname().unwrap_or_else(|| path.rsplit('/').next().unwrap_or(&path).to_owned());
    let definitions = Definitions { slide: mapped.slide(), tables };
    let loaded = Loaded {
        id,
        path,
        soname: Some(soname),
        identity: read.opened.identity,
        namespace,
        header: read.header,
        headers: read.headers,
        definitions,
        mapped,
        file,
        tls,
        started: AtomicBool::new(false),
    };
    Ok(New { loaded: Arc::new(loaded), dependencies: needed })
}

/// What blocks begin as, before relocation.
fn tls_image(segment: &ProgramHeader, mapped: &Mapped) -> Result<tls::Image, Problem> {
    let bad = |what| Problem::Invalid { what, value: segment.memory_size };
    let number = |number: u64| usize::try_from(number).map_err(|_| bad("PT_TLS"));
    let outside = Problem::TableOutside { what: "PT_TLS", address: segment.address.0 };
    let initial = initial_of_blocks(segment, mapped).ok_or(outside)?;
    let (size, align) = (number(segment.memory_size)?, number(segment.align.max(1))?);
    // As large as a thread's stack may be, and aligned to a page: more is no block of a thread.
    if size > 1 << 30 || align > 1 << 16 {
        return Err(bad("PT_TLS size"));
    }
    let misalign = (segment.address.0 as usize) & (align - 1);
    Ok(tls::Image { initial, size, align, misalign })
}

/// The bytes that a library has for the beginning of its blocks, as they are now.
pub(crate) fn initial_of_blocks(segment: &ProgramHeader, mapped: &Mapped) -> Option<Bytes> {
    match segment.file_size {
        0 => Some(Bytes::new()),
        size => mapped.copy(segment.address.0..segment.address.0.checked_add(size)?),
    }
}

/// What there is to link, those that others need first, each with where its references are looked up.
fn jobs<'a>(state: &State, new: &[New], groups: &[LibraryId], ext_info: &ExtInfo<'a>) -> Vec<Job<'a>> {
    let library = |id: LibraryId| {
        let fresh = new.iter().find(|new| new.loaded.id == id).map(|new| Arc::clone(&new.loaded));
        fresh.or_else(|| state.record(id).map(|record| Arc::clone(&record.loaded)))
    };
    let needed = |id: LibraryId| {
        let fresh = new.iter().find(|new| new.loaded.id == id).map(|new| new.dependencies.clone());
        fresh.or_else(|| state.record(id).map(|record| record.dependencies.clone())).unwrap_or_default()
    };
    let mut scopes: Vec<(LibraryId, Scope)> = Vec::new();
    let mut jobs = Vec::with_capacity(new.len());
    for (index, (fresh, &group)) in new.iter().zip(groups).enumerate() {
        let known = scopes.iter().find(|(id, _)| *id == group).map(|(_, scope)| scope.clone());
        let scope = known.unwrap_or_else(|| {
            let mut modules = state.global_group(fresh.loaded.namespace);
            let own = local_group(&Dependency::Library(group), &library, &needed);
            // Libraries that say so are for everyone who is loaded with them, too (`DF_1_GLOBAL`).
            let is_global = |module: &&Module| {
                module.definitions().is_some_and(|definitions| definitions.tables.dynamic.global())
            };
            let first: Vec<_> = own.iter().filter(is_global).cloned().collect();
            for module in first.into_iter().chain(own) {
                if !modules.iter().any(|other| other.is_same(&module)) {
                    modules.push(module);
                }
            }
            let scope = Scope {
                modules: modules.into(),
                providers: Arc::clone(&state.providers),
                asks_host: state.uses_host,
            };
            scopes.push((group, scope.clone()));
            scope
        });
        let relro = if index == 0 { ext_info.relro } else { SharedRelro::Private };
        jobs.push(Job { library: Arc::clone(&fresh.loaded), scope, relro });
    }
    jobs.reverse();
    jobs
}
