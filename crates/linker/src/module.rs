//! Whatever can define a symbol: a library that was loaded here, a module of the program's own loader, a
//! provider.

use crate::host::HostModule;
use crate::loaded::{LibraryId, Loaded};
use crate::provider::SymbolProvider;
use livepatch_object::address::{RuntimeAddress, Slide};
use livepatch_object::loadable::symbol::Symbol;
use livepatch_object::loadable::tables::Tables;
use std::fmt;
use std::sync::Arc;

/// A shared object's symbols and where they are.
#[derive(Debug)]
pub(crate) struct Definitions {
    pub(crate) tables: Tables,
    pub(crate) slide: Slide,
}

impl Definitions {
    /// Where a symbol is that is no thread-local. For an indirect one, the function that says where.
    pub(crate) fn address(&self, symbol: &Symbol) -> RuntimeAddress {
        match symbol.is_absolute() {
            true => RuntimeAddress(symbol.value.0),
            // Symbols may lie outside the image, where their address is as good as any number.
            false => RuntimeAddress(symbol.value.0.wrapping_add(self.slide.bits())),
        }
    }
}

/// A place in a lookup's order.
#[derive(Clone)]
pub(crate) enum Module {
    Library(Arc<Loaded>),
    Host(Arc<HostModule>),
    Provider(Arc<dyn SymbolProvider>),
}

impl Module {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Library(library) => &library.path,
            Self::Host(module) => &module.path,
            Self::Provider(provider) => provider.name(),
        }
    }

    /// Its symbols, if it is a shared object.
    pub(crate) fn definitions(&self) -> Option<&Definitions> {
        match self {
            Self::Library(library) => Some(&library.definitions),
            Self::Host(module) => Some(&module.definitions),
            Self::Provider(_) => None,
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Library(a), Self::Library(b)) => a.id == b.id,
            (Self::Host(a), Self::Host(b)) => Arc::ptr_eq(a, b),
            (Self::Provider(a), Self::Provider(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a library needs.
#[derive(Clone, Debug)]
pub(crate) enum Dependency {
    /// A library that was loaded here.
    Library(LibraryId),
    /// Anything that this linker does not unload.
    Other(Module),
}
