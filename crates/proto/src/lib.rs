//! What a livepatch dev server and a live process say to each other.
//!
//! The process dials the server and sends [`Hello`]; the server answers [`ToProcess::Welcome`] or
//! [`ToProcess::Refused`]. From then on the server asks and the process answers, one answer per
//! question, in order; only [`FromProcess::Log`] and [`FromProcess::Loaded`] come unasked, and
//! [`ToProcess::Watch`] and [`ToProcess::Proceed`] are not answered. A process that crashes dials once
//! more, and says [`FromProcess::Crashed`] in place of the hello.
//!
//! * One frame is a little-endian `u32` payload length and the payload, whose first byte says the kind
//!   of message ([`frame`]).
//! * Every integer is little-endian; lists and strings carry a `u32` count ([`codec`]). Every count
//!   is checked against the bytes that are left before anything is allocated.
//! * Equal [`PROTOCOL`] numbers mean equal layouts. The start of a hello (magic, number, token) never
//!   changes, so that two that do not match can say so to each other.
//!
//! Whoever can speak this protocol runs code in the process: servers listen on a local socket that
//! only its owner can open, and the process proves with a per-session [`Token`] that it was invited.

pub mod attach;
pub mod codec;
mod crash;
pub mod frame;
mod hello;
mod library;
mod message;
mod module;
mod patch;

pub use codec::{DecodeError, Wire};
pub use crash::Crash;
pub use hello::{Arch, BuildId, Hello, MAGIC, Origin, Os, Redirection, TlsReserve, Token};
pub use library::{Jump, LibraryPatch, ModuleAddress};
pub use message::{ApplyError, FromProcess, LogLevel, ToProcess};
pub use module::{Generation, LoadedModule, ModuleKey, ModuleList, ModuleTls};
pub use patch::{
    ByteWrite, ExpectedBytes, Image, ImageSource, IslandPage, JumpSet, MemoryWrite, Patch, Redirect,
    Redirected, Shim, SlotSet, Stage, Times, TlsInit, Trap, TrapTarget, WordStore,
};

/// The protocol this crate speaks. Raised whenever the layout of any message changes.
pub const PROTOCOL: u32 = 1;

/// The symbol whose address in the file and in the process tell how far apart the two are, in programs
/// that speak for themselves (the crate `livepatch`). Not exported: every module that contains the crate has
/// its own.
pub const HOST_ANCHOR: &str = "__livepatch_aslr_anchor";
/// The same of a patch library, which exports it.
pub const PATCH_ANCHOR: &str = "__livepatch_patch_anchor";

/// A run-time address as it stands in a message: not yet checked against anything.
///
/// The receiver turns it into an address it may use with a check of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireAddress(pub u64);

impl std::fmt::Debug for WireAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl std::fmt::Display for WireAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

codec::wire_struct! {
    /// A half-open range of run-time addresses, `start..end`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct WireRange {
        /// First address of the range.
        pub start: WireAddress,
        /// First address after the range.
        pub end: WireAddress,
    }
}
