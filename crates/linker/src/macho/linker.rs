//! A linker of images: what it has loaded, its providers, and opening and closing.

use super::Mode;
use super::close;
use super::construct;
use super::error::Error;
use super::find;
use super::library::Library;
use super::link;
use super::link::resolve::{Resolver, Target};
use super::loaded::{Loaded, Module};
use super::registry;
use super::state::State;
use crate::loaded::LibraryId;
use crate::lock;
use crate::provider::{Precedence, Provider, SymbolProvider};
use crate::trace::{Event, Phase, Trace};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::macho::Problem;
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Loads images into this process. Clones are the same linker.
#[derive(Clone)]
pub struct Linker {
    pub(super) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
}

/// How a linker is made.
#[derive(Default)]
pub struct LinkerBuilder {
    search_paths: Vec<PathBuf>,
    providers: Vec<Provider>,
    trace: Option<Trace>,
    without_host: bool,
    without_initializers: bool,
}

impl LinkerBuilder {
    /// Has libraries looked for in a folder first, by the last part of their names (`DYLD_LIBRARY_PATH`).
    #[must_use]
    pub fn search_path(mut self, folder: impl Into<PathBuf>) -> Self {
        self.search_paths.push(folder.into());
        self
    }

    /// Adds a provider, after those of earlier calls. It is asked for names as images have them: with the underscore.
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

    /// Leaves what the program itself defines out of flat lookups.
    #[must_use]
    pub fn without_host(mut self) -> Self {
        self.without_host = true;
        self
    }

    /// Runs no initializers and terminators: images are in memory, and bound, and nothing else.
    #[must_use]
    pub fn without_initializers(mut self) -> Self {
        self.without_initializers = true;
        self
    }

    /// Makes the linker.
    pub fn build(self) -> Linker {
        let state = State {
            records: BTreeMap::new(),
            providers: self.providers.into(),
            search_paths: self.search_paths,
            uses_host: !self.without_host,
            initializes: !self.without_initializers,
            trace: self.trace,
            constructions: 0,
        };
        // What is asked once is asked before anything is to be fast.
        crate::resolver::can_keep_registers();
        Linker { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }
}

impl Linker {
    /// A linker with settings.
    pub fn builder() -> LinkerBuilder {
        LinkerBuilder::default()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads an image with all that it needs, or finds that it is loaded. When this returns, the initializers of all
    /// these images have run.
    pub fn dlopen(&self, name: impl AsRef<Path>, mode: Mode) -> Result<Library, Error> {
        let _held = lock::hold();
        let name = name.as_ref().to_string_lossy().into_owned();
        let began = Instant::now();
        let trace = self.state().trace.clone();
        let result = self.open(&name, mode, trace.as_ref());
        if let Some(trace) = &trace {
            let event = match &result {
                Ok(_) => Event::Done { name, nanoseconds: trace.nanoseconds(began) },
                Err(error) => Event::Failed { name, error: error.to_string() },
            };
            trace.record(Phase::Construct, event);
        }
        result
    }

    fn open(&self, name: &str, mode: Mode, trace: Option<&Trace>) -> Result<Library, Error> {
        let (found, bound_to) = {
            let (found, resolver, providers) = {
                let state = self.state();
                let found = find::find(&state, &Arc::downgrade(&self.shared), name)?;
                let providers = Arc::clone(&state.providers);
                let resolver = Resolver::new(&state, &[], &found.new);
                (found, resolver, providers)
            };
            // The state is not locked meanwhile: providers may call the linker.
            let resolver = Resolver { providers: &providers, ..resolver };
            let bound_to = link::link(&found.new, &resolver, mode, trace)?;
            (found, bound_to)
        };
        let root = found.root;
        registry::add(&found.new);
        let order = {
            let mut state = self.state();
            for (image, bound_to) in found.new.into_iter().zip(bound_to) {
                let id = image.id;
                state.add(image);
                if let Some(record) = state.records.get_mut(&id) {
                    record.bound_to = bound_to;
                }
            }
            let record = state.records.get_mut(&root.id).ok_or(Error::InvalidHandle)?;
            record.handles += 1;
            match state.initializes {
                true => construct::order(&state, root.id),
                false => Vec::new(),
            }
        };
        let library = Library::new(self.clone(), root);
        for id in order {
            self.construct(id, trace)?;
        }
        Ok(library)
    }

    fn construct(&self, id: LibraryId, trace: Option<&Trace>) -> Result<(), Error> {
        let image = {
            let mut state = self.state();
            state.constructions += 1;
            let number = state.constructions;
            // An initializer that opened the same image has had it initialised in the meantime.
            let record = state.records.get_mut(&id).filter(|record| record.constructed.is_none());
            let Some(record) = record else { return Ok(()) };
            record.constructed = Some(number);
            Arc::clone(&record.loaded)
        };
        let functions = construct::initializers(&image)?;
        construct::call_all(&image, &functions, Phase::Construct, trace);
        Ok(())
    }

    /// Gives a handle back.
    pub(super) fn close(&self, id: LibraryId) {
        let _held = lock::hold();
        if let Some(record) = self.state().records.get_mut(&id) {
            record.handles = record.handles.saturating_sub(1);
        }
        close::collect(self);
    }

    /// What lookups are made in at this moment.
    pub(super) fn view(&self) -> (Resolver<'static>, Arc<[Provider]>) {
        let state = self.state();
        (Resolver::new(&state, &[], &[]), Arc::clone(&state.providers))
    }

    /// Keeps what an image was bound to at a call as long as the image.
    pub(super) fn note_binding(&self, from: &Loaded, target: &Target) {
        let Some(id) = target.bound_to(from) else { return };
        if let Some(record) = self.state().records.get_mut(&from.id) {
            record.bound_to.insert(id);
        }
    }

    /// A symbol as a flat lookup finds it (`dlsym(RTLD_DEFAULT, …)`), by its name of C.
    pub fn flat_symbol(&self, name: &str) -> Option<RuntimeAddress> {
        let (resolver, providers) = self.view();
        let resolver = Resolver { providers: &providers, ..resolver };
        let found = resolver.flat(format!("_{name}").as_bytes()).ok().flatten()?;
        Some(RuntimeAddress(found.address))
    }

    /// A symbol of an image or of what it needs, breadth first; providers last.
    pub(super) fn symbol_of(&self, root: &Arc<Loaded>, name: &[u8]) -> Result<Option<RuntimeAddress>, Error> {
        let wrong = |image: &Loaded, problem: Problem| image.wrong(problem);
        let mut seen = FxHashSet::default();
        let mut queue = VecDeque::from([Arc::clone(root)]);
        let mut providers = Vec::new();
        while let Some(image) = queue.pop_front() {
            if !seen.insert(image.id) {
                continue;
            }
            if let Some(found) = image.find(name).map_err(|problem| wrong(&image, problem))? {
                return Ok(Some(RuntimeAddress(found.address)));
            }
            for dependency in image.dependencies() {
                match &dependency.module {
                    Module::Image(_, image) => queue.extend(image.upgrade()),
                    Module::Provider(provider) => providers.push(Arc::clone(provider)),
                    Module::Missing => {}
                }
            }
        }
        let text = std::str::from_utf8(name).unwrap_or_default();
        Ok(providers.iter().find_map(|provider| provider.find(text, None)))
    }

    /// Every image that is loaded, in the order in which they were loaded, by its path.
    pub fn images(&self) -> Vec<String> {
        self.state().images().map(|image| image.path.to_string()).collect()
    }
}
