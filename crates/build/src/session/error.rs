//! Why a session or a patch cannot be.

use crate::islands::PlanError;
use crate::library::LibraryError;
use crate::objects::LoadError;
use crate::process::ProcessError;
use crate::resolve::{LookupError, ResolveError};
use crate::write::WriteError;
use livepatch_object::relocation::RelocationError;
use std::path::PathBuf;
use thiserror::Error;

/// A session cannot begin.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file of the base build cannot be read.
    #[error("the captured build cannot be read")]
    Load(#[from] LoadError),
    /// The program has no symbol table.
    #[error("{} has no symbol table (.symtab)", .0.display())]
    Stripped(PathBuf),
    /// The program has no build id.
    #[error("{} has no build id", .0.display())]
    NoBuildId(PathBuf),
    /// Patch images cannot be put anywhere.
    #[error("cannot create {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A patch cannot be made.
#[derive(Debug, Error)]
pub enum PatchError {
    /// A rebuilt object cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Something is not found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The image cannot be laid out.
    #[error("the patch cannot be laid out")]
    Layout(#[from] RelocationError),
    /// The image cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The process cannot take it.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The process could not be asked.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A function's entry cannot be redirected.
    #[error("`{name}` cannot be redirected")]
    Redirect {
        /// The function, demangled.
        name: String,
        /// Why.
        source: PlanError,
    },
    /// Threads would go on trapping where the function begins, and nothing keeps the program from blocking
    /// traps.
    #[error(
        "`{0}` would trap for as long as it runs, which only a program that livepatch started is prepared for"
    )]
    LastingTraps(String),
    /// A jump table of a function leads to its first byte, where its new body is to begin.
    #[error("`{0}` loops to its first instruction through a jump table")]
    LoopsByTable(String),
    /// A function's live code cannot be found.
    #[error("the live code of `{0}` cannot be found")]
    NoCode(String),
    /// The patch library cannot be had.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The image's file cannot be written.
    #[error("cannot write {}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
