//! Why bytes are not the object they claim to be.

use thiserror::Error;

/// Why bytes are not the object they claim to be.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// The container itself cannot be read.
    #[error("not a readable {what}: {source}")]
    Container {
        /// What it was read as.
        what: &'static str,
        /// What the reader found.
        source: object::read::Error,
    },
    /// Readable, but of another kind than needed here.
    #[error("not {needed}: {found}")]
    WrongKind {
        /// What was needed.
        needed: &'static str,
        /// What it is.
        found: String,
    },
    /// Two parts of the file contradict each other.
    #[error("{what} is out of bounds or contradicts the rest of the file")]
    Inconsistent {
        /// Which part.
        what: &'static str,
    },
    /// A name that is not UTF-8.
    #[error("the name of {what} is not UTF-8")]
    NotUtf8 {
        /// Whose name.
        what: &'static str,
    },
    /// Debug information that cannot be read.
    #[error("not readable debug information: {0}")]
    DebugInfo(#[from] gimli::Error),
    /// A relocation that is not supported, or that does not fit its field.
    #[error(transparent)]
    Relocation(#[from] crate::relocation::RelocationError),
}

impl ObjectError {
    pub(crate) fn container(what: &'static str) -> impl Fn(object::read::Error) -> Self {
        move |source| Self::Container { what, source }
    }
}
