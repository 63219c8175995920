//! A linker: what it has loaded, its namespaces and providers, and opening and closing.

use crate::LinkerError;
use crate::close;
use crate::construct::{self, Which};
use crate::debugger::{self, TellDebugger};
use crate::ext_info::ExtInfo;
use crate::find::search::system_paths;
use crate::flags::{Flags, native};
use crate::library::{Library, SymbolInfo};
use crate::link::{self, Linked};
use crate::loaded::LibraryId;
use crate::lock;
use crate::module::{Dependency, Module};
use crate::namespace::{Namespace, NamespaceConfig, NamespaceId, NamespaceLink};
use crate::open::{New, Opening, open};
use crate::process;
use crate::provider::{Precedence, Provider, SymbolProvider};
use crate::registry;
use crate::state::State;
use crate::tls;
use crate::trace::{Event, Phase, Trace};
use crate::unwind;
use livepatch_object::address::RuntimeAddress;
use livepatch_object::loadable::hash::Name;
use livepatch_object::loadable::version::{Version, Wanted};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Loads shared objects into this process. Clones are the same linker.
#[derive(Clone)]
pub struct Linker {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
}

/// How a linker is made.
#[derive(Default)]
pub struct LinkerBuilder {
    search_paths: Vec<PathBuf>,
    default_paths: Option<Vec<PathBuf>>,
    providers: Vec<Provider>,
    trace: Option<Trace>,
    without_host: bool,
    without_unwinding: bool,
    debugger: TellDebugger,
}

impl LinkerBuilder {
    /// Has libraries looked for in a folder first, in the order of these calls (`LD_LIBRARY_PATH`).
    #[must_use]
    pub fn search_path(mut self, folder: impl Into<PathBuf>) -> Self {
        self.search_paths.push(folder.into());
        self
    }

    /// The folders that are looked into last, in place of those of the system.
    #[must_use]
    pub fn default_paths(mut self, folders: Vec<PathBuf>) -> Self {
        self.default_paths = Some(folders);
        self
    }

    /// Adds a provider, after those of earlier calls.
    #[must_use]
    pub fn provider(mut self, precedence: Precedence, symbols: Arc<dyn SymbolProvider>) -> Self {
        self.providers.push(Provider { precedence, symbols });
        self
    }

    /// Has every step written down.
    #[must_use]
    pub fn trace(mut self, trace: &Trace) -> Self {
        self.trace = Some(trace.clone());
        self
    }

    /// Leaves the modules of the program's own loader out of all lookups, so that libraries find only what is
    /// loaded here and what providers define.
    #[must_use]
    pub fn without_host(mut self) -> Self {
        self.without_host = true;
        self
    }

    /// Leaves the program's unwinder as it is: exceptions and panics cannot pass through code that is loaded
    /// here then.
    #[must_use]
    pub fn without_unwinding(mut self) -> Self {
        self.without_unwinding = true;
        self
    }

    /// When debuggers are told of libraries.
    #[must_use]
    pub fn debugger(mut self, tell: TellDebugger) -> Self {
        self.debugger = tell;
        self
    }

    /// Makes the linker.
    pub fn build(self) -> Linker {
        let default_paths = self.default_paths.unwrap_or_else(|| system_paths().to_vec());
        let config = NamespaceConfig {
            name: "(default)".to_owned(),
            search_paths: self.search_paths,
            default_paths,
            ..NamespaceConfig::default()
        };
        let state = State {
            records: Default::default(),
            namespaces: vec![Namespace { config, members: Vec::new() }],
            providers: self.providers.into(),
            uses_host: !self.without_host,
            trace: self.trace,
            tells_debugger: self.debugger.decide(),
            constructions: 0,
        };
        // What is asked once is asked before anything is to be fast.
        crate::resolver::can_keep_registers();
        if !self.without_unwinding {
            unwind::install();
        }
        Linker { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Linker {
    fn default() -> Self {
        Self::new()
    }
}

impl Linker {
    /// A linker that looks where the system's own does.
    pub fn new() -> Self {
        LinkerBuilder::default().build()
    }

    /// A linker with settings.
    pub fn builder() -> LinkerBuilder {
        LinkerBuilder::default()
    }

    /// Loads a library with all that it needs, or finds that it is loaded.
    ///
    /// A name with a slash is a path, or an archive's path and an entry's name (`base.apk!/lib/x86_64/libx.so`);
    /// others are looked for. When this returns, the initialisers of all these libraries have run.
    pub fn dlopen(&self, name: impl AsRef<Path>, flags: Flags) -> Result<Library, LinkerError> {
        self.dlopen_ext(name, flags, &ExtInfo::default())
    }

    /// As [`Linker::dlopen`], in the way that `ext_info` says (`android_dlopen_ext`).
    pub fn dlopen_ext(
        &self,
        name: impl AsRef<Path>,
        flags: Flags,
        ext_info: &ExtInfo<'_>,
    ) -> Result<Library, LinkerError> {
        self.open(&name.as_ref().to_string_lossy(), None, flags, ext_info)
    }

    /// The same, asked for by code of a library.
    pub(crate) fn open(
        &self,
        name: &str,
        caller: Option<LibraryId>,
        flags: Flags,
        ext_info: &ExtInfo<'_>,
    ) -> Result<Library, LinkerError> {
        let _held = lock::hold();
        let began = Instant::now();
        let trace = self.state().trace.clone();
        let result = self.open_held(name, caller, flags, ext_info);
        if let Some(trace) = &trace {
            let event = match &result {
                Ok(_) => Event::Done { name: name.to_owned(), nanoseconds: trace.nanoseconds(began) },
                Err(error) => Event::Failed { name: name.to_owned(), error: error.to_string() },
            };
            trace.record(Phase::Construct, event);
        }
        result
    }

    fn open_held(
        &self,
        name: &str,
        caller: Option<LibraryId>,
        flags: Flags,
        ext_info: &ExtInfo<'_>,
    ) -> Result<Library, LinkerError> {
        let machine = native()?;
        let (opening, trace) = {
            let state = self.state();
            (open(&state, name, caller, flags, ext_info)?, state.trace.clone())
        };
        let jobs = &opening.jobs;
        let linked = link::link(jobs, machine, flags.lazy, trace.as_ref())?;
        // What is not code of its library is refused before any of it runs.
        for job in jobs {
            construct::check(&job.library, Which::Initialisers)?;
            construct::check(&job.library, Which::Finalisers)?;
        }
        self.commit(opening, linked, trace.as_ref(), flags, ext_info.without_constructors)
    }

    /// Takes linked libraries in, and has them initialise themselves.
    fn commit(
        &self,
        opening: Opening<'_>,
        linked: Vec<Linked>,
        trace: Option<&Trace>,
        flags: Flags,
        without_constructors: bool,
    ) -> Result<Library, LinkerError> {
        let Opening { root, new, jobs } = opening;
        let entries: Vec<registry::Entry> = jobs
            .iter()
            .map(|job| registry::Entry {
                library: Arc::clone(&job.library),
                linker: Arc::downgrade(&self.shared),
            })
            .collect();
        let mut state = self.state();
        // What others need is linked first, and was found last.
        for (New { loaded, dependencies }, (job, linked)) in
            new.into_iter().zip(jobs.iter().zip(linked).rev())
        {
            debug_assert_eq!(loaded.id, job.library.id);
            state.add(loaded, dependencies, job.scope.clone(), linked);
        }
        registry::add(&entries);
        if state.tells_debugger {
            jobs.iter().for_each(|job| debugger::loaded(&job.library));
        }
        let Dependency::Library(id) = root else {
            return Ok(Library::other(self.clone(), root));
        };
        if let Some(record) = state.records.get_mut(&id) {
            record.handles += 1;
            record.no_delete |= flags.no_delete;
        }
        if flags.global {
            state.make_global(id);
        }
        let order = match without_constructors {
            true => Vec::new(),
            false => construct::order(&state, id),
        };
        drop(state);
        let library = Library::loaded(self.clone(), id);
        for id in order {
            self.construct(id, trace)?;
        }
        Ok(library)
    }

    fn construct(&self, id: LibraryId, trace: Option<&Trace>) -> Result<(), LinkerError> {
        let library = {
            let mut state = self.state();
            state.constructions += 1;
            let number = state.constructions;
            // A constructor that opened the same library has had it initialised in the meantime.
            let record = state.records.get_mut(&id).filter(|record| record.constructed.is_none());
            let Some(record) = record else { return Ok(()) };
            record.constructed = Some(number);
            Arc::clone(&record.loaded)
        };
        construct::call_all(&library, Which::Initialisers, trace)
    }

    /// Gives a handle back.
    pub(crate) fn close(&self, id: LibraryId) -> Result<(), LinkerError> {
        let _held = lock::hold();
        {
            let mut state = self.state();
            let record = state.records.get_mut(&id).filter(|record| record.handles > 0 && !record.closing);
            let record = record.ok_or(LinkerError::InvalidHandle(id.number()))?;
            record.handles -= 1;
        }
        close::collect(self);
        Ok(())
    }

    /// Keeps a library until [`Linker::unpin`].
    pub(crate) fn pin(&self, id: LibraryId) {
        if let Some(record) = self.state().records.get_mut(&id) {
            record.pins += 1;
        }
    }

    pub(crate) fn unpin(&self, id: LibraryId) {
        let _held = lock::hold();
        if let Some(record) = self.state().records.get_mut(&id) {
            record.pins = record.pins.saturating_sub(1);
        }
        close::collect(self);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Makes a namespace (`android_create_namespace`).
    pub fn create_namespace(&self, config: NamespaceConfig) -> Result<NamespaceId, LinkerError> {
        let mut state = self.state();
        if state.namespaces.iter().any(|namespace| namespace.config.name == config.name) {
            return Err(LinkerError::Namespace { what: "there is already a", name: config.name });
        }
        let unknown = |id: &NamespaceId| id.0 >= state.namespaces.len();
        let others = config.links.iter().map(|link| link.to).chain(config.shares);
        if let Some(id) = others.into_iter().find(unknown) {
            return Err(LinkerError::Namespace { what: "no", name: format!("#{}", id.0) });
        }
        let shared = config.shares.and_then(|id| state.namespaces.get(id.0));
        let members = match shared {
            Some(parent) => parent.members.clone(),
            // What is for everyone is there in every namespace.
            None => {
                let all = state.namespaces[0].members.iter().copied();
                all.filter(|&id| state.record(id).is_some_and(|record| record.global)).collect()
            }
        };
        state.namespaces.push(Namespace { config, members });
        Ok(NamespaceId(state.namespaces.len() - 1))
    }

    /// Has code that is of no library at all, as what is compiled at run time, open libraries of this namespace
    /// (`android_init_anonymous_namespace`). There is one such namespace in a process: the one that was set last.
    pub fn set_anonymous_namespace(&self, id: NamespaceId) -> Result<(), LinkerError> {
        if id.0 >= self.state().namespaces.len() {
            return Err(LinkerError::Namespace { what: "no", name: format!("#{}", id.0) });
        }
        crate::interpose::set_anonymous(self, id);
        Ok(())
    }

    /// Adds a way from a namespace to libraries of another (`android_link_namespaces`).
    pub fn link_namespaces(&self, from: NamespaceId, link: NamespaceLink) -> Result<(), LinkerError> {
        let mut state = self.state();
        let no = |id: NamespaceId| LinkerError::Namespace { what: "no", name: format!("#{}", id.0) };
        if link.to.0 >= state.namespaces.len() {
            return Err(no(link.to));
        }
        let namespace = state.namespaces.get_mut(from.0).ok_or(no(from))?;
        namespace.config.links.push(link);
        Ok(())
    }

    /// A symbol as any code of the program would find it (`dlsym(RTLD_DEFAULT, …)`): of the program, then of
    /// libraries that were loaded for everyone.
    pub fn default_symbol(&self, name: &str) -> Result<RuntimeAddress, LinkerError> {
        let modules = self.state().global_group(NamespaceId::DEFAULT);
        self.symbol_among(&modules, name, None)
    }

    /// Looks for a name in modules in their order; what the program's own loader finds comes last.
    pub(crate) fn symbol_among(
        &self,
        modules: &[Module],
        name: &str,
        version: Option<&str>,
    ) -> Result<RuntimeAddress, LinkerError> {
        let found = find_symbol(modules, name, version);
        let host = || {
            let uses_host = self.state().uses_host;
            let found =
                uses_host.then(|| process::default_symbol(name.as_bytes(), version.map(str::as_bytes)));
            found.flatten()
        };
        found.or_else(host).ok_or_else(|| undefined(name, version))
    }

    /// Which library and symbol an address is in (`dladdr`).
    pub fn dladdr(&self, address: RuntimeAddress) -> Result<SymbolInfo, LinkerError> {
        symbol_info(address).ok_or(LinkerError::NoLibraryAt(address))
    }

    /// Every library that is loaded, in the order in which they were loaded, by its handle.
    pub fn libraries(&self) -> Vec<Library> {
        let mut state = self.state();
        let ids: Vec<_> =
            state.records.iter().filter(|(_, record)| !record.closing).map(|(&id, _)| id).collect();
        for id in &ids {
            if let Some(record) = state.records.get_mut(id) {
                record.handles += 1;
            }
        }
        drop(state);
        ids.into_iter().map(|id| Library::loaded(self.clone(), id)).collect()
    }
}

pub(crate) fn undefined(name: &str, version: Option<&str>) -> LinkerError {
    let symbol = version.map_or_else(|| name.to_owned(), |version| format!("{name}, version {version}"));
    LinkerError::UndefinedSymbol { symbol }
}

/// Whose address it is, if it is of a library that was loaded here.
pub(crate) fn symbol_info(address: RuntimeAddress) -> Option<SymbolInfo> {
    let entry = registry::at(address)?;
    let library = &entry.library;
    let symbol = library.symbol_at(address);
    Some(SymbolInfo { path: library.path.clone(), base: library.mapped.reservation().start(), symbol })
}

/// The first definition of a name in modules; a thread-local's is that of this thread.
pub(crate) fn find_symbol(modules: &[Module], name: &str, version: Option<&str>) -> Option<RuntimeAddress> {
    use crate::link::resolve::{Definition, Target};
    use crate::link::unique;
    let hashed = Name::new(name.as_bytes());
    let named = version.map(|version| Version::named(version.as_bytes()));
    let wanted = named.as_ref().map_or(Wanted::Default, Wanted::Version);
    for module in modules {
        if let Module::Provider(provider) = module {
            match provider.find(name, version) {
                Some(found) => return Some(found),
                None => continue,
            }
        }
        let Some(found) =
            module.definitions().and_then(|definitions| definitions.tables.find(&hashed, wanted))
        else {
            continue;
        };
        if found.symbol.is_thread_local() {
            return thread_local(module, found.symbol.value.0);
        }
        let definition = Definition::Symbol(module.clone(), found.symbol);
        return match unique::first(definition, &hashed, modules).target() {
            Target::Address(address) => Some(address),
            // SAFETY: a library that can be asked for symbols is relocated, and the symbol says that it is such
            // a function.
            Target::Indirect(resolver) => Some(unsafe { crate::call::resolver(resolver) }),
        };
    }
    None
}

fn thread_local(module: &Module, offset: u64) -> Option<RuntimeAddress> {
    let id = match module {
        Module::Library(library) => library.tls.as_ref()?.id(),
        Module::Host(host) => host.tls_module,
        Module::Provider(_) => return None,
    };
    let index = tls::Index { module: id, offset };
    // SAFETY: the number of a module that is loaded: the caller has it in its hands.
    Some(RuntimeAddress(unsafe { tls::get_address(&raw const index) } as u64))
}
