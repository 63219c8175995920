//! From a reference to a definition: whose symbol is meant, and where it is.

use super::unique;
use crate::LinkerError;
use crate::call;
use crate::host::HostModule;
use crate::interpose;
use crate::loaded::Loaded;
use crate::module::Module;
use crate::process;
use crate::provider::{Precedence, Provider};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::loadable::hash::{Filter, GnuHash, HashTable, Name};
use livepatch_object::loadable::symbol::Symbol;
use livepatch_object::loadable::tables::Tables;
use livepatch_object::loadable::version::{Version, Wanted};
use livepatch_object::loadable::{LoadError, Problem};
use std::sync::Arc;

/// Where a library's references are looked up.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// In order; the library itself is among them.
    pub(crate) modules: Arc<[Module]>,
    pub(crate) providers: Arc<[Provider]>,
    /// Whether the program's own loader is asked when nobody else knows.
    pub(crate) asks_host: bool,
}

/// What of a library's references can be bound to its own definitions without looking anything up: where the
/// filters of all modules before it in the scope say that they do not have a name. Its hash is in the library's own
/// table, but for its lowest bit.
pub(crate) struct OwnFirst<'a> {
    own: &'a GnuHash,
    before: Vec<Filter<'a>>,
}

impl<'a> OwnFirst<'a> {
    /// None where that cannot be told.
    pub(crate) fn new(library: &'a Loaded, scope: &'a Scope) -> Option<Self> {
        let HashTable::Gnu(own) = &library.definitions.tables.hash else { return None };
        if scope.providers.iter().any(|provider| provider.precedence == Precedence::First) {
            return None;
        }
        let is_own = |module: &Module| matches!(module, Module::Library(other) if other.id == library.id);
        let before = scope.modules.iter().take_while(|module| !is_own(module));
        let before = before.map(filter_of).collect::<Option<Vec<_>>>()?;
        (before.len() < scope.modules.len()).then_some(Self { own, before })
    }

    /// Whether the library's own definition is the one that is meant.
    #[inline]
    pub(crate) fn is_own(&self, index: u32, symbol: &Symbol) -> bool {
        if !symbol.is_exported() || symbol.binding() == object::elf::STB_GNU_UNIQUE {
            return false;
        }
        let Some(hash) = self.own.entry(index) else { return false };
        !self.before.iter().any(|filter| filter.may_have_either(hash))
    }
}

/// The filter of a module's names; none if its table has none.
fn filter_of(module: &Module) -> Option<Filter<'_>> {
    match &module.definitions()?.tables.hash {
        HashTable::Gnu(table) => Some(table.filter()),
        HashTable::Sysv(_) => None,
    }
}

/// What modules of a scope need not be asked for a name, for those who ask for many.
pub(crate) struct Filters<'a>(Vec<Option<Filter<'a>>>);

impl<'a> Filters<'a> {
    pub(crate) fn new(scope: &'a Scope) -> Self {
        Self(scope.modules.iter().map(filter_of).collect())
    }

    /// All have to be asked.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    #[inline]
    fn may_have(&self, module: usize, name: &Name<'_>) -> bool {
        self.0.get(module).and_then(Option::as_ref).is_none_or(|filter| filter.may_have(name.gnu))
    }
}

/// A definition that a reference means.
#[derive(Clone, Debug)]
pub(crate) enum Definition {
    /// A symbol of a shared object.
    Symbol(Module, Symbol),
    /// An address, from a provider or the program's loader.
    Address(RuntimeAddress, &'static str),
    /// Nobody defines it, and it is weak.
    Nothing,
}

/// Where a reference leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// There.
    Address(RuntimeAddress),
    /// To where this function says, which is of a library that may not be relocated yet.
    Indirect(RuntimeAddress),
}

/// How a reference is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) library: &'a Loaded,
    pub(crate) index: u32,
    pub(crate) symbol: Symbol,
}

impl<'a> Reference<'a> {
    /// The reference to a symbol of a library's table.
    pub(crate) fn new(library: &'a Loaded, index: u32) -> Result<Self, LoadError> {
        let symbol = library.definitions.tables.symbols.get(index);
        let symbol = symbol.ok_or_else(|| Problem::BadSymbol { index }.of(&library.path))?;
        Ok(Self { library, index, symbol })
    }

    fn tables(&self) -> &'a Tables {
        &self.library.definitions.tables
    }

    fn name(&self) -> Result<&'a [u8], LoadError> {
        let name = self.tables().symbols.name(&self.symbol);
        name.ok_or_else(|| Problem::BadSymbol { index: self.index }.of(&self.library.path))
    }

    /// For errors and traces.
    pub(crate) fn display_name(&self) -> String {
        self.name()
            .map_or_else(|_| format!("#{}", self.index), |name| String::from_utf8_lossy(name).into_owned())
    }

    pub(crate) fn version(&self) -> Option<&'a Version> {
        self.tables().versions.of(self.index)
    }

    /// Whose symbol is meant. The filters are the scope's.
    pub(crate) fn definition(
        &self,
        scope: &Scope,
        filters: &Filters<'_>,
        own: &Module,
    ) -> Result<Definition, LinkerError> {
        if self.symbol.binds_locally() {
            // A local symbol without a section is the number 0, as is a hidden one that nobody defined.
            return Ok(match self.symbol.is_defined() || self.index == 0 {
                true => Definition::Symbol(own.clone(), self.symbol),
                false => Definition::Nothing,
            });
        }
        let symbolic = self.tables().dynamic.symbolic();
        if symbolic && self.symbol.is_exported() {
            return Ok(Definition::Symbol(own.clone(), self.symbol));
        }
        let name = self.name()?;
        self.look_up(scope, filters, symbolic.then_some(own), &Name::new(name))
    }

    fn look_up(
        &self,
        scope: &Scope,
        filters: &Filters<'_>,
        first: Option<&Module>,
        name: &Name<'_>,
    ) -> Result<Definition, LinkerError> {
        let version = self.version();
        let text = || std::str::from_utf8(name.bytes).ok();
        let version_text = || version.and_then(|version| std::str::from_utf8(&version.name).ok());
        let ask = |precedence| {
            let mut asked = scope.providers.iter().filter(|provider| provider.precedence == precedence);
            asked.find_map(|provider| provider.symbols.find(text()?, version_text()))
        };
        if let Some(address) = ask(Precedence::First) {
            return Ok(Definition::Address(address, "a provider"));
        }
        if let Some(address) = interpose::find(name) {
            return Ok(Definition::Address(address, "the linker"));
        }
        let wanted = version.map_or(Wanted::Oldest, Wanted::Version);
        let asked = scope.modules.iter().enumerate().filter(|&(index, _)| filters.may_have(index, name));
        for module in first.into_iter().chain(asked.map(|(_, module)| module)) {
            if let Some(found) = find_in(module, name, wanted, text, version_text) {
                return Ok(unique::first(found, name, &scope.modules));
            }
        }
        if self.symbol.is_weak() {
            return Ok(Definition::Nothing);
        }
        let named_version = version.map(|version| &*version.name);
        if let Some(address) = ask(Precedence::Last) {
            return Ok(Definition::Address(address, "a provider"));
        }
        // Of libraries that the program opened for everyone after it began, only its own loader knows.
        let asked = scope.asks_host.then(|| process::default_symbol(name.bytes, named_version));
        if let Some(address) = asked.flatten() {
            return Ok(Definition::Address(address, "the program"));
        }
        Err(LinkerError::Unresolved {
            symbol: String::from_utf8_lossy(name.bytes).into_owned(),
            version: named_version.map(|version| String::from_utf8_lossy(version).into_owned()),
            library: self.library.path.clone(),
        })
    }
}

/// A module's definition of a name.
fn find_in<'t>(
    module: &Module,
    name: &Name<'_>,
    wanted: Wanted<'_>,
    text: impl FnOnce() -> Option<&'t str>,
    version: impl FnOnce() -> Option<&'t str>,
) -> Option<Definition> {
    match module {
        Module::Provider(provider) => {
            let address = provider.find(text()?, version())?;
            Some(Definition::Address(address, "a provider"))
        }
        _ => {
            let found = module.definitions()?.tables.find(name, wanted)?;
            Some(Definition::Symbol(module.clone(), found.symbol))
        }
    }
}

impl Definition {
    /// Where the symbol is; thread-locals are nowhere.
    pub(crate) fn target(&self) -> Target {
        match self {
            Self::Address(address, _) => Target::Address(*address),
            Self::Nothing => Target::Address(RuntimeAddress(0)),
            Self::Symbol(module, symbol) => match module {
                Module::Library(library) => target_in_library(library, symbol),
                Module::Host(host) => Target::Address(address_in_host(host, symbol)),
                Module::Provider(_) => Target::Address(RuntimeAddress(0)),
            },
        }
    }

    pub(crate) fn definer(&self) -> Option<&str> {
        match self {
            Self::Symbol(module, _) => Some(module.name()),
            Self::Address(_, who) => Some(who),
            Self::Nothing => None,
        }
    }
}

fn target_in_library(library: &Loaded, symbol: &Symbol) -> Target {
    let address = library.definitions.address(symbol);
    match symbol.is_indirect() {
        true => Target::Indirect(address),
        false => Target::Address(address),
    }
}

/// The program's own modules are relocated, so their resolvers can be asked at once.
fn address_in_host(host: &HostModule, symbol: &Symbol) -> RuntimeAddress {
    let address = host.definitions.address(symbol);
    if !symbol.is_indirect() || !host.is_code(address) {
        return address;
    }
    // SAFETY: the program's loader has relocated the module, which is never unloaded, and the symbol says that
    // it is such a function.
    unsafe { call::resolver(address) }
}
