//! What the dynamic linker has loaded into a process.

use crate::codec::{wire_enum, wire_struct};
use crate::{BuildId, WireRange};

wire_struct! {
    /// Names a loaded module, as long as it stays loaded: one file may be loaded twice, as two copies.
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
    pub struct ModuleKey {
        /// The contents of its build-id note.
        pub build_id: BuildId,
        /// Run-time minus link-time address of everything in it (modulo 2^64).
        pub bias: u64,
    }
}

wire_enum! {
    /// Where a module's thread-locals are.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum ModuleTls {
        /// It has none.
        1 => Absent,
        /// Its block starts at the same distance from the thread pointer in every thread: it was
        /// loaded at the start.
        2 => Static {
            /// That distance, in bytes.
            tp_offset: i64,
        },
        /// Only `__tls_get_addr` knows, for each thread.
        3 => Dynamic {
            /// The number by which that function knows the module.
            module: u64,
        },
    }
}

wire_struct! {
    /// A loaded module with a build id.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct LoadedModule {
        /// Which.
        pub key: ModuleKey,
        /// From its first to after its last mapped byte.
        pub range: WireRange,
        /// Its thread-locals.
        pub tls: ModuleTls,
        /// The name by which the dynamic linker knows it, for people; empty for the program itself.
        pub name: String,
    }
}

wire_struct! {
    /// How often modules were loaded and unloaded so far: where this is the same, so are the modules.
    #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
    pub struct Generation {
        /// Loaded.
        pub added: u64,
        /// Unloaded.
        pub removed: u64,
    }
}

wire_struct! {
    /// Everything that is loaded, the program itself first. Modules without a build id are left out.
    #[derive(Clone, PartialEq, Eq, Default, Debug)]
    pub struct ModuleList {
        /// When this was so.
        pub generation: Generation,
        /// The modules.
        pub modules: Vec<LoadedModule>,
    }
}
