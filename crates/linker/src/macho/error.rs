//! Why an image was not loaded, in dyld's words where it has some.

use livepatch_object::address::RuntimeAddress;
use livepatch_object::macho::Problem;
use std::io;
use std::path::PathBuf;

/// Why an image was not loaded, or a symbol not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No image of that name, wherever it was looked for.
    #[error("Library not loaded: {name}{}\n  Reason: tried: {}", referenced(.by.as_deref()), tried.join(", "))]
    NotFound {
        /// As it was asked for.
        name: String,
        /// The image that needs it.
        by: Option<String>,
        /// Where it was looked for.
        tried: Vec<String>,
    },
    /// The file cannot be read.
    #[error("cannot read \"{}\": {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no image that can be loaded.
    #[error("\"{path}\": {source}")]
    Image {
        /// Which one.
        path: String,
        /// What is wrong with it.
        source: Problem,
    },
    /// It is for other machines.
    #[error("\"{path}\" is for {}, this process is {wanted}", has.join(", "))]
    WrongArchitecture {
        /// Which one.
        path: String,
        /// Whose slices it has.
        has: Vec<String>,
        /// This process's.
        wanted: &'static str,
    },
    /// It asks for something that this loader does not do.
    #[error("\"{path}\": {what}")]
    Unsupported {
        /// Which one.
        path: String,
        /// What it asks for.
        what: String,
    },
    /// Address space could not be reserved, mapped or protected.
    #[error("cannot {action} memory for \"{path}\": {source}")]
    Memory {
        /// `reserve`, `map` or `protect`.
        action: &'static str,
        /// Which image.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A pointer that is to be changed is where nothing may be written.
    #[error("\"{path}\": the pointer at {address:#x} is not in writable memory")]
    NotWritable {
        /// Which image.
        path: String,
        /// Its link-time address.
        address: u64,
    },
    /// A reference that nothing defines.
    #[error("Symbol not found: {symbol}\n  Referenced from: {by}\n  Expected in: {expected}")]
    SymbolNotFound {
        /// Its name, with the underscore.
        symbol: String,
        /// Who refers to it.
        by: String,
        /// Where it was looked for.
        expected: String,
    },
    /// A function that the loader would call is not code.
    #[error("\"{path}\": the {kind} at {address} is not code")]
    NotCode {
        /// Which image.
        path: String,
        /// `initializer` or `terminator`.
        kind: &'static str,
        /// Where it would be.
        address: RuntimeAddress,
    },
    /// `dlsym` finds nothing.
    #[error("dlsym({path}, {symbol}): symbol not found")]
    UndefinedSymbol {
        /// Which image was asked.
        path: String,
        /// Its name.
        symbol: String,
    },
    /// The image was unloaded already.
    #[error("the image was unloaded already")]
    InvalidHandle,
    /// It is no executable that begins with `main`.
    #[error("\"{0}\" has no main function (LC_MAIN)")]
    NoMain(String),
}

fn referenced(by: Option<&str>) -> String {
    by.map(|by| format!("\n  Referenced from: {by}")).unwrap_or_default()
}
