//! Why there is no stub object.

use livepatch_object::address::{LinkAddress, RuntimeAddress};
use thiserror::Error;

/// Why there is no stub object. What one symbol lacks is no error but in the [`super::StubReport`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StubError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes are not the object or image they claim to be.
    #[error("not a readable {what}: {source}")]
    Unreadable {
        /// What they were read as.
        what: &'static str,
        /// What the reader found.
        source: object::read::Error,
    },
    /// An object that was to be linked is something else.
    #[error("not a relocatable object: {found}")]
    NotRelocatable {
        /// What it is.
        found: String,
    },
    /// A host that is not linked.
    #[error("not a linked image: {found}")]
    NotLinked {
        /// What it is.
        found: String,
    },
    /// No stubs are made for this container and instruction set.
    #[error("stub objects are not made for {found}")]
    UnsupportedTarget {
        /// Which.
        found: String,
    },
    /// Neither of a host's symbol tables is there.
    #[error("the host has no symbols: looked for {looked_for}")]
    NoSymbols {
        /// The tables that were looked for.
        looked_for: &'static str,
    },
    /// Host and target are for different machines.
    #[error("the host is {host}, stubs were asked for {target}")]
    TargetMismatch {
        /// What the host is.
        host: super::StubTarget,
        /// What was asked for.
        target: super::StubTarget,
    },
    /// An object and the target are for different machines.
    #[error("an object is {object}, stubs were asked for {target}")]
    ObjectMismatch {
        /// What the object is.
        object: super::StubTarget,
        /// What was asked for.
        target: super::StubTarget,
    },
    /// The anchor is not defined by the host, so that nothing says where the process has it.
    #[error("the host does not define the anchor {name}")]
    NoAnchor {
        /// Its name.
        name: String,
    },
    /// The anchor is defined more than once.
    #[error("the host defines the anchor {name} more than once")]
    AmbiguousAnchor {
        /// Its name.
        name: String,
    },
    /// The process says that the anchor is below where the file has it.
    #[error(
        "the anchor is at {reference} in the process, below its link-time address {anchor}: another build?"
    )]
    ReferenceBelowAnchor {
        /// What the process said.
        reference: RuntimeAddress,
        /// What the file says.
        anchor: LinkAddress,
    },
    /// Images move by whole pages.
    #[error(
        "the anchor is at {reference} in the process and at {anchor} in the file, which is not a whole number of pages apart: another build?"
    )]
    SlideNotAligned {
        /// What the process said.
        reference: RuntimeAddress,
        /// What the file says.
        anchor: LinkAddress,
    },
    /// No image is moved by half of the address space.
    #[error("the anchor is at {reference} in the process, too far from its link-time address {anchor}")]
    SlideOverflow {
        /// What the process said.
        reference: RuntimeAddress,
        /// What the file says.
        anchor: LinkAddress,
    },
    /// An address is outside the address space of the target.
    #[error("the run-time address of {name}, at {address} in the file, is outside the address space")]
    AddressOverflow {
        /// Which symbol.
        name: String,
        /// Its link-time address.
        address: LinkAddress,
    },
    /// A name is not text.
    #[error("the name of an undefined symbol is not UTF-8")]
    NameNotUtf8,
    /// More than the container's fields can count.
    #[error("{what} are too many for the object's fields")]
    TooLarge {
        /// What.
        what: &'static str,
    },
    /// Parts of an object contradict each other.
    #[error("{what} is out of bounds or contradicts the rest of the object")]
    Inconsistent {
        /// Which part.
        what: &'static str,
    },
}

impl StubError {
    pub(super) fn unreadable(what: &'static str) -> impl Fn(object::read::Error) -> Self {
        move |source| Self::Unreadable { what, source }
    }
}
