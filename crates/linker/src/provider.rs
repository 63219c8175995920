//! Definitions that come from no shared object: given by the program, made up, or trapped.

use livepatch_object::address::RuntimeAddress;
use rustc_hash::FxHashMap;
use std::fmt;

/// When a provider is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precedence {
    /// Before everything else: its definitions replace those of libraries.
    First,
    /// Where a library is that it stands for ([`SymbolProvider::stands_for`]), as such a library would be.
    AsLibrary,
    /// When nothing else defines a symbol that is not weak.
    Last,
}

/// Defines symbols for libraries that are loaded.
pub trait SymbolProvider: Send + Sync {
    /// What traces and errors call it.
    fn name(&self) -> &str;

    /// Whether it stands for a library of this name (`DT_NEEDED`), which is not loaded then.
    fn stands_for(&self, _library: &str) -> bool {
        false
    }

    /// Where a symbol is. The version is the one that the reference asks for.
    ///
    /// What code does with the address is beyond all checks: it must be a function or an object of the kind
    /// that those who refer to it expect.
    fn find(&self, symbol: &str, version: Option<&str>) -> Option<RuntimeAddress>;
}

/// A provider with its place among the others.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) precedence: Precedence,
    pub(crate) symbols: std::sync::Arc<dyn SymbolProvider>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.symbols.name(), self.precedence)
    }
}

/// A provider of a list of names.
#[derive(Clone, Debug, Default)]
pub struct ExplicitMap {
    name: String,
    libraries: Vec<String>,
    symbols: FxHashMap<String, RuntimeAddress>,
}

impl ExplicitMap {
    /// An empty list.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Says that it stands for a library.
    #[must_use]
    pub fn standing_for(mut self, library: impl Into<String>) -> Self {
        self.libraries.push(library.into());
        self
    }

    /// Adds a symbol.
    #[must_use]
    pub fn with(mut self, symbol: impl Into<String>, at: RuntimeAddress) -> Self {
        self.symbols.insert(symbol.into(), at);
        self
    }
}

impl SymbolProvider for ExplicitMap {
    fn name(&self) -> &str {
        &self.name
    }

    fn stands_for(&self, library: &str) -> bool {
        self.libraries.iter().any(|own| own == library)
    }

    fn find(&self, symbol: &str, _version: Option<&str>) -> Option<RuntimeAddress> {
        self.symbols.get(symbol).copied()
    }
}
