//! An assembler for the language in which classes of dex files are written down, as far as it is needed here:
//! classes, members, bodies with labels, tables and handlers, annotations with simple values. No method handles,
//! no lines and variables.

mod body;
mod class;
mod line;

pub(crate) use class::access_flag;
pub use class::{assemble, body};

use thiserror::Error;

/// What is wrong with a text, and where.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("line {line}: {what}")]
pub struct SmaliError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// An error without a line yet.
type Said<T> = Result<T, String>;
