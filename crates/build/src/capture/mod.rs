//! Capture: the exact rustc and linker commands of a cargo build, kept so that they can be replayed.
//!
//! Cargo runs [`wrapper`] in place of rustc for the workspace's own crates, and rustc runs [`linker`]
//! in place of the linker. Both do what was asked of them, with the few additions that
//! [`Additions`] names, and leave records behind ([`record`]); [`program`] puts the records of one
//! executable together. Everything lies under one folder of the target directory ([`Folders`]).

pub mod arguments;
pub mod dep_info;
mod folders;
mod keep;
pub mod linker;
mod native;
pub mod objects;
pub mod program;
mod questions;
pub mod record;
pub mod wrapper;

pub use folders::Folders;
pub use keep::{keep, write_atomically};
pub use native::NativeString;
pub use program::{CargoInput, CargoInputs, Incomplete, Program, ProgramError, Unit, build_id};
pub use record::{Additions, LinkRecord, UnitKind, UnitRecord};

/// Environment variable: the capture's folder. Without it the wrapper and the linker shim do nothing.
pub const CAPTURE_VARIABLE: &str = "LIVEPATCH_CAPTURE";
/// Environment variable: the workspace wrapper that the user had set, which ours calls.
pub const USER_WRAPPER_VARIABLE: &str = "LIVEPATCH_USER_WORKSPACE_WRAPPER";
/// Environment variable from wrapper to linker shim: the linker that the user chose.
pub const USER_LINKER_VARIABLE: &str = "LIVEPATCH_USER_LINKER";
/// Environment variable from wrapper to linker shim: the unit that is linked.
pub const UNIT_VARIABLE: &str = "LIVEPATCH_UNIT";
/// Environment variable from a thin rebuild to the linker shim: do not link.
pub const NO_LINK_VARIABLE: &str = "LIVEPATCH_NO_LINK";

/// What every environment variable of ours starts with.
pub const VARIABLE_PREFIX: &str = "LIVEPATCH_";
