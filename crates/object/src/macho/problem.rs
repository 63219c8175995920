//! What is wrong with a Mach-O image.

use thiserror::Error;

/// What is wrong with a Mach-O image.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// It does not begin with a magic number of Mach-O.
    #[error("no Mach-O file: it begins with {0:02x?}")]
    BadMagic([u8; 4]),
    /// A kind of image, or a form of one of its tables, that is not read here.
    #[error("{what} {value:#x} is not supported")]
    Unsupported {
        /// What it is that is not supported.
        what: &'static str,
        /// Which one.
        value: u64,
    },
    /// A structure that the `object` crate cannot read.
    #[error("{what}: {source}")]
    Unreadable {
        /// What it was read as.
        what: &'static str,
        /// What the reader found.
        source: object::read::Error,
    },
    /// A part of the file that is not in the file.
    #[error("{what} at {offset:#x}+{size:#x} is outside the file or the segment that has it")]
    Outside {
        /// Which part.
        what: &'static str,
        /// Where it would be.
        offset: u64,
        /// Its size.
        size: u64,
    },
    /// A segment that cannot be as it says.
    #[error("segment {index}: {what}")]
    BadSegment {
        /// Its number among the segments.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no segment with the Mach header in it.
    #[error("no segment has the Mach header")]
    NoHeaderSegment,
    /// More of something than there can be.
    #[error("more {what} than the file has room for")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
    /// A table that ends in the middle of something.
    #[error("{table} ends early, at {at:#x}")]
    EndsEarly {
        /// Which table.
        table: &'static str,
        /// Where in it.
        at: usize,
    },
    /// A part of a table that makes no sense.
    #[error("{table} at {at:#x}: {what}")]
    BadTable {
        /// Which table.
        table: &'static str,
        /// Where in it.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A place to be changed that is not in the bytes of a segment.
    #[error("{table} at {at:#x}: its place, {offset:#x} of segment {segment}, is not in the file")]
    PlaceOutside {
        /// Which table names it.
        table: &'static str,
        /// Where in the table.
        at: usize,
        /// The segment's number.
        segment: usize,
        /// Bytes from the segment's start.
        offset: u64,
    },
    /// An ordinal of a library that the image does not name.
    #[error("library ordinal {ordinal}, but there are {libraries} libraries")]
    BadOrdinal {
        /// The ordinal.
        ordinal: i64,
        /// How many libraries there are.
        libraries: usize,
    },
}

impl Problem {
    pub(crate) fn unreadable(what: &'static str) -> impl Fn(object::read::Error) -> Self {
        move |source| Self::Unreadable { what, source }
    }
}
