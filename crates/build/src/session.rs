//! A live-patching session: what is live, what a rebuild changed of it, and the patches between the two.
//!
//! ```text
//! open → (diff → prepare → link, once for each process → commit)* , rollback at any time
//! ```
//!
//! Nothing here talks to a process: [`Session::link`] makes a message, and what comes of it is told with
//! [`Session::commit`].

use crate::archives::Archives;
use crate::diff::{Diff, diff};
use crate::islands::PlanError;
use crate::live::{Body, Commit, Live, Location, Module, NewBody};
use crate::loops::enters_by_table;
use crate::objects::{CodegenUnit, Identity, LoadError, Object, read};
use crate::place::Layout;
use crate::process::{PlacedImage, Process, ProcessError, Slot};
use crate::resolve::{
    Closure, Lookup, LookupError, NewCode, Redirected, ResolveError, Sources, Target, resolve,
};
use crate::write::{self, BIAS, Bind, HEADERS, IMAGE_ALIGN, WriteError};
use livepatch_object::ObjectError;
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::demangle;
use livepatch_object::entry::x86_64::Function;
use livepatch_object::host::Host;
use livepatch_object::relocation::RelocationError;
use livepatch_proto::{BuildId, Image, ImageSource, Patch, SlotSet, TlsInit, WireAddress};
use std::path::{Path, PathBuf};
use thiserror::Error;

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
}

/// A session cannot begin.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file of the base build cannot be read.
    #[error("the captured build cannot be read")]
    Load(#[from] LoadError),
    /// The program has no symbol table.
    #[error("{} has no symbol table (.symtab)", .0.display())]
    Stripped(PathBuf),
    /// The program has no build id.
    #[error("{} has no build id", .0.display())]
    NoBuildId(PathBuf),
    /// Patch images cannot be put anywhere.
    #[error("cannot create {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A patch cannot be made.
#[derive(Debug, Error)]
pub enum PatchError {
    /// A rebuilt object cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Something is not found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The image cannot be laid out.
    #[error("the patch cannot be laid out")]
    Layout(#[from] RelocationError),
    /// The image cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The process cannot take it.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The process could not be asked.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A function's entry cannot be redirected.
    #[error("`{name}` cannot be redirected")]
    Redirect {
        /// The function, demangled.
        name: String,
        /// Why.
        source: PlanError,
    },
    /// A jump table of a function leads to its first byte, where its new body is to begin.
    #[error("`{0}` loops to its first instruction through a jump table")]
    LoopsByTable(String),
    /// A function's live code cannot be found.
    #[error("the live code of `{0}` cannot be found")]
    NoCode(String),
    /// The image's file cannot be written.
    #[error("cannot write {}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A patch that is ready to be linked for processes.
#[derive(Debug)]
pub struct Draft {
    /// Its number.
    pub number: u32,
    /// The patch that processes must be at.
    pub predecessor: u32,
    diff: Diff,
    closure: Closure,
    layout: Layout,
}

impl Draft {
    /// The redirected functions, demangled, each once: those that do something else first.
    pub fn functions(&self) -> Vec<String> {
        let lines_only = |name: &str| {
            let mut all = self.diff.changed.iter().filter(|c| c.new.object.image.name(c.new.symbol) == name);
            all.all(|change| change.lines_only)
        };
        let mut names: Vec<_> =
            self.closure.redirected.iter().map(|r| (lines_only(&r.name), demangle(&r.name))).collect();
        names.sort();
        names.dedup();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// How many of the redirected functions differ only in line numbers of panic messages.
    pub fn lines_only(&self) -> usize {
        self.diff.changed.iter().filter(|change| change.lines_only).count()
    }

    /// Functions and statics that the patch brings, demangled.
    pub fn brought(&self) -> Vec<String> {
        self.closure.brought.iter().map(|(name, ..)| demangle(&name.symbol)).collect()
    }

    /// What the user should know.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.diff.notes.iter().chain(&self.closure.notes)
    }

    /// What it was made from.
    pub fn into_diff(self) -> Diff {
        self.diff
    }

    /// Whether no callers of anything in the process would see a difference.
    pub fn is_empty(&self) -> bool {
        self.closure.redirected.is_empty()
    }
}

/// A patch for one process.
#[derive(Debug)]
pub struct Linked {
    /// The message.
    pub patch: Patch,
    /// The process once the patch is applied.
    pub process: Process,
    /// The image's file; none when no new code is needed.
    pub image: Option<PathBuf>,
}

/// The slot of a function that was not redirected before.
#[derive(Clone, Copy)]
struct Planned {
    slot: Slot,
    /// Whether the function loops to its first instruction.
    loops: bool,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    host: Host,
    live: Live,
    archives: Archives,
    folder: PathBuf,
    highest: u32,
    current: u32,
    tls_reserve_used: u64,
}

impl Session {
    /// Reads the base build. Patch images go into `folder`.
    pub fn open(base: &BaseBuild, folder: &Path) -> Result<Self, OpenError> {
        let bytes = read(&base.host)?;
        let bad = |source: ObjectError| LoadError::Object { path: base.host.clone(), source };
        let host = Host::parse(&bytes).map_err(bad)?;
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
                live.insert_base(unit, Identity::of(path)?, Object::load(path)?);
            }
        }
        std::fs::create_dir_all(folder)
            .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        remove_stale_images(folder);
        let archives = Archives::open(&base.link_inputs)?;
        let folder = folder.to_owned();
        Ok(Self { host, live, archives, folder, highest: 0, current: 0, tls_reserve_used: 0 })
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The patch that processes are at.
    pub fn current(&self) -> u32 {
        self.current
    }

    /// What a rebuild changed of what is live.
    pub fn diff(&self, rebuilt: &[CrateObjects]) -> Result<Diff, PatchError> {
        Ok(diff(&self.live, rebuilt)?)
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
            tls_reserve: process.tls_reserve(),
            tls_reserve_used: self.tls_reserve_used,
        };
        let closure = resolve(sources, &diff)?;
        let layout = Layout::new(&closure, HEADERS)?;
        Ok(Draft { number: self.highest + 1, predecessor: self.current, diff, closure, layout })
    }

    /// Links a patch for one process: the image's file is written, the message made.
    pub fn link(
        &self,
        draft: &Draft,
        process: &Process,
        lookup: &mut dyn Lookup,
    ) -> Result<Linked, PatchError> {
        let mut after = process.clone();
        after.current = draft.number;
        let mut patch = Patch {
            number: draft.number,
            predecessor: draft.predecessor,
            build_id: BuildId(self.host.build_id().to_vec()),
            image: None,
            island_pages: Vec::new(),
            island_writes: Vec::new(),
            traps: Vec::new(),
            tls: Vec::new(),
            settle: Vec::new(),
            slots: Vec::new(),
            redirects: Vec::new(),
        };
        let mut image = None;
        if !draft.closure.parts.is_empty() {
            let (placed, size) = self.write_image(draft, &mut after, lookup, &mut patch.tls)?;
            patch.image = Some(Image {
                source: ImageSource::Path { path: placed.path.to_string_lossy().into_owned(), length: size },
                bias: BIAS,
                start: WireAddress(placed.start.0),
                length: placed.length,
            });
            image = Some(placed.path.clone());
            after.set_image(draft.number, placed);
        }
        let mut loops = false;
        let mut originals = Vec::new();
        for redirected in &draft.closure.redirected {
            if let Some(planned) = self.redirect(draft, redirected, &mut after, &mut patch)? {
                loops |= planned.loops;
                originals.push(SlotSet { slot: planned.slot.at, target: planned.slot.original });
            }
        }
        if loops {
            patch.settle = originals;
        }
        Ok(Linked { patch, process: after, image })
    }

    /// Writes the image's file for one process; returns where it goes, and the file's length in bytes.
    /// Values of new thread-locals are added to `tls`.
    fn write_image(
        &self,
        draft: &Draft,
        process: &mut Process,
        lookup: &mut dyn Lookup,
        tls: &mut Vec<TlsInit>,
    ) -> Result<(PlacedImage, u64), PatchError> {
        let length = draft.layout.length();
        let start = process.take_image_range(length, IMAGE_ALIGN)?;
        let addresses = lookup.addresses(&draft.closure.process_names)?;
        let bind = Bind::new(&draft.closure, &draft.layout, process, start, &addresses);
        let file = write::write(&draft.closure, &draft.layout, &bind)?;
        for (offset, bytes) in write::thread_locals(&draft.closure, &draft.layout, &bind)? {
            let offset =
                u32::try_from(offset).map_err(|_| WriteError::Inconsistent("a thread-local's place"))?;
            tls.push(TlsInit { offset, bytes });
        }
        let path = self.folder.join(format!("patch-{}-{}.so", draft.number, process.pid));
        std::fs::write(&path, &file).map_err(|source| PatchError::Store { path: path.clone(), source })?;
        Ok((PlacedImage { start, length, path }, file.len() as u64))
    }

    /// Points a function's slot at its new body; plans the slot, and returns it, if there is none yet.
    fn redirect(
        &self,
        draft: &Draft,
        redirected: &Redirected,
        process: &mut Process,
        patch: &mut Patch,
    ) -> Result<Option<Planned>, PatchError> {
        let known = process.slot(redirected.entry);
        let planned = match known {
            Some(_) => None,
            None => Some(self.plan_slot(redirected, process, patch)?),
        };
        let Some(slot) = known.or(planned.map(|planned| planned.slot)) else { return Ok(None) };
        let target = body_address(process, slot, body(draft, redirected));
        let target = target.ok_or_else(|| PatchError::NoCode(demangle(&redirected.name)))?;
        patch.slots.push(SlotSet { slot: slot.at, target });
        Ok(planned)
    }

    fn plan_slot(
        &self,
        redirected: &Redirected,
        process: &mut Process,
        patch: &mut Patch,
    ) -> Result<Planned, PatchError> {
        let name = || demangle(&redirected.name);
        let no_code = || PatchError::NoCode(name());
        let entry = process.address(redirected.entry).ok_or_else(no_code)?;
        let plan = match redirected.entry.module {
            Module::Host => {
                let link = LinkAddress(redirected.entry.position);
                let size = self.host.function_at(link).map(|function| function.size).ok_or_else(no_code)?;
                let (text, offset) = self.host.code(link).ok_or_else(no_code)?;
                let padding = self.host.room(link).saturating_sub(size);
                let (size, padding) = (to_usize(size), to_usize(padding));
                process.islands.plan(&Function { entry, text, offset, size, padding })
            }
            Module::Patch(number) => {
                let (text, offset, size) =
                    self.patch_code(process, number, redirected.entry.position).ok_or_else(no_code)?;
                process.islands.plan(&Function { entry, text: &text, offset, size, padding: 0 })
            }
            Module::TlsReserve => return Err(no_code()),
        };
        let plan = plan.map_err(|source| PatchError::Redirect { name: name(), source })?;
        let entity = &redirected.entity;
        let old = self.live.entity(&redirected.name, entity.object.scope(entity.symbol));
        if plan.hazards.unseen_loops && old.is_some_and(enters_by_table) {
            return Err(PatchError::LoopsByTable(name()));
        }
        patch.island_pages.extend(plan.pages);
        patch.island_writes.extend(plan.writes);
        patch.traps.extend(plan.traps);
        patch.redirects.push(plan.redirect);
        let slot = Slot { at: plan.slot, original: plan.original };
        process.set_slot(redirected.entry, slot);
        Ok(Planned { slot, loops: plan.hazards.loop_head })
    }

    /// The code of an earlier patch's image, as it is in its file: the bytes, the position in them, the
    /// function's size.
    fn patch_code(&self, process: &Process, number: u32, position: u64) -> Option<(Vec<u8>, usize, usize)> {
        let image = process.image(number)?;
        let host = Host::parse(&std::fs::read(&image.path).ok()?).ok()?;
        let link = RuntimeAddress(image.start.0.checked_sub(BIAS)?).checked_add(position)?;
        let size = host.function_at(LinkAddress(link.0))?.size;
        let (text, offset) = host.code(LinkAddress(link.0))?;
        Some((text.to_vec(), offset, to_usize(size)))
    }

    /// The patch is applied in the processes.
    pub fn commit(&mut self, draft: Draft) {
        let place = |target: &Target| match *target {
            Target::Part(part, offset) => Some(Location {
                module: Module::Patch(draft.number),
                position: draft.layout.parts[part.0] + offset.0,
            }),
            Target::ReserveTls(position) => Some(Location { module: Module::TlsReserve, position }),
            _ => None,
        };
        let brought = draft.closure.brought.iter();
        let brought =
            brought.filter_map(|(name, target, entity)| Some((name.clone(), place(target)?, entity.clone())));
        let bodies = draft.closure.redirected.iter().map(|r| NewBody {
            entry: r.entry,
            body: body(&draft, r),
            entity: r.entity.clone(),
        });
        let commit = Commit {
            patch: draft.number,
            brought: brought.collect(),
            bodies: bodies.collect(),
            units: draft.diff.units.clone(),
            replaces_constants: !draft.diff.replaced.is_empty(),
        };
        self.live.commit(commit);
        self.highest = draft.number;
        self.current = draft.number;
        self.tls_reserve_used = draft.closure.tls_reserve_used;
    }

    /// A rebuild changed nothing that runs: its objects are what is live from now on.
    pub fn accept(&mut self, diff: Diff) {
        self.live.commit(Commit {
            patch: self.current,
            units: diff.units,
            brought: Vec::new(),
            bodies: Vec::new(),
            replaces_constants: false,
        });
    }

    /// Where the slots of a process must point for it to be at an earlier patch.
    pub fn rollback_slots(&self, process: &Process, to: u32) -> Vec<SlotSet> {
        let slots = self.live.bodies_at(to).filter_map(|(entry, body)| {
            let slot = process.slot(entry)?;
            Some(SlotSet { slot: slot.at, target: body_address(process, slot, body)? })
        });
        slots.collect()
    }

    /// The processes are at an earlier patch.
    pub fn commit_rollback(&mut self, to: u32) {
        self.live.revert_to(to);
        self.current = to;
    }
}

fn body(draft: &Draft, redirected: &Redirected) -> Body {
    match redirected.body {
        NewCode::Earlier(body) => body,
        NewCode::Part(part, offset) => Body::At(Location {
            module: Module::Patch(draft.number),
            position: draft.layout.parts[part.0] + offset.0,
        }),
    }
}

/// What a slot must hold for callers to get a body.
fn body_address(process: &Process, slot: Slot, body: Body) -> Option<WireAddress> {
    match body {
        Body::Original => Some(slot.original),
        Body::At(location) => process.address(location).map(|address| WireAddress(address.0)),
    }
}

/// Removes the images of processes that are gone; one that is left behind is only disk space.
fn remove_stale_images(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("patch-").and_then(|rest| rest.strip_suffix(".so")?.split_once('-'));
        if pid.is_some_and(|(_, pid)| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
