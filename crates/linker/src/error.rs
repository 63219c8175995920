//! Why a library was not loaded, in the wording of Android's linker.

use livepatch_object::address::RuntimeAddress;
use livepatch_object::loadable::LoadError;
use livepatch_object::loadable::archive_entry::ArchiveError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a library was not loaded, a symbol not found, or a handle not closed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkerError {
    /// Flags of no meaning, or that contradict each other.
    #[error("invalid flags to dlopen: {0:x}")]
    InvalidFlags(i32),
    /// An offset into a library's file, and no file.
    #[error(
        "invalid extended flag combination (ANDROID_DLEXT_USE_LIBRARY_FD_OFFSET without \
         ANDROID_DLEXT_USE_LIBRARY_FD)"
    )]
    OffsetWithoutFile,
    /// Extended flags that are not known.
    #[error("invalid extended flags to android_dlopen_ext: {0:#x}")]
    InvalidExtendedFlags(u64),
    /// No library of that name, wherever it was looked for.
    #[error("library \"{name}\" not found{}", needed(.by.as_deref(), .namespace))]
    NotFound {
        /// As it was asked for.
        name: String,
        /// The library that needs it.
        by: Option<String>,
        /// Where it was looked for.
        namespace: String,
    },
    /// It is not loaded, and `RTLD_NOLOAD` says not to.
    #[error("library \"{0}\" wasn't loaded and RTLD_NOLOAD prevented it")]
    NotLoaded(String),
    /// It is outside the folders that its namespace may load from.
    #[error(
        "library \"{name}\" needed or dlopened by \"{by}\" is not accessible for the namespace \"{namespace}\""
    )]
    Inaccessible {
        /// Its path.
        name: String,
        /// The library that needs it, or the program.
        by: String,
        /// Whose folders.
        namespace: String,
    },
    /// The file cannot be read.
    #[error("can't read file \"{path}\": {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The entry of an archive cannot be loaded.
    #[error("couldn't load \"{path}\": {source}")]
    Archive {
        /// Archive and entry.
        path: String,
        /// Why.
        source: ArchiveError,
    },
    /// The library's bytes do not begin at a page of its file.
    #[error("file offset for the library \"{name}\" is not page-aligned: {offset}")]
    OffsetNotAligned {
        /// Which library.
        name: String,
        /// Where it would begin.
        offset: u64,
    },
    /// The library's bytes begin behind the end of its file.
    #[error("file offset for the library \"{name}\" >= file size: {offset} >= {size}")]
    OffsetPastEnd {
        /// Which library.
        name: String,
        /// Where it would begin.
        offset: u64,
        /// The file's size.
        size: u64,
    },
    /// The file is no library that can be loaded here.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The range that the caller reserved is too small.
    #[error("reserved address space {reserved} smaller than {needed} bytes needed for \"{name}\"")]
    ReservedTooSmall {
        /// Which library.
        name: String,
        /// Bytes that are reserved.
        reserved: u64,
        /// Bytes that it takes.
        needed: u64,
    },
    /// There is no room in the address space.
    #[error("couldn't reserve {size} bytes of address space for \"{name}\": {source}")]
    Reserve {
        /// Which library.
        name: String,
        /// How much it takes.
        size: u64,
        /// What the system says.
        source: io::Error,
    },
    /// A segment could not be mapped.
    #[error("couldn't map \"{name}\" segment {index}: {source}")]
    Map {
        /// Which library.
        name: String,
        /// Which segment.
        index: usize,
        /// What the system says.
        source: io::Error,
    },
    /// What pages allow could not be changed.
    #[error("can't protect segments for \"{name}\": {source}")]
    Protect {
        /// Which library.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Shared RELRO could not be written or used.
    #[error("failed to {action} the GNU RELRO section for \"{name}\": {source}")]
    Relro {
        /// `serialize` or `map`.
        action: &'static str,
        /// Which library.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// A reference that nothing defines.
    #[error("cannot locate symbol \"{symbol}\" referenced by \"{library}\"...")]
    Unresolved {
        /// Its name.
        symbol: String,
        /// Its version, if one is asked for.
        version: Option<String>,
        /// Who refers to it.
        library: String,
    },
    /// A thread-local that has to be at a constant offset and cannot be.
    #[error(
        "TLS symbol \"{symbol}\" in dlopened \"{definer}\" referenced from \"{library}\" using IE access model: {why}"
    )]
    StaticTls {
        /// Its name.
        symbol: String,
        /// Who defines it.
        definer: String,
        /// Who refers to it.
        library: String,
        /// Why it cannot be.
        why: &'static str,
    },
    /// `dlsym` finds nothing.
    #[error("undefined symbol: {symbol}")]
    UndefinedSymbol {
        /// Name, and the version that was asked for.
        symbol: String,
    },
    /// The library was unloaded already.
    #[error("invalid handle: {0:#x}")]
    InvalidHandle(u64),
    /// No such namespace, or one of that name already.
    #[error("{what} namespace \"{name}\"")]
    Namespace {
        /// `no` or `there is already a`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The running code is of no machine that libraries can be loaded for.
    #[error("libraries cannot be loaded into programs of this machine")]
    UnknownMachine,
    /// Memory at this address belongs to no library.
    #[error("no library is loaded at {0}")]
    NoLibraryAt(RuntimeAddress),
}

fn needed(by: Option<&str>, namespace: &str) -> String {
    match by {
        Some(by) => format!(": needed by {by} in namespace {namespace}"),
        None => String::new(),
    }
}
