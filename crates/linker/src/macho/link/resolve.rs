//! From an import to a definition: whose symbol is meant, and where it is.

use super::super::error::Error;
use super::super::loaded::{Definer, Found, Loaded, Module, provided, text};
use super::super::state::State;
use super::lazy;
use crate::loaded::LibraryId;
use crate::process;
use crate::provider::{Precedence, Provider};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::macho::{Import, Ordinal, Problem};
use std::sync::Arc;

/// What an import leads to.
#[derive(Clone, Debug)]
pub(in crate::macho) enum Target {
    /// A definition.
    Found(Found),
    /// Nobody defines it, and it need not be there.
    Nothing,
}

impl Target {
    pub(in crate::macho) fn address(&self) -> u64 {
        match self {
            Self::Found(found) => found.address,
            Self::Nothing => 0,
        }
    }

    pub(in crate::macho) fn definer(&self) -> Option<String> {
        match self {
            Self::Found(found) => Some(found.definer.to_string()),
            Self::Nothing => None,
        }
    }

    /// The image that has to stay loaded for it, which is another than the one that refers to it.
    pub(in crate::macho) fn bound_to(&self, from: &Loaded) -> Option<LibraryId> {
        match self {
            Self::Found(found) => found.image.filter(|&id| id != from.id),
            Self::Nothing => None,
        }
    }
}

/// Whether an import names the one place where it is looked for: a library, or the image itself.
fn is_two_level(from: &Loaded, import: &Import) -> bool {
    let header = &from.image.header;
    let is_named = matches!(import.ordinal, Ordinal::Library(_) | Ordinal::ThisImage);
    is_named && header.is_two_level() && !header.forces_flat()
}

/// The definition of an import that names where it is, without a look at any other image; none if that takes more.
pub(in crate::macho) fn two_level(from: &Loaded, import: &Import) -> Result<Option<Target>, Error> {
    if !is_two_level(from, import) {
        return Ok(None);
    }
    let name = &*import.symbol;
    let first = || ask(&from.providers, Precedence::First, name);
    if let Some(found) = special(name).or_else(first) {
        return Ok(Some(Target::Found(found)));
    }
    let found = look_up(from, import).map_err(|problem| from.wrong(problem))?;
    Ok(found.map(Target::Found))
}

/// Looks an import up where it says.
fn look_up(from: &Loaded, import: &Import) -> Result<Option<Found>, Problem> {
    let Ordinal::Library(number) = import.ordinal else { return from.find(&import.symbol) };
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    match index.and_then(|index| from.dependencies().get(index)) {
        Some(dependency) => dependency.find(&import.symbol),
        None => Ok(None),
    }
}

fn ask(providers: &[Provider], precedence: Precedence, name: &[u8]) -> Option<Found> {
    let mut asked = providers.iter().filter(|provider| provider.precedence == precedence);
    asked.find_map(|provider| provided(&*provider.symbols, name))
}

/// Looks imports up.
pub(in crate::macho) struct Resolver<'a> {
    /// All images in the order in which they were loaded, those that are about to be included.
    pub(in crate::macho) images: Vec<Arc<Loaded>>,
    pub(in crate::macho) providers: &'a [Provider],
    pub(in crate::macho) executable: Option<Arc<Loaded>>,
    pub(in crate::macho) uses_host: bool,
}

impl<'a> Resolver<'a> {
    pub(in crate::macho) fn new(state: &State, providers: &'a [Provider], new: &[Arc<Loaded>]) -> Self {
        use livepatch_object::macho::ImageKind;
        let images: Vec<_> = state.images().chain(new).cloned().collect();
        let is_executable = |image: &&Arc<Loaded>| image.image.header.kind == ImageKind::Executable;
        let executable = state.executable().or_else(|| new.iter().find(is_executable)).cloned();
        Self { images, providers, executable, uses_host: state.uses_host }
    }

    /// Whose symbol an image's import means.
    pub(in crate::macho) fn resolve(&self, from: &Loaded, import: &Import) -> Result<Target, Error> {
        let name = &*import.symbol;
        if let Some(found) = special(name).or_else(|| ask(self.providers, Precedence::First, name)) {
            return Ok(Target::Found(found));
        }
        let found = self.look_up(from, import).map_err(|problem| from.wrong(problem))?;
        if let Some(found) = found {
            return Ok(Target::Found(found));
        }
        if import.weak_import || import.ordinal == Ordinal::WeakLookup || is_missing(from, import) {
            return Ok(Target::Nothing);
        }
        if let Some(found) = ask(self.providers, Precedence::Last, name) {
            return Ok(Target::Found(found));
        }
        let expected = match import.ordinal {
            Ordinal::Library(_) => from.image.library(import.ordinal).map(|library| library.name.clone()),
            Ordinal::ThisImage => Some(from.path.to_string()),
            Ordinal::MainExecutable => Some("the main executable".to_owned()),
            Ordinal::FlatLookup | Ordinal::WeakLookup => Some("flat namespace".to_owned()),
        };
        Err(Error::SymbolNotFound {
            symbol: text(&import.symbol),
            by: from.path.to_string(),
            expected: expected.unwrap_or_default(),
        })
    }

    fn look_up(&self, from: &Loaded, import: &Import) -> Result<Option<Found>, Problem> {
        let name = &*import.symbol;
        let header = &from.image.header;
        let is_flat = !header.is_two_level() || header.forces_flat();
        match import.ordinal {
            Ordinal::WeakLookup => self.coalesced(name),
            _ if is_flat => self.flat(name),
            Ordinal::Library(_) | Ordinal::ThisImage => look_up(from, import),
            Ordinal::MainExecutable => match &self.executable {
                Some(executable) => executable.find(name),
                None => Ok(self.of_host(name)),
            },
            Ordinal::FlatLookup => self.flat(name),
        }
    }

    /// The first definition in any image, then of any provider that stands for one of their libraries, then the
    /// program's.
    pub(in crate::macho) fn flat(&self, name: &[u8]) -> Result<Option<Found>, Problem> {
        for image in &self.images {
            if let Some(found) = image.find(name)? {
                return Ok(Some(found));
            }
        }
        Ok(self.provided(name).or_else(|| self.of_host(name)))
    }

    /// The definition that all images agree upon: the first that is not weak, or the first.
    fn coalesced(&self, name: &[u8]) -> Result<Option<Found>, Problem> {
        let mut first = None;
        for image in &self.images {
            match image.find(name)? {
                Some(found) if !found.is_weak => return Ok(Some(found)),
                found => first = first.or(found),
            }
        }
        Ok(first.or_else(|| self.provided(name)))
    }

    fn provided(&self, name: &[u8]) -> Option<Found> {
        let dependencies = self.images.iter().flat_map(|image| image.dependencies());
        let mut providers = dependencies.filter_map(|dependency| match &dependency.module {
            Module::Provider(provider) => Some(provider),
            _ => None,
        });
        providers.find_map(|provider| provided(&**provider, name))
    }

    fn of_host(&self, name: &[u8]) -> Option<Found> {
        let name = name.strip_prefix(b"_").filter(|_| self.uses_host)?;
        let address = process::default_symbol(name, None)?;
        Some(Found {
            address: address.0,
            definer: Definer::Other("the program"),
            image: None,
            is_weak: false,
        })
    }
}

/// Whether an import is of a library that is not there and need not be.
fn is_missing(from: &Loaded, import: &Import) -> bool {
    let Ordinal::Library(number) = import.ordinal else { return false };
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let dependency = index.and_then(|index| from.dependencies().get(index));
    dependency.is_some_and(|dependency| matches!(dependency.module, Module::Missing))
}

/// What the loader itself is.
fn special(name: &[u8]) -> Option<Found> {
    let at = match name {
        b"dyld_stub_binder" => lazy::entry(),
        b"__tlv_bootstrap" => lazy::thread_local_entry(),
        _ => return None,
    };
    let at = RuntimeAddress(at).0;
    Some(Found { address: at, definer: Definer::Other("the linker"), image: None, is_weak: false })
}
