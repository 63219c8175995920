//! A live-patching session: what is live, what a rebuild changed of it, and the patches between the two.
//!
//! ```text
//! open → (diff → prepare → link, once for each process → commit)* , rollback at any time
//! ```
//!
//! Nothing here talks to a process: [`Session::link`] makes a message, and what comes of it is told with
//! [`Session::commit`].

mod code_at;
mod draft;
mod error;
mod library;
mod link;

use crate::archives::Archives;
use crate::diff::{Diff, diff, note_main};
use crate::gate;
use crate::library::LibraryLink;
use crate::live::{Body, Commit, Entity, Live, Location, Module, Name, NewBody};
use crate::objects::{CodegenUnit, LoadError, Mentioned, Object, Store, load};
use crate::place::Layout;
use crate::process::Process;
use crate::readers;
use crate::resolve::{Lookup, PartId, Sources, resolve};
use crate::threads;
use crate::write::HEADERS;
use draft::body;
use livepatch_object::ObjectError;
use livepatch_object::host::Host;
use livepatch_object::layout::Layouts;
use livepatch_proto::SlotSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use code_at::CodeAt;
pub use draft::Draft;
pub use error::{OpenError, PatchError};
pub use link::Linked;

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
    /// Archives and shared objects of the captured link, in link order, and folders with libraries that
    /// the link did not need.
    pub link_inputs: Vec<PathBuf>,
    /// Whether any of the crates was compiled with optimisations.
    pub optimized: bool,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    host: Host,
    live: Live,
    archives: Archives,
    /// What file names of patch images begin with.
    images: PathBuf,
    store: Store,
    counters: Counters,
    optimized: bool,
    /// What the first part of an edit has replaced, whose rest is to come.
    former: Vec<Arc<Object>>,
    /// How patches are linked as libraries, if they are.
    libraries: Option<LibraryLink>,
}

/// What the hosts of one program count together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// The highest number that a patch has had.
    pub highest: u32,
    /// The patch that processes are at.
    pub current: u32,
    /// Bytes of the agent's thread-local reserve that are in use.
    pub tls_reserve_used: u64,
}

/// What of an edit a patch is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum EditPart {
    /// One crate's, without its dependents: more follows, or it is taken back.
    First,
    /// All there is, or the rest of it.
    #[default]
    Last,
}

impl Session {
    /// Reads the base build. Patch images go into `folder`.
    pub fn open(base: &BaseBuild, folder: &Path) -> Result<Self, OpenError> {
        Self::open_one(base, folder, "patch", Store::default(), Counters::default())
    }

    /// The same for one of several hosts that share objects. `name` tells its images from those of others.
    pub fn open_one(
        base: &BaseBuild,
        folder: &Path,
        name: &str,
        store: Store,
        counters: Counters,
    ) -> Result<Self, OpenError> {
        let bad = |source: ObjectError| LoadError::Object { path: base.host.clone(), source };
        let host = Host::parse(load(&base.host)?).map_err(bad)?;
        if host.symbol_count() == 0 {
            return Err(OpenError::Stripped(base.host.clone()));
        }
        if host.build_id().is_empty() {
            return Err(OpenError::NoBuildId(base.host.clone()));
        }
        let mut live = Live::default();
        for krate in &base.crates {
            for path in &krate.objects {
                let unit = CodegenUnit::of(&krate.unit, path);
                let (identity, object) = store.load(path)?;
                live.insert_base(unit, identity, object);
            }
        }
        std::fs::create_dir_all(folder)
            .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        remove_stale_images(folder);
        let archives = Archives::open(&base.link_inputs)?;
        let optimized = base.optimized;
        let (images, former) = (folder.join(name), Vec::new());
        Ok(Self { host, live, archives, images, store, counters, optimized, former, libraries: None })
    }

    /// Whether debug information says how types are laid out.
    pub fn knows_types(&self) -> bool {
        let objects = self.live.objects().map(|(_, object)| object);
        let largest = objects.max_by_key(|object| object.image.sections().count());
        largest.is_some_and(|object| object.layouts().is_some_and(Layouts::has_types))
    }

    /// Reads what the gate will need of the base build, on a thread of its own: the first edit finds it.
    pub fn read_ahead(&self) {
        let objects: Vec<_> = self.live.objects().map(|(_, object)| object.clone()).collect();
        std::thread::spawn(move || {
            for object in &objects {
                object.layouts();
            }
            for object in objects {
                object.thread_mains();
                object.mentions(&Mentioned::default());
            }
        });
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The patch that processes are at.
    pub fn current(&self) -> u32 {
        self.counters.current
    }

    /// What the hosts count together, as far as this one knows.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes note of what earlier sessions have left in the process for ever.
    pub fn inherit(&mut self, process: &Process) {
        self.live.inherit(process.inherited_shims());
    }

    /// Takes in what other hosts have counted.
    pub fn set_counters(&mut self, counters: Counters) {
        self.counters = counters;
    }

    /// Where a name is that a patch brought.
    pub fn brought(&self, name: &Name) -> Option<Location> {
        self.live.brought(name)
    }

    /// The newest definition of a name that is known everywhere, if it is not in the process yet.
    pub fn newest(&self, name: &str, diff: Option<&Diff>) -> Option<Entity> {
        let changed = diff.into_iter().flat_map(|diff| &diff.units).map(|(_, _, object)| object);
        let new = changed.filter_map(|object| {
            let mut all = object.definitions();
            let symbol = all.find(|&id| object.image.name(id) == name && object.scope(id).is_none())?;
            Some(Entity { object: object.clone(), symbol })
        });
        let known = self.live.entity(name, None).cloned().filter(|e| e.object.scope(e.symbol).is_none());
        new.chain(known).next().filter(|_| self.host.definitions(name).next().is_none())
    }

    /// What a rebuild changed of what is live.
    pub fn diff(&self, rebuilt: &[CrateObjects]) -> Result<Diff, PatchError> {
        let mut diff = diff(&self.live, rebuilt, &self.store)?;
        // Shims refer to slots beside the program, which a library does not reach.
        let whole = self.optimized || self.libraries.is_some();
        gate::check(&self.live, &mut diff, &self.former, whole);
        readers::add(&self.live, &mut diff);
        note_main(&mut diff, rebuilt);
        threads::note(&self.live, &mut diff);
        Ok(diff)
    }

    /// The same for what one crate's dependents follow; none where it must go live together with them.
    pub fn diff_first(&self, krate: &CrateObjects) -> Result<Option<Diff>, PatchError> {
        let diff = self.diff(std::slice::from_ref(krate))?;
        Ok(gate::stands_alone(&self.live, &diff, krate).then_some(diff))
    }

    /// Finds all that the patch must hold, and lays it out. The process is only asked for symbols.
    pub fn prepare(
        &mut self,
        diff: Diff,
        process: &Process,
        lookup: &mut dyn Lookup,
    ) -> Result<Draft, PatchError> {
        let sources = Sources {
            host: &self.host,
            live: &self.live,
            archives: &mut self.archives,
            process: lookup,
            current: self.counters.current,
            tls_reserve: process.tls_reserve(),
            tls_reserve_used: self.counters.tls_reserve_used,
            dynamic_tls: process.calls_for_thread_locals(),
        };
        let closure = resolve(sources, &diff)?;
        let layout = Layout::new(&closure, HEADERS)?;
        let Counters { highest, current, .. } = self.counters;
        Ok(Draft { number: highest + 1, predecessor: current, diff, closure, layout })
    }

    /// The patch is applied in the processes.
    pub fn commit(&mut self, draft: Draft, part: EditPart) {
        self.note_replaced(&draft.diff, part);
        let brought = draft.closure.brought.iter();
        let brought = brought
            .filter_map(|(name, target, entity)| Some((name.clone(), draft.place(target)?, entity.clone())));
        let bodies = draft.closure.redirected.iter().map(|r| NewBody {
            entry: r.entry,
            body: body(&draft, r),
            entity: r.entity.clone(),
            kept: r.kept.map(|part| in_patch(&draft, part)),
        });
        let commit = Commit {
            patch: draft.number,
            brought: brought.collect(),
            bodies: bodies.collect(),
            units: draft.diff.units.clone(),
            renewed: draft.diff.renewed().cloned().collect(),
        };
        self.live.commit(commit);
        self.counters = Counters {
            highest: self.counters.highest.max(draft.number),
            current: draft.number,
            tls_reserve_used: draft.closure.tls_reserve_used,
        };
    }

    /// A rebuild changed nothing that runs: its objects are what is live from now on.
    pub fn accept(&mut self, diff: Diff, part: EditPart) {
        self.note_replaced(&diff, part);
        let renewed = diff.renewed().cloned().collect();
        self.live.commit(Commit {
            patch: self.counters.current,
            units: diff.units,
            brought: Vec::new(),
            bodies: Vec::new(),
            renewed,
        });
    }

    /// Keeps what a first part replaces: the rest is compared with it too.
    fn note_replaced(&mut self, diff: &Diff, part: EditPart) {
        match part {
            EditPart::First => {
                let replaced = diff.units.iter().filter_map(|(unit, ..)| self.live.unit(unit));
                self.former.extend(replaced.cloned().collect::<Vec<_>>());
            }
            EditPart::Last => self.former.clear(),
        }
    }

    /// Nobody goes back to a patch before this one any more, but to the beginning.
    pub fn forget_before(&mut self, patch: u32) {
        self.live.forget_before(patch);
    }

    /// Where the slots of a process must point for it to be at an earlier patch.
    pub fn rollback_slots(&self, process: &Process, to: u32) -> Vec<SlotSet> {
        let slots = self.live.bodies_at(to).filter_map(|(entry, body)| {
            let slot = process.slot(entry)?;
            Some(slot.set(process.body_address(slot, body)?))
        });
        // What shims go on to first: callers may arrive at any time.
        let shims = self.live.shims_at(to).filter_map(|(entry, patch, behind)| {
            let target = process.body_address(process.slot(entry)?, behind)?;
            Some(SlotSet { slot: process.shim_slot(entry, patch)?, target, jump: None })
        });
        shims.chain(slots).collect()
    }

    /// The processes are at an earlier patch.
    pub fn commit_rollback(&mut self, to: u32) {
        self.live.revert_to(to);
        self.former.clear();
        self.counters.current = to;
    }
}

/// A part of a patch, as a body.
fn in_patch(draft: &Draft, part: PartId) -> Body {
    Body::At(Location { module: Module::Patch(draft.number), position: draft.layout.parts[part.0] })
}

/// Removes the images of processes that are gone; one that is left behind is only disk space.
pub fn remove_stale_images(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_suffix(".so").and_then(|name| name.rsplit_once('-'));
        if pid.is_some_and(|(_, pid)| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
