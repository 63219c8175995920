//! Why there is no patch library.

use crate::members::MemberError;
use crate::stubs::{StubError, Unresolved};
use crate::write::WriteError;
use livepatch_object::ObjectError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A patch library cannot be made, or the process does not load it.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// The captured link does not say how.
    #[error("how the program was linked was not captured")]
    NotCaptured,
    /// Objects are written for some machines only.
    #[error("the patch's object cannot be written")]
    Object(#[from] object::write::Error),
    /// References to what is outside cannot be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// There is no stub object.
    #[error("the patch library's stub object cannot be made")]
    Stub(#[from] StubError),
    /// Something is out of reach.
    #[error("a patch library does not reach `{name}`: {why}")]
    Unreachable {
        /// What, demangled.
        name: String,
        /// Why.
        why: Unresolved,
    },
    /// An object of the edit cannot be read.
    #[error("an object of the edit cannot be read")]
    Unreadable(#[from] object::read::Error),
    /// What the program had no use for until now cannot be had.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The process does not run the program that was captured.
    #[error("it runs another build")]
    OtherBuild,
    /// A file cannot be written or read.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was to be done with it.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The linker complains.
    #[error("the linker refused the patch library: {0}")]
    Linker(String),
    /// The linker made something that cannot be read.
    #[error("the linked patch library cannot be read")]
    Damaged(#[source] ObjectError),
    /// The linker left out a part of the patch.
    #[error("the linker left out a part of the patch")]
    Lost,
    /// The process does not load it.
    #[error("the process does not load the patch library: {0}")]
    Refused(String),
}

impl LibraryError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
