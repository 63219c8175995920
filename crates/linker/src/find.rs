//! Find (`find_libraries`): which libraries a name means, with all that they need, breadth first.

pub(crate) mod search;

use crate::LinkerError;
use crate::ext_info::{ExtInfo, Reserved};
use crate::flags::Flags;
use crate::host;
use crate::loaded::LibraryId;
use crate::memory::Mapped;
use crate::module::{Dependency, Module};
use crate::namespace::NamespaceId;
use crate::prelink::prelink;
use crate::provider::Precedence;
use crate::read::{Opened, Read, map, read};
use crate::state::State;
use crate::trace::{Event, Outcome, Phase, Trace};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::tables::Tables;
use std::collections::VecDeque;
use std::fs::File;

/// A library that is to be loaded: its file was read and mapped, and nothing of it is relocated yet.
pub(crate) struct Candidate {
    pub(crate) id: LibraryId,
    pub(crate) namespace: NamespaceId,
    /// The candidate in whose local group it is: the first of its namespace on the way to it.
    pub(crate) group: LibraryId,
    pub(crate) read: Read,
    pub(crate) mapped: Mapped,
    pub(crate) tables: Tables,
    /// What it needs, in order.
    pub(crate) needed: Vec<Dependency>,
}

/// What a search comes to.
pub(crate) struct Found {
    /// What was asked for.
    pub(crate) root: Dependency,
    /// What has to be loaded for it, in the order in which it was found.
    pub(crate) candidates: Vec<Candidate>,
}

/// A name, and who needs it.
struct Task {
    name: String,
    /// The candidate that needs it; none for what was asked for.
    by: Option<usize>,
    namespace: NamespaceId,
}

/// Looks for a library and all that it needs.
pub(crate) fn find(
    state: &State,
    name: &str,
    caller: Option<LibraryId>,
    flags: Flags,
    ext_info: &ExtInfo<'_>,
    machine: Machine,
) -> Result<Found, LinkerError> {
    let caller_namespace = caller.and_then(|id| state.record(id)).map(|record| record.loaded.namespace);
    let namespace = ext_info.namespace.or(caller_namespace).unwrap_or(NamespaceId::DEFAULT);
    let placing = ext_info.reserved;
    let mut finder = Finder { state, flags, ext_info, machine, caller, placing, candidates: Vec::new() };
    let root = finder.dependency(&Task { name: name.to_owned(), by: None, namespace })?;
    let mut queue: VecDeque<usize> = (0..finder.candidates.len()).collect();
    while let Some(index) = queue.pop_front() {
        let candidate = &finder.candidates[index];
        let (namespace, names) = (candidate.namespace, candidate.tables.needed().collect::<Vec<_>>());
        for name in names {
            let before = finder.candidates.len();
            let dependency = finder.dependency(&Task { name, by: Some(index), namespace })?;
            finder.candidates[index].needed.push(dependency);
            queue.extend(before..finder.candidates.len());
        }
    }
    Ok(Found { root, candidates: finder.candidates })
}

struct Finder<'a> {
    state: &'a State,
    flags: Flags,
    ext_info: &'a ExtInfo<'a>,
    machine: Machine,
    caller: Option<LibraryId>,
    /// Where the next library goes.
    placing: Option<Reserved>,
    candidates: Vec<Candidate>,
}

impl Finder<'_> {
    fn trace(&self) -> Option<&Trace> {
        self.state.trace.as_ref()
    }

    /// Who needs what a task names, for errors.
    fn by(&self, task: &Task) -> Option<String> {
        let candidate = task.by.map(|index| self.candidates[index].read.opened.path.clone());
        let caller = || self.state.record(self.caller?).map(|record| record.loaded.path.clone());
        candidate.or_else(caller)
    }

    fn note(&self, task: &Task, outcome: Outcome) {
        if let Some(trace) = self.trace() {
            let namespace = self.state.namespace_name(task.namespace);
            let (name, by) = (task.name.clone(), self.by(task));
            trace.record(Phase::Find, Event::Search { name, by, namespace, outcome });
        }
    }

    /// One name, whatever it means: loaded or not, ours or not.
    fn dependency(&mut self, task: &Task) -> Result<Dependency, LinkerError> {
        let given = task.by.is_none() && self.ext_info.library_fd.is_some();
        if !given {
            if let Some(module) = self.elsewhere(task) {
                return Ok(Dependency::Other(module));
            }
            if let Some(id) = self.by_name(task.namespace, &task.name, true) {
                self.note(task, Outcome::Loaded { library: self.path_of(id) });
                return Ok(Dependency::Library(id));
            }
        }
        // What may not be loaded here may be had through a link.
        let refused = match self.open(task)?.map(|opened| self.opened(task, opened)) {
            Some(Err(error @ LinkerError::Inaccessible { .. })) => Some(error),
            Some(result) => return result,
            None => None,
        };
        if let Some(found) = self.in_linked_namespaces(task)? {
            return Ok(found);
        }
        if let Some(error) = refused {
            return Err(error);
        }
        self.note(task, Outcome::Nothing);
        if self.flags.no_load && task.by.is_none() {
            return Err(LinkerError::NotLoaded(task.name.clone()));
        }
        let namespace = self.state.namespace_name(task.namespace);
        Err(LinkerError::NotFound { name: task.name.clone(), by: self.by(task), namespace })
    }

    /// A provider that stands for the name, or a module of the program's own loader.
    fn elsewhere(&self, task: &Task) -> Option<Module> {
        let stands = self.state.providers.iter().find(|provider| {
            provider.precedence == Precedence::AsLibrary && provider.symbols.stands_for(&task.name)
        });
        if let Some(provider) = stands {
            self.note(task, Outcome::Provider { provider: provider.symbols.name().to_owned() });
            return Some(Module::Provider(provider.symbols.clone()));
        }
        if task.name.contains('/') || !self.state.uses_host {
            return None;
        }
        let found = match host::is_c_library(&task.name) {
            true => host::load(&task.name),
            false => host::find(&task.name),
        };
        found.map(|module| {
            self.note(task, Outcome::Host { library: module.path.clone() });
            Module::Host(module)
        })
    }

    /// A library of a namespace that is called so: by its soname, as long as the name is no path.
    fn by_name(&self, namespace: NamespaceId, name: &str, candidates: bool) -> Option<LibraryId> {
        if name.contains('/') {
            return None;
        }
        let members = &self.state.namespaces.get(namespace.0)?.members;
        let loaded = members.iter().copied().find(|&id| {
            let record = self.state.record(id);
            record.is_some_and(|record| record.loaded.soname.as_deref() == Some(name))
        });
        let candidate = || {
            let mut of_namespace =
                self.candidates.iter().filter(|candidate| candidate.namespace == namespace);
            of_namespace
                .find(|candidate| {
                    let soname = candidate.tables.soname();
                    let path = &candidate.read.opened.path;
                    soname.as_deref().unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path)) == name
                })
                .map(|candidate| candidate.id)
        };
        loaded.or_else(|| candidates.then(candidate).flatten())
    }

    fn path_of(&self, id: LibraryId) -> String {
        let candidate = self.candidates.iter().find(|candidate| candidate.id == id);
        let loaded = || self.state.record(id).map(|record| record.loaded.path.clone());
        candidate.map(|candidate| candidate.read.opened.path.clone()).or_else(loaded).unwrap_or_default()
    }

    /// The file that a name means in its namespace: as given, by its path, or in the first folder that has it.
    fn open(&self, task: &Task) -> Result<Option<Opened>, LinkerError> {
        if task.by.is_none() {
            match (self.ext_info.library_fd, self.ext_info.library_fd_offset) {
                (None, Some(_)) => return Err(LinkerError::OffsetWithoutFile),
                (Some(fd), offset) => {
                    let failed = |source| LinkerError::File { path: task.name.clone().into(), source };
                    let file = File::from(fd.try_clone_to_owned().map_err(failed)?);
                    return Opened::new(task.name.clone(), file, offset.unwrap_or(0), None).map(Some);
                }
                (None, None) => {}
            }
        }
        if task.name.contains('/') {
            return search::open(&task.name);
        }
        let Some(namespace) = self.state.namespaces.get(task.namespace.0) else { return Ok(None) };
        let own = self.runpath(task);
        let config = &namespace.config;
        search::open_in(config.search_paths.iter().chain(&own).chain(&config.default_paths), &task.name)
    }

    /// The folders that the one who needs it says. `DT_RPATH` counts where there is no `DT_RUNPATH`.
    fn runpath(&self, task: &Task) -> Vec<std::path::PathBuf> {
        let of = |tables: &Tables, path: &str| {
            let text = tables.runpath().or_else(|| tables.text(tables.dynamic.rpath?));
            text.map(|text| search::runpath(&text, path)).unwrap_or_default()
        };
        match (task.by, self.caller.and_then(|id| self.state.record(id))) {
            (Some(index), _) => {
                let candidate = &self.candidates[index];
                of(&candidate.tables, &candidate.read.opened.path)
            }
            (None, Some(record)) => of(&record.loaded.definitions.tables, &record.loaded.path),
            (None, None) => Vec::new(),
        }
    }

    /// A file that was found: loaded already, perhaps under another name, or to be loaded.
    fn opened(&mut self, task: &Task, opened: Opened) -> Result<Dependency, LinkerError> {
        let force = task.by.is_none() && self.ext_info.force_load;
        if !force && let Some(id) = self.by_identity(task.namespace, &opened) {
            self.note(task, Outcome::Loaded { library: self.path_of(id) });
            return Ok(Dependency::Library(id));
        }
        self.note(task, Outcome::File { path: opened.path.clone() });
        if self.flags.no_load && task.by.is_none() {
            return Err(LinkerError::NotLoaded(task.name.clone()));
        }
        let given = task.by.is_none() && self.ext_info.library_fd.is_some();
        self.check_access(task, &opened, given)?;
        let read = read(opened, self.trace())?;
        let path = &read.opened.path;
        let mapped = map(&read, self.placing.as_ref(), self.trace())?;
        let tables = prelink(path, &read.headers, &mapped, self.machine, self.trace())?;
        // The same library under its path: there can be only one of it.
        if let Some(name) = tables.soname()
            && self.state.uses_host
            && host::is_c_library(&name)
            && let Some(module) = host::load(&name)
        {
            return Ok(Dependency::Other(Module::Host(module)));
        }
        let (id, namespace) = (LibraryId::next(), task.namespace);
        let by = task.by.map(|index| &self.candidates[index]).filter(|by| by.namespace == namespace);
        let group = by.map_or(id, |by| by.group);
        self.place_next_behind(&mapped);
        self.candidates.push(Candidate { id, namespace, group, read, mapped, tables, needed: Vec::new() });
        Ok(Dependency::Library(id))
    }

    /// Of a range that the caller reserved, what the library has left over is for the next one, if any.
    fn place_next_behind(&mut self, mapped: &Mapped) {
        self.placing = self.placing.filter(|reserved| reserved.recursive).map(|reserved| {
            let end = mapped.reservation().start().0 + mapped.reservation().size();
            let used = end.saturating_sub(reserved.start.0).min(reserved.size);
            let start = RuntimeAddress(reserved.start.0 + used);
            Reserved { start, size: reserved.size - used, ..reserved }
        });
    }

    fn by_identity(&self, namespace: NamespaceId, opened: &Opened) -> Option<LibraryId> {
        let members = &self.state.namespaces.get(namespace.0)?.members;
        let loaded = members.iter().copied().find(|&id| {
            self.state.record(id).is_some_and(|record| record.loaded.identity == opened.identity)
        });
        let candidate = || {
            let mut all = self.candidates.iter();
            let same = |candidate: &&Candidate| {
                candidate.namespace == namespace && candidate.read.opened.identity == opened.identity
            };
            all.find(same).map(|candidate| candidate.id)
        };
        loaded.or_else(candidate)
    }

    fn check_access(&self, task: &Task, opened: &Opened, given: bool) -> Result<(), LinkerError> {
        let Some(namespace) = self.state.namespaces.get(task.namespace.0) else { return Ok(()) };
        if given || namespace.may_load(&opened.path) {
            return Ok(());
        }
        Err(LinkerError::Inaccessible {
            name: opened.path.clone(),
            by: self.by(task).unwrap_or_else(|| "(unknown)".to_owned()),
            namespace: namespace.config.name.clone(),
        })
    }

    /// What namespaces that this one is linked to have or find of that name, if they may be asked for it.
    fn in_linked_namespaces(&mut self, task: &Task) -> Result<Option<Dependency>, LinkerError> {
        let Some(namespace) = self.state.namespaces.get(task.namespace.0) else { return Ok(None) };
        let links = namespace.config.links.clone();
        for link in links.iter().filter(|link| link.allows(&task.name)) {
            let there = Task { name: task.name.clone(), by: task.by, namespace: link.to };
            if let Some(id) = self.by_name(link.to, &task.name, true) {
                self.note(&there, Outcome::Loaded { library: self.path_of(id) });
                return Ok(Some(Dependency::Library(id)));
            }
            if let Some(opened) = self.open(&there)? {
                return self.opened(&there, opened).map(Some);
            }
        }
        Ok(None)
    }
}
