//! What the server needs of whatever makes patches.
//!
//! ```text
//! begin → (link → apply in the process → applied, for each process) → commit, or abandon
//! ```

use livepatch_build::session::{BaseBuild, CrateObjects};
use livepatch_proto::{BuildId, Hello, Patch, SlotSet, WireAddress};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Asks a process where it has dynamic symbols.
pub trait Ask {
    /// The address of each name; none where the process does not have it.
    fn addresses(&mut self, names: &[String]) -> Result<Vec<Option<WireAddress>>, String>;
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
    /// Time spent on finding it.
    pub diff: Duration,
    /// Time spent on finding addresses.
    pub resolve: Duration,
}

/// What there is to do about a rebuild.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Nothing that runs has changed.
    Unchanged,
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
    /// The message.
    pub patch: Patch,
    /// Time spent on finding addresses.
    pub resolve: Duration,
    /// Time spent on writing the image.
    pub write: Duration,
}

/// Makes patches for the processes of one session.
pub trait Patcher: Send {
    /// The build id that processes must have.
    fn build_id(&self) -> BuildId;

    /// A process has called.
    fn attach(&mut self, hello: &Hello) -> Result<(), String>;

    /// A process is gone.
    fn detach(&mut self, pid: u32);

    /// Finds out what a rebuild changed, and keeps it as what is to go live next. `ask` leads to the
    /// process with that id.
    fn begin(&mut self, crates: &[CrateObjects], pid: u32, ask: &mut dyn Ask) -> Result<Verdict, String>;

    /// The patch that is to go live next, or an earlier one, for one process.
    fn link(&mut self, number: u32, pid: u32, ask: &mut dyn Ask) -> Result<Linked, String>;

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

    /// Where the slots of a process must point for it to be at an earlier patch.
    fn rollback(&mut self, pid: u32, to: u32) -> Vec<SlotSet>;

    /// The processes are at an earlier patch.
    fn commit_rollback(&mut self, to: u32);
}

/// Reads the base build; patch images go into `folder`. May take a while.
pub fn open(base: &BaseBuild, folder: &Path) -> Result<Box<dyn Patcher>, String> {
    let _ = folder;
    Ok(Box::new(StandIn::new(base)))
}

/// Tells which objects changed, and makes patches that do nothing.
struct StandIn {
    objects: HashMap<(String, String), PathBuf>,
    next: Option<HashMap<(String, String), PathBuf>>,
    build_id: BuildId,
    history: Vec<u32>,
    highest: u32,
}

fn objects_of(crates: &[CrateObjects]) -> impl Iterator<Item = ((String, String), PathBuf)> {
    crates.iter().flat_map(|krate| {
        krate.objects.iter().map(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            ((krate.unit.0.clone(), stem), path.clone())
        })
    })
}

impl StandIn {
    fn new(base: &BaseBuild) -> Self {
        let objects = objects_of(&base.crates).collect();
        Self { objects, next: None, build_id: BuildId(Vec::new()), history: Vec::new(), highest: 0 }
    }
}

impl Patcher for StandIn {
    fn build_id(&self) -> BuildId {
        self.build_id.clone()
    }

    fn attach(&mut self, hello: &Hello) -> Result<(), String> {
        self.build_id = hello.build_id.clone();
        Ok(())
    }

    fn detach(&mut self, _pid: u32) {}

    fn begin(&mut self, crates: &[CrateObjects], _pid: u32, _ask: &mut dyn Ask) -> Result<Verdict, String> {
        let mut next = self.objects.clone();
        next.extend(objects_of(crates));
        let changed = next.iter().filter(|(unit, path)| {
            let old = self.objects.get(*unit).and_then(|path| std::fs::read(path).ok());
            old.as_ref() != std::fs::read(path).ok().as_ref()
        });
        let functions: Vec<String> =
            changed.map(|((krate, stem), _)| format!("would patch {krate} {stem}.o")).collect();
        self.next = Some(next);
        if functions.is_empty() {
            return Ok(Verdict::Unchanged);
        }
        Ok(Verdict::Patch(Change { number: self.highest + 1, functions, ..Change::default() }))
    }

    fn link(&mut self, number: u32, _pid: u32, _ask: &mut dyn Ask) -> Result<Linked, String> {
        let before = self.history.iter().copied().filter(|&earlier| earlier < number);
        let patch = Patch {
            number,
            predecessor: before.max().unwrap_or(0),
            build_id: self.build_id.clone(),
            image: None,
            island_pages: Vec::new(),
            island_writes: Vec::new(),
            traps: Vec::new(),
            tls: Vec::new(),
            slots: Vec::new(),
            redirects: Vec::new(),
        };
        Ok(Linked { patch, resolve: Duration::ZERO, write: Duration::ZERO })
    }

    fn applied(&mut self, _number: u32, _pid: u32) {}

    fn commit(&mut self) {
        if let Some(next) = self.next.take() {
            self.objects = next;
            self.highest += 1;
            self.history.push(self.highest);
        }
    }

    fn abandon(&mut self) {
        self.next = None;
    }

    fn current(&self) -> u32 {
        self.history.last().copied().unwrap_or(0)
    }

    fn history(&self) -> Vec<u32> {
        self.history.clone()
    }

    fn rollback(&mut self, _pid: u32, _to: u32) -> Vec<SlotSet> {
        Vec::new()
    }

    fn commit_rollback(&mut self, to: u32) {
        self.history.retain(|&number| number <= to);
    }
}
