//! What a linker has loaded, and what of that is still needed.

use crate::host;
use crate::link::Linked;
use crate::link::resolve::Scope;
use crate::loaded::{LibraryId, Loaded};
use crate::module::{Dependency, Module};
use crate::namespace::{Namespace, NamespaceId};
use crate::provider::Provider;
use crate::trace::Trace;
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A library, with what changes about it.
pub(crate) struct Record {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) dependencies: Vec<Dependency>,
    /// Where its references are looked up.
    pub(crate) scope: Scope,
    pub(crate) linked: Linked,
    /// How often it was opened and not closed.
    pub(crate) handles: usize,
    /// Thread-locals of it whose destructors have not run.
    pub(crate) pins: usize,
    pub(crate) global: bool,
    pub(crate) no_delete: bool,
    /// When its initialisers were called, among all libraries; none if not yet.
    pub(crate) constructed: Option<u64>,
    /// Whether its finalisers were called, or are about to be.
    pub(crate) closing: bool,
}

/// Everything about one linker that its lock guards.
pub(crate) struct State {
    pub(crate) records: BTreeMap<LibraryId, Record>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) providers: Arc<[Provider]>,
    /// Whether modules of the program's own loader take part.
    pub(crate) uses_host: bool,
    pub(crate) trace: Option<Trace>,
    pub(crate) tells_debugger: bool,
    /// How many libraries' initialisers were called.
    pub(crate) constructions: u64,
}

impl State {
    /// A library that is loaded and not about to be unloaded.
    pub(crate) fn record(&self, id: LibraryId) -> Option<&Record> {
        self.records.get(&id).filter(|record| !record.closing)
    }

    pub(crate) fn namespace_name(&self, id: NamespaceId) -> String {
        self.namespaces
            .get(id.0)
            .map_or_else(|| format!("#{}", id.0), |namespace| namespace.config.name.clone())
    }

    /// What is before a library's own group in all lookups: the program with what it began with, and what was
    /// loaded for everyone in that namespace.
    pub(crate) fn global_group(&self, namespace: NamespaceId) -> Vec<Module> {
        let host = self.uses_host.then(host::initial).unwrap_or_default();
        let mut modules: Vec<Module> = host.iter().cloned().map(Module::Host).collect();
        let members = self.namespaces.get(namespace.0).map(|namespace| namespace.members.as_slice());
        let records = members.unwrap_or_default().iter().filter_map(|&id| self.record(id));
        let global = records.filter(|record| record.global);
        modules.extend(global.map(|record| Module::Library(Arc::clone(&record.loaded))));
        modules
    }

    /// A library and all that it needs, breadth first; of other namespaces, only what is needed directly.
    pub(crate) fn local_group(&self, root: &Dependency) -> Vec<Module> {
        let library = |id: LibraryId| self.records.get(&id).map(|record| Arc::clone(&record.loaded));
        let needed = |id: LibraryId| {
            self.records.get(&id).map(|record| record.dependencies.clone()).unwrap_or_default()
        };
        local_group(root, &library, &needed)
    }

    /// Takes a linked library in.
    pub(crate) fn add(
        &mut self,
        loaded: Arc<Loaded>,
        dependencies: Vec<Dependency>,
        scope: Scope,
        linked: Linked,
    ) {
        let (id, namespace) = (loaded.id, loaded.namespace);
        let dynamic = &loaded.definitions.tables.dynamic;
        let (global, no_delete) = (dynamic.global(), dynamic.no_delete());
        let record = Record {
            loaded,
            dependencies,
            scope,
            linked,
            handles: 0,
            pins: 0,
            global,
            no_delete,
            constructed: None,
            closing: false,
        };
        self.records.insert(id, record);
        let shares = |other: &Namespace| other.config.shares == Some(namespace);
        for (index, other) in self.namespaces.iter_mut().enumerate() {
            if index == namespace.0 || shares(other) {
                other.members.push(id);
            }
        }
    }

    /// From now on, libraries of its namespace find its symbols, and those of what it needs.
    pub(crate) fn make_global(&mut self, root: LibraryId) {
        for module in self.local_group(&Dependency::Library(root)) {
            if let Module::Library(library) = module
                && let Some(record) = self.records.get_mut(&library.id)
            {
                record.global = true;
            }
        }
    }

    /// Libraries that nobody needs any more, in the order in which they are to be finalised: the reverse of that
    /// of their initialisation.
    pub(crate) fn garbage(&self) -> Vec<LibraryId> {
        let mut reached = FxHashSet::default();
        let is_root = |record: &Record| record.handles > 0 || record.pins > 0 || record.no_delete;
        let mut queue: Vec<LibraryId> =
            self.records.iter().filter(|(_, record)| is_root(record)).map(|(&id, _)| id).collect();
        while let Some(id) = queue.pop() {
            if !reached.insert(id) {
                continue;
            }
            let Some(record) = self.records.get(&id) else { continue };
            queue.extend(record.linked.bound_to.iter().map(|library| library.id));
            queue.extend(record.dependencies.iter().filter_map(|dependency| match dependency {
                Dependency::Library(id) => Some(*id),
                Dependency::Other(_) => None,
            }));
        }
        let unreached = self.records.iter().filter(|(id, record)| !reached.contains(id) && !record.closing);
        let mut garbage: Vec<_> = unreached.map(|(&id, record)| (record.constructed, id)).collect();
        garbage.sort_by(|a, b| b.cmp(a));
        garbage.into_iter().map(|(_, id)| id).collect()
    }
}

/// As [`State::local_group`], of libraries that may not be in any state yet.
pub(crate) fn local_group(
    root: &Dependency,
    library: &dyn Fn(LibraryId) -> Option<Arc<Loaded>>,
    needed: &dyn Fn(LibraryId) -> Vec<Dependency>,
) -> Vec<Module> {
    let mut group: Vec<Module> = Vec::new();
    let mut namespace = None;
    let mut queue = VecDeque::from([root.clone()]);
    let mut seen = FxHashSet::default();
    while let Some(dependency) = queue.pop_front() {
        match dependency {
            Dependency::Library(id) => {
                let Some(loaded) = library(id).filter(|_| seen.insert(id)) else { continue };
                let is_own = *namespace.get_or_insert(loaded.namespace) == loaded.namespace;
                group.push(Module::Library(loaded));
                if is_own {
                    queue.extend(needed(id));
                }
            }
            Dependency::Other(module) => {
                if !group.iter().any(|other| other.is_same(&module)) {
                    queue.extend(needed_in_host(&module));
                    group.push(module);
                }
            }
        }
    }
    group
}

/// What a module of the program needs: other such modules.
fn needed_in_host(module: &Module) -> Vec<Dependency> {
    let Module::Host(host) = module else { return Vec::new() };
    let names = host.definitions.tables.needed();
    let modules = names.filter_map(|name| host::find(&name));
    modules.map(|module| Dependency::Other(Module::Host(module))).collect()
}
