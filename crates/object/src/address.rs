//! Addresses that cannot be mistaken for one another.
//!
//! A link-time address says where a file wants a byte, a run-time address where a process has it; a
//! file offset and a section offset count bytes in a file and in a section. Going from one to the
//! other takes a value that says how ([`Slide`]), and every sum is checked.

use std::fmt;

macro_rules! address {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// `self + bytes`, unless that is past the end of the address space.
            pub fn checked_add(self, bytes: u64) -> Option<Self> {
                self.0.checked_add(bytes).map(Self)
            }

            /// `self + bytes`, unless that is outside the address space.
            pub fn checked_add_signed(self, bytes: i64) -> Option<Self> {
                self.0.checked_add_signed(bytes).map(Self)
            }

            /// How far `self` is past `earlier`; none if it is before it.
            pub fn checked_since(self, earlier: Self) -> Option<u64> {
                self.0.checked_sub(earlier.0)
            }

            /// `self - origin` as a signed distance; exact whenever the two are within 2^63.
            pub fn distance_from(self, origin: Self) -> i64 {
                self.0.wrapping_sub(origin.0).cast_signed()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// Where a linked image's own headers and symbols say that a byte is.
    LinkAddress
}
address! {
    /// Where a process has a byte.
    RuntimeAddress
}
address! {
    /// Bytes from the start of a file.
    FileOffset
}
address! {
    /// Bytes from the start of a section of a relocatable object.
    SectionOffset
}

/// Run-time address minus link-time address of everything in one image (ASLR offset, load bias).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slide(i64);

impl Slide {
    /// The slide at which `link` is found at `runtime`.
    pub fn between(link: LinkAddress, runtime: RuntimeAddress) -> Self {
        Self(runtime.0.wrapping_sub(link.0).cast_signed())
    }

    /// What is added to a link-time address, modulo 2^64, as relocations do it.
    pub fn bits(self) -> u64 {
        self.0.cast_unsigned()
    }

    /// Where the process has what the file has at `address`.
    pub fn runtime(self, address: LinkAddress) -> Option<RuntimeAddress> {
        address.0.checked_add_signed(self.0).map(RuntimeAddress)
    }

    /// Where the file has what the process has at `address`.
    pub fn link(self, address: RuntimeAddress) -> Option<LinkAddress> {
        address.0.checked_add_signed(self.0.checked_neg()?).map(LinkAddress)
    }
}
