//! One image that was loaded: what does not change about it from then on, and its counters.

use super::error::Error;
use super::linker::Shared;
use super::unwind::Registered;
use crate::loaded::{Identity, LibraryId};
use crate::memory::Mapped;
use crate::provider::{Provider, SymbolProvider};
use crate::tls;
use crate::trace::Trace;
use bytes::Bytes;
use livepatch_object::address::{LinkAddress, RuntimeAddress, Slide};
use livepatch_object::macho::commands::LibraryKind;
use livepatch_object::macho::{Export, ExportTarget, Exports, Image, Problem};
use rustc_hash::FxHashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// An image in memory.
pub(crate) struct Loaded {
    pub(crate) id: LibraryId,
    pub(super) path: Arc<str>,
    pub(super) identity: Identity,
    pub(super) image: Image,
    pub(super) exports: Exports,
    pub(super) mapped: Mapped,
    pub(super) tls: Option<tls::Module>,
    pub(super) linker: Weak<Shared>,
    /// Those of its linker: the binder asks them without waiting for anybody.
    pub(super) providers: Arc<[Provider]>,
    pub(super) trace: Option<Trace>,
    /// By ordinal less 1.
    pub(super) dependencies: OnceLock<Vec<Dependency>>,
    /// What each lazy slot holds until it is bound, by the entry that its helper pushes.
    pub(super) lazy: OnceLock<FxHashMap<u32, LazySlot>>,
    /// What an unwinder knows of it, until it is unloaded.
    pub(super) unwinding: Mutex<Option<Registered>>,
    /// How often the binder was called for it.
    pub(super) binder_calls: AtomicU64,
    /// Whether it stays loaded whatever happens.
    pub(super) is_kept: AtomicBool,
}

/// A slot that is bound at the first call.
#[derive(Clone, Copy, Debug)]
pub(super) struct LazySlot {
    pub(super) place: LinkAddress,
    /// What it holds before: its stub helper.
    pub(super) unbound: u64,
    /// What it has to be bound to, if that was looked up before.
    pub(super) expected: Option<u64>,
}

/// What an image names as a library.
#[derive(Clone)]
pub(super) struct Dependency {
    pub(super) kind: LibraryKind,
    pub(super) module: Module,
}

/// What that is here.
#[derive(Clone)]
pub(super) enum Module {
    /// An image, which stays loaded as long as those that need it.
    Image(LibraryId, Weak<Loaded>),
    Provider(Arc<dyn SymbolProvider>),
    /// Nothing, which is no error for a library that is needed weakly.
    Missing,
}

/// Where a name was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) address: u64,
    pub(super) definer: Definer,
    /// The image, if it is one.
    pub(super) image: Option<LibraryId>,
    pub(super) is_weak: bool,
}

/// Who defines something.
#[derive(Clone, Debug)]
pub(super) enum Definer {
    /// The image of this path.
    Image(Arc<str>),
    /// A provider of this name.
    Provider(String),
    /// Something else.
    Other(&'static str),
}

impl fmt::Display for Definer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image(path) => path,
            Self::Provider(name) => name,
            Self::Other(what) => what,
        })
    }
}

/// Re-exports go from library to library: no longer way is followed.
const DEEPEST: usize = 16;

impl Loaded {
    /// Where a link-time address is.
    pub(super) fn runtime(&self, address: LinkAddress) -> Option<RuntimeAddress> {
        self.mapped.runtime(address)
    }

    pub(super) fn wrong(&self, source: Problem) -> Error {
        Error::Image { path: self.path.to_string(), source }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Its first byte.
    pub(crate) fn start(&self) -> RuntimeAddress {
        self.mapped.reservation().start()
    }

    /// Its Mach header.
    pub(crate) fn header(&self) -> RuntimeAddress {
        self.runtime(self.image.base()).unwrap_or(self.start())
    }

    pub(crate) fn slide(&self) -> Slide {
        self.mapped.slide()
    }

    /// The name by which others name it.
    pub(super) fn install_name(&self) -> Option<&str> {
        self.image.id.as_ref().map(|id| id.name.as_str())
    }

    pub(crate) fn keep_for_good(&self) {
        self.is_kept.store(true, Ordering::Release);
    }

    pub(super) fn dependencies(&self) -> &[Dependency] {
        self.dependencies.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether an address is executable code of this image.
    pub(super) fn is_code(&self, address: RuntimeAddress) -> bool {
        self.mapped.slide().link(address).is_some_and(|link| self.image.is_code(link))
    }

    /// The symbol that an address is in or behind, of its symbol table.
    pub(crate) fn symbol_at(&self, address: RuntimeAddress) -> Option<(String, RuntimeAddress)> {
        let symbol = self.image.symbols.before(self.mapped.slide().link(address)?)?;
        let name = self.image.symbols.name(&symbol)?;
        let at = self.runtime(LinkAddress(symbol.value))?;
        Some((String::from_utf8_lossy(&name).into_owned(), at))
    }

    /// Its definition of a name, or that of a library that it re-exports.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Found>, Problem> {
        self.find_within(name, DEEPEST)
    }

    fn find_within(&self, name: &[u8], depth: usize) -> Result<Option<Found>, Problem> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
        if let Some(export) = self.exports.find(name)? {
            return self.exported(&export, depth);
        }
        for dependency in self.dependencies().iter().filter(|other| other.kind == LibraryKind::Reexport) {
            if let Some(found) = dependency.find_within(name, depth)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn exported(&self, export: &Export, depth: usize) -> Result<Option<Found>, Problem> {
        let address = match &export.target {
            // What jumps through a pointer that the resolver fills in is as good as the function.
            ExportTarget::Regular(at)
            | ExportTarget::ThreadLocal(at)
            | ExportTarget::StubAndResolver { stub: at, .. } => self.runtime(*at).map(|at| at.0),
            ExportTarget::Absolute(number) => Some(*number),
            ExportTarget::Reexport { ordinal, name } => {
                let index = usize::try_from(*ordinal).ok().and_then(|ordinal| ordinal.checked_sub(1));
                return match index.and_then(|index| self.dependencies().get(index)) {
                    Some(dependency) => dependency.find_within(name, depth),
                    None => Ok(None),
                };
            }
        };
        Ok(address.map(|address| Found {
            address,
            definer: Definer::Image(Arc::clone(&self.path)),
            image: Some(self.id),
            is_weak: export.weak,
        }))
    }
}

impl Dependency {
    /// Its definition of a name.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Found>, Problem> {
        self.find_within(name, DEEPEST)
    }

    fn find_within(&self, name: &[u8], depth: usize) -> Result<Option<Found>, Problem> {
        match &self.module {
            Module::Image(_, image) => match image.upgrade() {
                Some(image) => image.find_within(name, depth),
                None => Ok(None),
            },
            Module::Provider(provider) => Ok(provided(&**provider, name)),
            Module::Missing => Ok(None),
        }
    }
}

/// A provider's definition of a name.
pub(super) fn provided(provider: &dyn SymbolProvider, name: &[u8]) -> Option<Found> {
    let address = provider.find(std::str::from_utf8(name).ok()?, None)?;
    let definer = Definer::Provider(provider.name().to_owned());
    Some(Found { address: address.0, definer, image: None, is_weak: false })
}

/// A name for people.
pub(super) fn text(name: &Bytes) -> String {
    String::from_utf8_lossy(name).into_owned()
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("id", &self.id).field("path", &self.path).finish_non_exhaustive()
    }
}
