//! A patch library, and the jump table that goes live with it.

use crate::codec::wire_struct;
use crate::{BuildId, ImageSource};

wire_struct! {
    /// An address as a linked file has it, in one of the modules that a session brought together.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
    pub struct ModuleAddress {
        /// 0 for the host, otherwise the number of the patch whose library it is.
        pub module: u32,
        /// The link-time address.
        pub address: u64,
    }
}

wire_struct! {
    /// Callers of `from` that ask the jump table arrive at `to`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Jump {
        /// A function's first byte: of the host, or of an earlier patch.
        pub from: ModuleAddress,
        /// Its newest body.
        pub to: ModuleAddress,
    }
}

wire_struct! {
    /// A patch as a library and a jump table. It goes live as a whole or not at all.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct LibraryPatch {
        /// The patch's number, from 1; never used twice in a session.
        pub number: u32,
        /// The patch that the process must be at; 0 is the base build.
        pub predecessor: u32,
        /// The build id that the host must have.
        pub build_id: BuildId,
        /// The library.
        pub library: ImageSource,
        /// The link-time address of [`HOST_ANCHOR`](crate::HOST_ANCHOR) in the host.
        pub host_anchor: u64,
        /// The link-time address of [`PATCH_ANCHOR`](crate::PATCH_ANCHOR) in the library.
        pub library_anchor: u64,
        /// The whole table, what earlier patches redirected included: it takes the place of theirs.
        pub jumps: Vec<Jump>,
    }
}
