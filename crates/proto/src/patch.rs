//! A patch as it is applied: what to map, what to write, where, in which order.
//!
//! Every decision was made by the server, over bytes; the process checks and carries out.

use crate::codec::{wire_enum, wire_struct};
use crate::{BuildId, ModuleKey, WireAddress};

wire_struct! {
    /// One transaction: it goes live as a whole or not at all.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Patch {
        /// The patch's number, from 1; never used twice in a session.
        pub number: u32,
        /// The patch the process must be at; 0 is the base build.
        pub predecessor: u32,
        /// The build id that the host must have.
        pub build_id: BuildId,
        /// Libraries that the patch changes or refers to. From now on they stay loaded, whatever the
        /// program does.
        pub holds: Vec<ModuleKey>,
        /// The patch images, in the order in which they are loaded. None when only slots and memory change.
        pub images: Vec<Image>,
        /// Pages to map for islands, before anything is written.
        pub island_pages: Vec<IslandPage>,
        /// Code and data of islands: bytes for island pages, written before anything points to them.
        pub island_writes: Vec<MemoryWrite>,
        /// Entries for the trap table, published before any code is changed. They stay for ever.
        pub traps: Vec<Trap>,
        /// Initial values for new thread-locals, which live in the agent's reserve. Unless all are zeros,
        /// the patch is [invalid](crate::ApplyError::Invalid) while a thread runs that the agent does not
        /// know: one that was not made by `pthread_create` or `thrd_create`, or before the agent was there.
        pub tls: Vec<TlsInit>,
        /// Where slots point while code is changed, when a function among the redirected ones loops to
        /// its first instruction: to the originals. A thread that stands there by such a loop goes on in
        /// the old body; once every thread has run on, `slots` are set. Empty otherwise.
        pub settle: Vec<SlotSet>,
        /// Where slots point from now on. Set before code is changed, or after `settle`.
        pub slots: Vec<SlotSet>,
        /// Functions whose entries are changed, each for the first time.
        pub redirects: Vec<Redirect>,
        /// What stays at entries when the patch is taken back. Nothing is done about it, but that later
        /// servers are told.
        pub shims: Vec<Shim>,
    }
}

impl Patch {
    /// A patch that changes nothing yet.
    pub fn new(number: u32, predecessor: u32, build_id: BuildId) -> Self {
        Self {
            number,
            predecessor,
            build_id,
            holds: Vec::new(),
            images: Vec::new(),
            island_pages: Vec::new(),
            island_writes: Vec::new(),
            traps: Vec::new(),
            tls: Vec::new(),
            settle: Vec::new(),
            slots: Vec::new(),
            redirects: Vec::new(),
            shims: Vec::new(),
        }
    }
}

wire_struct! {
    /// An ELF shared object that is pre-linked for one address.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Image {
        /// Where its bytes are.
        pub source: ImageSource,
        /// The load bias it was pre-linked for: run-time address minus link-time address.
        pub bias: u64,
        /// The run-time address of its first mapped byte.
        pub start: WireAddress,
        /// How long it is in memory, in bytes.
        pub length: u64,
    }
}

wire_enum! {
    /// Where the bytes of an image are.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum ImageSource {
        /// In a file on the process's own machine.
        1 => Path {
            /// Absolute path.
            path: String,
            /// The file's length, in bytes.
            length: u64,
        },
        /// In the message.
        2 => Bytes {
            /// The whole file.
            bytes: Vec<u8>,
            /// FNV-1a (64 bits) of the bytes, against damage on the way.
            hash: u64,
        },
    }
}

impl ImageSource {
    /// Sends the bytes themselves.
    pub fn in_message(bytes: Vec<u8>) -> Self {
        let hash = fnv1a(&bytes);
        Self::Bytes { bytes, hash }
    }

    /// Whether bytes arrived as they were sent.
    pub fn is_intact(&self) -> bool {
        match self {
            Self::Path { .. } => true,
            Self::Bytes { bytes, hash } => fnv1a(bytes) == *hash,
        }
    }
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

wire_struct! {
    /// A page, or several, in which islands (`code`) or their slots live.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct IslandPage {
        /// Page-aligned run-time address; must be free.
        pub start: WireAddress,
        /// Bytes, a multiple of the page size.
        pub length: u64,
        /// 1 for executable code (mapped read + execute), 0 for slots (mapped read + write).
        pub code: u8,
    }
}

wire_struct! {
    /// Bytes for memory that no thread uses yet.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct MemoryWrite {
        /// Where.
        pub at: WireAddress,
        /// What.
        pub bytes: Vec<u8>,
    }
}

wire_struct! {
    /// A thread that traps at `at` goes on at `target`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Trap {
        /// Address of the trapping instruction.
        pub at: WireAddress,
        /// Where the thread goes on.
        pub target: TrapTarget,
    }
}

wire_enum! {
    /// Where a thread goes on that trapped.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum TrapTarget {
        /// There.
        1 => Address {
            /// Run-time address of the next instruction.
            address: WireAddress,
        },
        /// Wherever that slot points at the time of the trap.
        2 => Slot {
            /// Run-time address of the slot.
            slot: WireAddress,
        },
    }
}

wire_struct! {
    /// A new thread-local's initial value: for the threads that run now, and for those that start later.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct TlsInit {
        /// Offset in the reserve, in bytes.
        pub offset: u32,
        /// The value.
        pub bytes: Vec<u8>,
    }
}

wire_struct! {
    /// Points an 8-byte aligned slot somewhere else, with one store.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SlotSet {
        /// Run-time address of the slot; must lie in an island page that holds slots.
        pub slot: WireAddress,
        /// Run-time address it points to from now on.
        pub target: WireAddress,
        /// How the slot's island changes with it, if it can jump past the slot. Before code is changed, even
        /// when slots settle; it then has to lead through the slot, not past it.
        pub jump: Option<JumpSet>,
    }
}

wire_struct! {
    /// Has the direct jump of an island lead somewhere else, with one 4-byte store.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct JumpSet {
        /// Run-time address of the jump, one byte before a multiple of 4; must lie in an island page that
        /// holds code.
        pub at: WireAddress,
        /// Run-time address it leads to from now on: the slot's target, or a jump through the slot.
        pub to: WireAddress,
    }
}

wire_struct! {
    /// Makes callers of a function arrive at its slot's target.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Redirect {
        /// Run-time address of the function's first byte.
        pub entry: WireAddress,
        /// Run-time address of its slot.
        pub slot: WireAddress,
        /// What the slot points to where the function's own body is wanted: the relocated original.
        pub original: WireAddress,
        /// How its island jumps through the slot, if it can jump past it.
        pub jump: Option<JumpSet>,
        /// Bytes that must be found before anything is changed.
        pub expected: Vec<ExpectedBytes>,
        /// What is written, in order; every core sees one stage before the next begins.
        pub stages: Vec<Stage>,
    }
}

wire_struct! {
    /// A function that was redirected, by whatever server.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Redirected {
        /// As in [`Redirect::entry`].
        pub entry: WireAddress,
        /// As in [`Redirect::slot`].
        pub slot: WireAddress,
        /// As in [`Redirect::original`].
        pub original: WireAddress,
        /// As in [`Redirect::jump`].
        pub jump: Option<JumpSet>,
    }
}

wire_struct! {
    /// Code that callers of a function pass through for ever: it serves futures that a patch has moved, and
    /// goes on through a slot for all others.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Shim {
        /// As in [`Redirect::entry`].
        pub entry: WireAddress,
        /// Run-time address of the slot through which it goes on; to the body that callers had before, when
        /// the patch is taken back.
        pub slot: WireAddress,
        /// Where callers arrive when the patch is taken back, instead of where they arrived before.
        pub kept: WireAddress,
    }
}

wire_struct! {
    /// Code as the host's file has it.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct ExpectedBytes {
        /// Where.
        pub at: WireAddress,
        /// What.
        pub bytes: Vec<u8>,
    }
}

wire_enum! {
    /// One step of changing live code.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum Stage {
        /// One aligned 8-byte store. Threads may run anywhere meanwhile.
        1 => Word {
            /// The store.
            store: WordStore,
        },
        /// One-byte stores in any order. They put trapping opcodes at boundaries, so they are only
        /// sound while no thread blocks the trap signals and no tracer swallows them.
        2 => Bytes {
            /// The stores.
            writes: Vec<ByteWrite>,
        },
    }
}

wire_struct! {
    /// An 8-byte store.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct WordStore {
        /// 8-byte aligned run-time address.
        pub at: WireAddress,
        /// The word, little-endian.
        pub new: u64,
        /// 1 when the new word holds trapping opcodes at instruction boundaries of the old one.
        pub traps: u8,
    }
}

wire_struct! {
    /// A one-byte store.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct ByteWrite {
        /// Where.
        pub at: WireAddress,
        /// What.
        pub byte: u8,
    }
}

wire_struct! {
    /// How long the steps of a patch took in the process, in nanoseconds.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Times {
        /// Checking predecessor, build id and expected bytes.
        pub check: u64,
        /// Mapping the patch image.
        pub map: u64,
        /// Islands, traps and slots.
        pub islands: u64,
        /// Changing code, and waiting until threads have run on.
        pub redirect: u64,
        /// All of it.
        pub total: u64,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_as_published() {
        assert_eq!(super::fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
