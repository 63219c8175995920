//! The state of a live-patching session: what is live, and what a rebuild changed of it.

use livepatch_object::address::RuntimeAddress;
use livepatch_proto::{Hello, Patch, SlotSet};
use std::path::PathBuf;

/// Names one rustc invocation of the captured build: crate name + `-C extra-filename`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnitId(pub String);

/// The objects that one rustc invocation left, one per codegen unit.
///
/// An object whose file is the same inode as before did not change.
#[derive(Clone, Debug)]
pub struct CrateObjects {
    /// Which invocation.
    pub unit: UnitId,
    /// The crate's name, as rustc knows it.
    pub crate_name: String,
    /// The object files; the file stem (`1jcytkiflzsxgh18pbgh5g9x0`) names the codegen unit.
    pub objects: Vec<PathBuf>,
}

/// What the process runs from: the base build, as captured.
#[derive(Clone, Debug)]
pub struct BaseBuild {
    /// The linked executable.
    pub host: PathBuf,
    /// The captured crates of the host, dependencies first.
    pub crates: Vec<CrateObjects>,
    /// Archives and shared objects of the captured link, in link order.
    pub link_inputs: Vec<PathBuf>,
}
