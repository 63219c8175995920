//! Asking a process, and why a patch cannot be resolved.

use crate::library::LoadedLibrary;
use crate::objects::LoadError;
use livepatch_object::address::RuntimeAddress;
use std::path::Path;
use thiserror::Error;

/// Asks a process where it has dynamic symbols.
pub trait Lookup {
    /// The address of each name; none where the process does not have it.
    fn addresses(&mut self, names: &[String]) -> Result<Vec<Option<RuntimeAddress>>, LookupError>;

    /// Where a thread-local is that another host has; none where no other has it.
    fn thread_local(&mut self, name: &str) -> Option<ThreadLocalPlace> {
        let _ = name;
        None
    }

    /// Has it load a patch library of `length` bytes, wherever its dynamic linker puts it; or why it does not.
    fn load(&mut self, library: &Path, length: u64) -> Result<LoadedLibrary, String> {
        Err(format!("{} of {length} bytes is not loaded here", library.display()))
    }
}

/// Where a thread-local of another host is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ThreadLocalPlace {
    /// So many bytes from the thread pointer, in every thread.
    At(i64),
    /// In the block that `__tls_get_addr` knows by a number, so many bytes from its start.
    In {
        /// The number.
        module: u64,
        /// The offset.
        offset: u64,
    },
}

/// The process could not be asked.
#[derive(Debug, Error)]
#[error("the process could not be asked for its symbols: {0}")]
pub struct LookupError(pub String);

/// A patch cannot be resolved.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// Names that exist nowhere.
    #[error("{}", unresolved_text(.0))]
    Unresolved(Vec<Unresolved>),
    /// A name has several definitions, and none of them is meant more than another.
    #[error("`{name}`, needed by `{needed_by}`, has several definitions in the program")]
    Ambiguous {
        /// The name, demangled.
        name: String,
        /// Who needs it, demangled.
        needed_by: String,
    },
    /// A new thread-local cannot be had while threads run.
    #[error("the new thread-local `{name}` {why}")]
    ThreadLocal {
        /// Its name, demangled.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A thread-local of a library that is no host.
    #[error("the thread-local `{name}`, needed by `{needed_by}`, is of a library that is not patched")]
    OtherThreadLocal {
        /// The name, demangled.
        name: String,
        /// Who needs it, demangled.
        needed_by: String,
    },
    /// A function whose old callers hold futures that were moved, by a patch that was taken back.
    #[error("old code holds futures of `{name}` that were begun in a patch which was taken back")]
    Delegated {
        /// Its name, demangled.
        name: String,
    },
    /// An input could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The process could not be asked.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// A name that exists nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The name, demangled.
    pub name: String,
    /// Who needs it, demangled.
    pub needed_by: String,
}

fn unresolved_text(all: &[Unresolved]) -> String {
    let lines = all.iter().map(|one| format!("`{}` (needed by `{}`)", one.name, one.needed_by));
    format!(
        "not found in the program, its libraries or its archives: {}",
        lines.collect::<Vec<_>>().join(", ")
    )
}
