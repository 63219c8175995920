//! Reading. Every offset and index is checked where it is used, and lists that are used again and again cannot
//! make more of a file than a few times its length.

mod annotations;
mod bytes;
mod class;
mod code;
mod header;
mod tables;

use super::{Dex, Text, VERSIONS};
use bytes::Input;
use tables::Tables;
use thiserror::Error;

/// Why a dex file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DexError {
    /// It does not begin as one.
    #[error("not a dex file")]
    Magic,
    /// Its version is not known.
    #[error("version {0} of the format is not one of {first} to {last}", first = VERSIONS.start(), last = VERSIONS.end())]
    Version(String),
    /// It says another length than it has.
    #[error("it says that it has {said} bytes, and has {is}")]
    Length {
        /// What it says.
        said: u32,
        /// How long it is.
        is: usize,
    },
    /// Its checksum is another one.
    #[error("its {0} is wrong: it is damaged, or was changed")]
    Checksum(&'static str),
    /// Something ends outside the file.
    #[error("{what} at {at:#x} is not within the file")]
    Outside {
        /// What.
        what: &'static str,
        /// Where it should be.
        at: usize,
    },
    /// An index leads to nothing.
    #[error("there is no {what} {index}")]
    Index {
        /// What it should lead to.
        what: &'static str,
        /// The index.
        index: u32,
    },
    /// Something has a value that it must not have.
    #[error("{what} at {at:#x} is malformed")]
    Malformed {
        /// What.
        what: &'static str,
        /// Where it is.
        at: usize,
    },
    /// The same bytes are used for too many things.
    #[error("its parts add up to more than the file can hold")]
    TooMuch,
}

/// Reads a dex file, its checksum and signature included.
pub fn read(bytes: &[u8]) -> Result<Dex, DexError> {
    let header = header::read(bytes)?;
    let input = Input::new(bytes);
    let tables = Tables::read(&input, &header)?;
    let definitions = input.table("class definition", &header.class_defs, 32)?;
    let classes = definitions.map(|at| class::read(&input, &tables, at?)).collect::<Result<_, _>>()?;
    Ok(Dex { version: header.version, classes })
}

/// An index into one of the tables.
fn pick<'a, T>(table: &'a [T], index: u32, what: &'static str) -> Result<&'a T, DexError> {
    let found = usize::try_from(index).ok().and_then(|at| table.get(at));
    found.ok_or(DexError::Index { what, index })
}

/// A type's descriptor, whose index may say that there is none.
fn optional<'a>(table: &'a [Text], index: u32, what: &'static str) -> Result<Option<&'a Text>, DexError> {
    match index {
        super::NO_INDEX => Ok(None),
        index => pick(table, index, what).map(Some),
    }
}
