//! The patcher that makes real patches: the hosts of `livepatch-build` and the processes that have them.

mod trail;

use crate::error::text;
use crate::patcher::{Ask, Change, Linked, Patcher, Refusal, Verdict};
use livepatch_build::hosts::{Changes, Draft, Hosts, JoinError, Loaded, ProcessLookup};
use livepatch_build::library::{LibraryError, LibraryLink, LoadedLibrary};
use livepatch_build::resolve::{LookupError, ResolveError};
use livepatch_build::session::{BaseBuild, CodeAt, CrateObjects, PatchError};
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::{BuildId, Hello, ModuleKey, Origin, Redirected, Shim, SlotSet, ToProcess, WireRange};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};
use trail::{Step, Trail};

/// Reads the base build of a program; patch images go into `folder`. With `link`, patches are libraries that it makes.
/// May take a while.
pub(crate) fn open(
    program: &BaseBuild,
    libraries: Vec<BaseBuild>,
    folder: &Path,
    link: Option<LibraryLink>,
) -> Result<Box<dyn Patcher>, String> {
    let mut hosts = Hosts::open(program, libraries, folder).map_err(|error| text(&error))?;
    link.into_iter().for_each(|link| hosts.link_libraries(link));
    hosts.read_ahead();
    Ok(Box::new(Engine {
        hosts,
        processes: HashMap::new(),
        next: None,
        linked: HashMap::new(),
        looked: None,
        history: Vec::new(),
        trail: Trail::default(),
    }))
}

/// All hosts and their processes.
struct Engine {
    hosts: Hosts,
    processes: HashMap<u32, Loaded>,
    /// What is to go live next.
    next: Option<Draft>,
    /// Processes as they will be once they have applied it, and what they are told.
    linked: HashMap<u32, (Loaded, ToProcess)>,
    /// The process that was just asked what it has loaded.
    looked: Option<u32>,
    history: Vec<u32>,
    trail: Trail,
}

impl Engine {
    fn process(&self, pid: u32) -> Result<&Loaded, String> {
        self.processes.get(&pid).ok_or_else(|| format!("process {pid} is not connected"))
    }

    /// Asks a process what it has loaded now. Returns what cannot be patched of it.
    fn look(&mut self, pid: u32, ask: &mut dyn Ask) -> Result<Vec<JoinError>, String> {
        if !self.hosts.has_libraries() {
            return Ok(Vec::new());
        }
        let known = self.process(pid)?.generation;
        let Some((list, free_ranges)) = ask.modules(known)? else { return Ok(Vec::new()) };
        let loaded = self.processes.get_mut(&pid).ok_or_else(|| format!("process {pid} is gone"))?;
        let errors = self.hosts.update(loaded, &list, &free_ranges);
        self.hosts.forget_unloaded(self.processes.values());
        Ok(errors)
    }

    /// What a forked process was when its parent was at that patch. Where libraries come and go, it is not known
    /// that what the parent was told since holds for it.
    fn branch(&mut self, parent: u32, child: &Hello) -> Option<Loaded> {
        let parent = self.processes.get(&parent).filter(|_| !self.hosts.has_libraries())?;
        self.trail.branch(parent, child.pid, child.current)
    }

    /// From what has changed to what is to go live.
    fn draft(
        &mut self,
        mut changes: Changes,
        pid: u32,
        ask: &mut dyn Ask,
        how: How,
        diff: Duration,
    ) -> Result<Verdict, String> {
        if !changes.unsound.is_empty() && !how.force {
            return Ok(Verdict::Restart { reason: changes.unsound.join("; ") });
        }
        if let Some(reason) = changes.restart {
            return Ok(Verdict::Restart { reason });
        }
        changes.force();
        if changes.is_empty() {
            let notes = changes.notes();
            self.hosts.accept(changes);
            return Ok(Verdict::Unchanged { notes });
        }
        match self.prepare(changes, pid, ask, how.catches_up, diff) {
            Ok(Prepared::Patch(change)) => Ok(Verdict::Patch(change)),
            Ok(Prepared::Nothing(draft)) => {
                let notes = draft.notes();
                self.hosts.accept_draft(*draft);
                Ok(Verdict::Unchanged { notes })
            }
            Err(Refusal::Restart(reason)) => Ok(Verdict::Restart { reason }),
            Err(Refusal::Later(reason)) => Err(reason),
        }
    }

    /// Makes a patch, which is to go live next.
    fn prepare(
        &mut self,
        changes: Changes,
        pid: u32,
        ask: &mut dyn Ask,
        catches_up: bool,
        diff: Duration,
    ) -> Result<Prepared, Refusal> {
        let start = Instant::now();
        let loaded = self.processes.get(&pid);
        let loaded = loaded.ok_or_else(|| Refusal::Later(format!("process {pid} is not connected")))?;
        let mut asking = Asking { ask, time: Duration::ZERO };
        let prepared = if catches_up {
            self.hosts.catch_up(changes, loaded, &mut asking)
        } else {
            self.hosts.prepare(changes, loaded, &mut asking)
        };
        let draft = prepared.map_err(|error| refusal(&error))?;
        if draft.is_empty() {
            return Ok(Prepared::Nothing(Box::new(draft)));
        }
        let change = Change {
            number: draft.number,
            functions: draft.functions(),
            versioned: draft.versioned(),
            notes: draft.notes(),
            joining: draft.joining().to_vec(),
            diff,
            resolve: start.elapsed(),
        };
        self.next = Some(draft);
        Ok(Prepared::Patch(change))
    }
}

/// What came of making a patch.
enum Prepared {
    Patch(Change),
    /// Nothing in any process would differ.
    Nothing(Box<Draft>),
}

/// What kind of patch is to be made.
struct How {
    /// Changed layouts are no reason against it.
    force: bool,
    /// It leaves processes at the patch that they are at.
    catches_up: bool,
}

fn texts(errors: &[JoinError]) -> Vec<String> {
    errors.iter().map(|error| text(error)).collect()
}

/// Asks a process, counting the time.
struct Asking<'a> {
    ask: &'a mut dyn Ask,
    time: Duration,
}

impl ProcessLookup for Asking<'_> {
    fn addresses(
        &mut self,
        within: Option<&ModuleKey>,
        names: &[String],
    ) -> Result<Vec<Option<RuntimeAddress>>, LookupError> {
        let start = Instant::now();
        let answer = self.ask.addresses(within, names).map_err(LookupError)?;
        self.time += start.elapsed();
        Ok(answer.into_iter().map(|address| address.map(|address| RuntimeAddress(address.0))).collect())
    }

    fn load(&mut self, library: &Path, length: u64) -> Result<LoadedLibrary, String> {
        self.ask.load(library, length)
    }
}

/// What an error means for the edit: most are gone once the program was linked and started anew.
fn refusal(error: &PatchError) -> Refusal {
    match error {
        PatchError::Resolve(ResolveError::Load(_) | ResolveError::Lookup(_))
        | PatchError::Load(_)
        | PatchError::Lookup(_)
        | PatchError::Library(LibraryError::Io { .. })
        | PatchError::Store { .. } => Refusal::Later(text(error)),
        _ => Refusal::Restart(text(error)),
    }
}

impl Patcher for Engine {
    fn assumptions(&self) -> Option<&'static str> {
        (!self.hosts.knows_types()).then_some(
            "without debug information (debug = 2 in the profile) it is not checked that types keep their \
             layout when they are edited: it is assumed",
        )
    }

    fn build_id(&self) -> BuildId {
        self.hosts.build_id()
    }

    fn libraries(&self) -> Vec<BuildId> {
        self.hosts.library_ids()
    }

    fn attach(&mut self, hello: &Hello) -> Result<Vec<String>, String> {
        let (mut loaded, errors) = match hello.origin {
            Origin::Forked { parent } => {
                let now = self.processes.get(&parent).filter(|now| now.current() == hello.current).cloned();
                let then = now.or_else(|| self.branch(parent, hello));
                (then.ok_or("its parent has gone on meanwhile: it stays as it is")?, Vec::new())
            }
            Origin::Started if hello.current == self.hosts.current() => {
                self.hosts.attach(hello).map_err(|error| text(&error))?
            }
            Origin::Started => return Err("it is older than the patches: it stays as it is".into()),
            Origin::Dialled => return Err("it dialled by itself: only patch libraries are for it".into()),
        };
        loaded.set_pid(hello.pid);
        loaded.refresh(&hello.free_ranges);
        self.processes.insert(hello.pid, loaded);
        Ok(texts(&errors))
    }

    fn adopt(
        &mut self,
        hello: &Hello,
        redirected: &[Redirected],
        shims: &[Shim],
    ) -> Result<(Vec<SlotSet>, Vec<String>), String> {
        let adopted = self.hosts.adopt(hello, redirected, shims);
        let (loaded, slots, errors) = adopted.map_err(|error| text(&error))?;
        self.processes.insert(hello.pid, loaded);
        Ok((slots, texts(&errors)))
    }

    fn detach(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.linked.remove(&pid);
        self.trail.forget(pid);
        self.hosts.forget_unloaded(self.processes.values());
    }

    fn begin(
        &mut self,
        crates: &[CrateObjects],
        pid: u32,
        ask: &mut dyn Ask,
        force: bool,
    ) -> Result<Verdict, String> {
        self.look(pid, ask)?;
        self.looked = Some(pid);
        let start = Instant::now();
        let changes = self.hosts.diff(crates).map_err(|error| text(&error))?;
        let how = How { force, catches_up: false };
        self.draft(changes, pid, ask, how, start.elapsed())
    }

    fn begin_first(
        &mut self,
        krate: &CrateObjects,
        pid: u32,
        ask: &mut dyn Ask,
    ) -> Result<Option<Change>, String> {
        self.look(pid, ask)?;
        self.looked = Some(pid);
        let start = Instant::now();
        let Some(changes) = self.hosts.diff_first(krate).map_err(|error| text(&error))? else {
            return Ok(None);
        };
        match self.prepare(changes, pid, ask, false, start.elapsed()) {
            Ok(Prepared::Patch(change)) => Ok(Some(change)),
            Ok(Prepared::Nothing(_)) => Ok(None),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    fn catch_up(
        &mut self,
        pid: u32,
        ask: &mut dyn Ask,
        force: bool,
    ) -> Result<(Verdict, Vec<String>), String> {
        let errors = self.look(pid, ask)?;
        self.looked = Some(pid);
        let start = Instant::now();
        let changes = self.hosts.behind().map_err(|error| text(&error))?;
        let how = How { force, catches_up: true };
        let verdict = self.draft(changes, pid, ask, how, start.elapsed())?;
        Ok((verdict, texts(&errors)))
    }

    fn link(&mut self, number: u32, pid: u32, ask: &mut dyn Ask) -> Result<Linked, Refusal> {
        // What was loaded a moment ago may be gone when a patch is linked once more.
        if self.looked.take_if(|looked| *looked == pid).is_none() {
            self.look(pid, ask).map_err(Refusal::Later)?;
        }
        let start = Instant::now();
        if let Some(step) = self.trail.ahead(pid, number) {
            let mut after = step.after.clone();
            after.set_pid(pid);
            let message = step.message.clone();
            self.linked.insert(pid, (after, message.clone()));
            let (resolve, write) = (Duration::ZERO, start.elapsed());
            return Ok(Linked { message, resolve, write, notes: Vec::new() });
        }
        let draft = self.next.as_ref().filter(|draft| draft.number == number);
        let draft = draft.ok_or_else(|| Refusal::Later(format!("patch {number} is not at hand any more")))?;
        let mut asking = Asking { ask, time: Duration::ZERO };
        let loaded = self.process(pid).map_err(Refusal::Later)?;
        let linked = self.hosts.link(draft, loaded, &mut asking).map_err(|error| refusal(&error))?;
        let write = start.elapsed().saturating_sub(asking.time);
        let message = ToProcess::Apply { patch: linked.patch };
        self.linked.insert(pid, (linked.loaded, message.clone()));
        Ok(Linked { message, resolve: asking.time, write, notes: Vec::new() })
    }

    fn refresh(&mut self, pid: u32, free_ranges: &[WireRange]) {
        if let Some(loaded) = self.processes.get_mut(&pid) {
            loaded.refresh(free_ranges);
        }
    }

    fn applied(&mut self, number: u32, pid: u32) {
        let Some((after, message)) = self.linked.remove(&pid) else { return };
        if let Some(before) = self.processes.insert(pid, after) {
            self.trail.add(pid, Step { number, message, before });
        }
    }

    fn commit(&mut self) {
        if let Some(draft) = self.next.take() {
            if self.history.last() != Some(&draft.number) {
                self.history.push(draft.number);
            }
            self.hosts.commit(draft);
        }
        self.linked.clear();
    }

    fn abandon(&mut self) {
        self.next = None;
        self.linked.clear();
    }

    fn current(&self) -> u32 {
        self.hosts.current()
    }

    fn history(&self) -> Vec<u32> {
        self.history.clone()
    }

    fn can_go_back_to(&self, patch: u32) -> bool {
        self.hosts.can_go_back_to(patch)
    }

    fn code_at(&self, pid: u32, address: RuntimeAddress) -> Option<CodeAt> {
        self.hosts.code_at(self.process(pid).ok()?, address)
    }

    fn rollback(&mut self, pid: u32, to: u32) -> Vec<SlotSet> {
        self.process(pid).map_or(Vec::new(), |loaded| self.hosts.rollback_slots(loaded, to))
    }

    fn commit_rollback(&mut self, to: u32) {
        self.history.retain(|&number| number <= to);
        self.trail.clear();
        self.processes.values_mut().for_each(|loaded| loaded.set_current(to));
        self.hosts.commit_rollback(to);
    }
}
