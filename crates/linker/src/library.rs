//! A handle of a library: as long as there is one, the library stays loaded.

use crate::LinkerError;
use crate::linker::{Linker, find_symbol, undefined};
use crate::loaded::LibraryId;
use crate::module::{Dependency, Module};
use livepatch_object::address::RuntimeAddress;
use std::fmt;

/// A library that was opened. Dropping it is `dlclose`; [`Library::leak`] keeps it open for good.
pub struct Library {
    linker: Linker,
    module: Dependency,
}

/// Where an address is (`Dl_info`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SymbolInfo {
    /// The library's path.
    pub path: String,
    /// Where its first segment begins.
    pub base: RuntimeAddress,
    /// The symbol that it is in, and where that begins; none if it is in no symbol that can be found.
    pub symbol: Option<(String, RuntimeAddress)>,
}

impl Library {
    pub(crate) fn loaded(linker: Linker, id: LibraryId) -> Self {
        Self { linker, module: Dependency::Library(id) }
    }

    /// A module that this linker has not loaded, and will not unload.
    pub(crate) fn other(linker: Linker, module: Dependency) -> Self {
        Self { linker, module }
    }

    /// Its number; none if it is the program's own.
    pub fn id(&self) -> Option<LibraryId> {
        match self.module {
            Dependency::Library(id) => Some(id),
            Dependency::Other(_) => None,
        }
    }

    /// Its path, with `!/` and the entry's name if it is in an archive.
    pub fn path(&self) -> String {
        match &self.module {
            Dependency::Library(id) => self
                .linker
                .state()
                .records
                .get(id)
                .map(|record| record.loaded.path.clone())
                .unwrap_or_default(),
            Dependency::Other(module) => module.name().to_owned(),
        }
    }

    /// Where it is in memory: the first byte, and how many; none if it is the program's own.
    pub fn memory(&self) -> Option<(RuntimeAddress, u64)> {
        let state = self.linker.state();
        let reservation = state.records.get(&self.id()?)?.loaded.mapped.reservation();
        Some((reservation.start(), reservation.size()))
    }

    /// Run-time minus link-time addresses.
    pub fn slide(&self) -> Option<livepatch_object::address::Slide> {
        Some(self.linker.state().records.get(&self.id()?)?.loaded.definitions.slide)
    }

    /// The address of a symbol of the library, or of what it needs, breadth first (`dlsym`). A thread-local's
    /// is that of this thread.
    pub fn symbol(&self, name: &str) -> Result<RuntimeAddress, LinkerError> {
        find_symbol(&self.group(), name, None).ok_or_else(|| undefined(name, None))
    }

    /// The same, of one version (`dlvsym`).
    pub fn versioned_symbol(&self, name: &str, version: &str) -> Result<RuntimeAddress, LinkerError> {
        find_symbol(&self.group(), name, Some(version)).ok_or_else(|| undefined(name, Some(version)))
    }

    /// All symbols of the library itself that others can find: names, and link-time values.
    pub fn exported(&self) -> Vec<(String, livepatch_object::loadable::symbol::Symbol)> {
        let modules = self.group();
        let Some(definitions) = modules.first().and_then(Module::definitions) else { return Vec::new() };
        let tables = &definitions.tables;
        let named = tables.exported().filter_map(|found| {
            let name = tables.symbols.name(&found.symbol)?;
            Some((String::from_utf8_lossy(name).into_owned(), found.symbol))
        });
        named.collect()
    }

    pub(crate) fn group(&self) -> Vec<Module> {
        self.linker.state().local_group(&self.module)
    }

    /// Closes it (`dlclose`), which dropping it does as well.
    pub fn close(self) {}

    /// Keeps it open for as long as the process lives.
    pub fn leak(self) {
        std::mem::forget(self);
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if let Dependency::Library(id) = self.module {
            // A handle is only closed here, once, so that it is valid.
            let _ = self.linker.close(id);
        }
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Library({})", self.path())
    }
}
