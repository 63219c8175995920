//! One library that was loaded here: what does not change about it from then on.

use crate::memory::Mapped;
use crate::module::Definitions;
use crate::namespace::NamespaceId;
use crate::tls;
use bytes::Bytes;
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::loadable::header::Header;
use livepatch_object::loadable::program::{ProgramHeader, ProgramHeaders};
use livepatch_object::loadable::symbol::Symbol;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A library among all that were ever loaded in this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LibraryId(u64);

impl LibraryId {
    /// One that nobody has yet.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its number, which no other library ever has.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LibraryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which bytes a library was loaded from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) offset: u64,
}

/// A library in memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: LibraryId,
    /// Path, with `!/` and the entry's name if it is in an archive.
    pub(crate) path: String,
    pub(crate) soname: Option<String>,
    pub(crate) identity: Identity,
    pub(crate) namespace: NamespaceId,
    pub(crate) header: Header,
    pub(crate) headers: ProgramHeaders,
    pub(crate) definitions: Definitions,
    pub(crate) mapped: Mapped,
    /// All of its file, if a debugger is to be told of it.
    pub(crate) file: Option<Bytes>,
    pub(crate) tls: Option<tls::Module>,
    /// Whether any of its code may have run.
    pub(crate) started: AtomicBool,
}

impl Loaded {
    /// The symbol that an address is in: the one that begins last before it, of those that can be found.
    pub(crate) fn symbol_at(&self, address: RuntimeAddress) -> Option<(String, RuntimeAddress)> {
        let link = self.definitions.slide.link(address)?;
        let tables = &self.definitions.tables;
        let holds = |symbol: &Symbol| {
            let into = link.checked_since(symbol.value);
            symbol.is_defined()
                && !symbol.is_thread_local()
                && symbol.value.0 != 0
                && into.is_some_and(|into| into == 0 || into < symbol.size)
        };
        let all = (1..tables.symbol_count()).filter_map(|index| tables.symbols.get(index));
        let best = all.filter(holds).max_by_key(|symbol| symbol.value)?;
        let name = tables.symbols.name(&best)?;
        Some((String::from_utf8_lossy(name).into_owned(), self.definitions.address(&best)))
    }

    /// A run-time address that is executable code of this library.
    pub(crate) fn is_code(&self, address: RuntimeAddress) -> bool {
        self.definitions.slide.link(address).is_some_and(|link| self.headers.is_code(link))
    }

    /// The run-time addresses of all its executable code.
    pub(crate) fn code(&self) -> impl Iterator<Item = Range<u64>> {
        let slide = self.definitions.slide.bits();
        let spans = self.headers.loads().filter(|segment| segment.executable()).map(ProgramHeader::span);
        spans.map(move |span| span.start.wrapping_add(slide)..span.end.wrapping_add(slide))
    }

    /// Where a link-time address is.
    pub(crate) fn runtime(&self, address: LinkAddress) -> Option<RuntimeAddress> {
        self.mapped.runtime(address)
    }
}
