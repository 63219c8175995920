//! What the server needs of whatever makes patches.
//!
//! ```text
//! begin → (link → apply in the process → applied, for each process) → commit, or abandon
//! ```

use livepatch_build::library::LoadedLibrary;
use livepatch_build::session::{CodeAt, CrateObjects};
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::{
    BuildId, Generation, Hello, ModuleKey, ModuleList, Redirected, Shim, SlotSet, ToProcess, WireAddress,
    WireRange,
};
use std::path::Path;
use std::time::Duration;

/// What a process has loaded, and what is free in its address space.
pub type Modules = (ModuleList, Vec<WireRange>);

/// Asks a process.
pub trait Ask {
    /// Where it has dynamic symbols, as that module of it (none: the program) finds them; none for a name
    /// that it does not have.
    fn addresses(
        &mut self,
        within: Option<&ModuleKey>,
        names: &[String],
    ) -> Result<Vec<Option<WireAddress>>, String>;

    /// What it has loaded; none where that is what is known.
    fn modules(&mut self, known: Generation) -> Result<Option<Modules>, String>;

    /// Has it load a patch library, of that many bytes.
    fn load(&mut self, library: &Path, length: u64) -> Result<LoadedLibrary, String>;
}

/// What a rebuild changed.
#[derive(Clone, Default, Debug)]
pub struct Change {
    /// The patch's number.
    pub number: u32,
    /// The functions that get new code, demangled.
    pub functions: Vec<String>,
    /// Functions of which old and new code stay in use.
    pub versioned: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Libraries that were loaded with the code they were linked from, and get what was changed since.
    pub joining: Vec<String>,
    /// Time spent on finding it.
    pub diff: Duration,
    /// Time spent on finding addresses.
    pub resolve: Duration,
}

/// What there is to do about a rebuild.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Nothing that runs has changed.
    Unchanged {
        /// What the user should know.
        notes: Vec<String>,
    },
    /// It can go live.
    Patch(Change),
    /// It would be unsound: the program must start anew.
    Restart {
        /// Why, as a sentence without its full stop.
        reason: String,
    },
}

/// A patch for one process.
#[derive(Clone, Debug)]
pub struct Linked {
    /// What applies it.
    pub message: ToProcess,
    /// Time spent on finding addresses.
    pub resolve: Duration,
    /// Time spent on writing the image.
    pub write: Duration,
    /// What the user should know of this process.
    pub notes: Vec<String>,
}

/// Why a patch did not go live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It never will in this process; a program that is started anew has the edit.
    Restart(String),
    /// It may at another time, or the process is gone.
    Later(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restart(reason) | Self::Later(reason) => f.write_str(reason),
        }
    }
}

/// Makes patches for the processes of one session.
pub trait Patcher: Send {
    /// What the user should know of what is taken for granted.
    fn assumptions(&self) -> Option<&'static str>;

    /// The build id that processes must have.
    fn build_id(&self) -> BuildId;

    /// The build ids of the libraries that processes may load.
    fn libraries(&self) -> Vec<BuildId>;

    /// A process has called. Returns warnings.
    fn attach(&mut self, hello: &Hello) -> Result<Vec<String>, String>;

    /// A process has called that earlier sessions may have patched: these functions were redirected, these
    /// shims left. Where slots must point for it to be at the base build, which it is taken to be at from now
    /// on; and warnings.
    fn adopt(
        &mut self,
        hello: &Hello,
        redirected: &[Redirected],
        shims: &[Shim],
    ) -> Result<(Vec<SlotSet>, Vec<String>), String>;

    /// A process is gone.
    fn detach(&mut self, pid: u32);

    /// Finds out what a rebuild changed, and keeps it as what is to go live next. `ask` leads to the
    /// process with that id. With `force`, changed layouts of types are no reason against it.
    fn begin(
        &mut self,
        crates: &[CrateObjects],
        pid: u32,
        ask: &mut dyn Ask,
        force: bool,
    ) -> Result<Verdict, String>;

    /// The same for one crate while its dependents are still being compiled; none where that must go live
    /// together with them, or cannot at all. What has gone live stays a part of the edit until
    /// [`Patcher::begin`] has found the rest.
    fn begin_first(
        &mut self,
        krate: &CrateObjects,
        pid: u32,
        ask: &mut dyn Ask,
    ) -> Result<Option<Change>, String>;

    /// The same for what libraries lack that were loaded since, or that a rollback took back too far; with
    /// warnings. With `force`, there are no values in them whose types could have changed.
    fn catch_up(
        &mut self,
        pid: u32,
        ask: &mut dyn Ask,
        force: bool,
    ) -> Result<(Verdict, Vec<String>), String>;

    /// The patch that is to go live next, or an earlier one, for one process.
    fn link(&mut self, number: u32, pid: u32, ask: &mut dyn Ask) -> Result<Linked, Refusal>;

    /// The process has told what is free in its address space now.
    fn refresh(&mut self, pid: u32, free_ranges: &[WireRange]);

    /// The process has applied it.
    fn applied(&mut self, number: u32, pid: u32);

    /// What [`Patcher::begin`] found is live.
    fn commit(&mut self);

    /// What [`Patcher::begin`] found does not go live.
    fn abandon(&mut self);

    /// The patch that processes should be at; 0 is the base build.
    fn current(&self) -> u32;

    /// The patches that lead to [`Patcher::current`], in order.
    fn history(&self) -> Vec<u32>;

    /// Whether it is known how to go back to a patch.
    fn can_go_back_to(&self, patch: u32) -> bool;

    /// The function of the program whose code is at an address of a process.
    fn code_at(&self, pid: u32, address: RuntimeAddress) -> Option<CodeAt>;

    /// Where the slots of a process must point for it to be at an earlier patch.
    fn rollback(&mut self, pid: u32, to: u32) -> Vec<SlotSet>;

    /// The processes are at an earlier patch.
    fn commit_rollback(&mut self, to: u32);
}
