//! The patcher of processes that have dialled: patches are whole crates, callers are led by a jump table.

use crate::error::text;
use crate::patcher::{Ask, Change, Linked, Patcher, Refusal, Verdict};
use livepatch_build::diff::Diff;
use livepatch_build::library::{LibraryError, LibraryLink, WholePatch, WholeProcess, WholeProgram};
use livepatch_build::objects;
use livepatch_build::session::{BaseBuild, CodeAt, Counters, CrateObjects, EditPart, Session, UnitId};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::demangle;
use livepatch_proto::{BuildId, Hello, Origin, Redirected, Shim, SlotSet, ToProcess, WireRange};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reads the base build of a program whose processes dial; libraries are made in `folder`. May take a while.
pub(crate) fn open(
    program: &BaseBuild,
    folder: &Path,
    link: LibraryLink,
) -> Result<Box<dyn Patcher>, String> {
    let session = Session::open(program, folder).map_err(|error| text(&error))?;
    session.read_ahead();
    let whole = WholeProgram::new(&program.host, link, &program.link_inputs, folder);
    Ok(Box::new(Dialled {
        session,
        whole: whole.map_err(|error| text(&error))?,
        units: program.crates.iter().map(|krate| krate.unit.clone()).collect(),
        processes: HashMap::new(),
        linked: HashMap::new(),
        next: None,
        live: Vec::new(),
        taken_back: BTreeMap::new(),
    }))
}

struct Dialled {
    /// What is live, for the difference and the gate.
    session: Session,
    whole: WholeProgram,
    /// The crates of the program.
    units: HashSet<UnitId>,
    processes: HashMap<u32, WholeProcess>,
    /// Processes as they will be once they have applied what is next.
    linked: HashMap<u32, WholeProcess>,
    next: Option<Next>,
    /// The patches that lead to what is live, in order.
    live: Vec<Arc<Patch>>,
    /// The newest of the crates that a rollback has taken back.
    taken_back: BTreeMap<UnitId, CrateObjects>,
}

/// A patch, and the crates that it holds.
struct Patch {
    whole: WholePatch,
    crates: BTreeMap<UnitId, CrateObjects>,
}

/// What is to go live.
struct Next {
    patch: Arc<Patch>,
    diff: Diff,
}

impl Dialled {
    fn patch(&self, number: u32) -> Option<&Arc<Patch>> {
        let next = self.next.iter().map(|next| &next.patch);
        next.chain(&self.live).find(|patch| patch.whole.number == number)
    }

    /// All crates that were edited so far, with what a rebuild made of some of them.
    fn whole_patch(&self, rebuilt: &[CrateObjects], diff: &Diff) -> Result<Patch, String> {
        let Counters { highest, current, .. } = self.session.counters();
        let mut crates = self.live.last().map_or_else(BTreeMap::new, |patch| patch.crates.clone());
        crates.extend(rebuilt.iter().map(|krate| (krate.unit.clone(), krate.clone())));
        let paths = crates.values().flat_map(|krate| &krate.objects);
        let objects = paths.map(|path| objects::load(path).map_err(|error| text(&error)));
        let objects = objects.collect::<Result<_, _>>()?;
        let apart = diff.versioned.iter().cloned().collect();
        let renamed = diff.units.iter().flat_map(|(.., object)| object.image.renamed());
        let renamed = renamed.map(|(new, live)| (new.into(), live.into()));
        let before = self.live.last().into_iter().flat_map(|patch| patch.whole.renamed.clone());
        let renamed = before.chain(renamed).collect();
        let whole = WholePatch { number: highest + 1, predecessor: current, objects, apart, renamed };
        Ok(Patch { whole, crates })
    }

    /// The process with the patches that it has already: where they are in it.
    fn caught_up(&self, hello: &Hello) -> Result<WholeProcess, String> {
        let mut process = self.whole.process(hello).map_err(|error| text(&error))?;
        if hello.current != 0 && self.live.iter().all(|patch| patch.whole.number != hello.current) {
            return Err(format!("it is at patch {}, which is not live any more", hello.current));
        }
        for patch in self.live.iter().take_while(|patch| patch.whole.number <= hello.current) {
            process = process.link(&self.whole, &patch.whole).map_err(|error| text(&error))?.process;
        }
        Ok(process)
    }
}

impl Patcher for Dialled {
    fn assumptions(&self) -> Option<&'static str> {
        (!self.session.knows_types()).then_some(
            "without debug information (debug = 2 in the profile) it is not checked that types keep their \
             layout when they are edited: it is assumed",
        )
    }

    fn build_id(&self) -> BuildId {
        BuildId(self.whole.host().build_id().to_vec())
    }

    fn libraries(&self) -> Vec<BuildId> {
        Vec::new()
    }

    fn attach(&mut self, hello: &Hello) -> Result<Vec<String>, String> {
        if hello.origin != Origin::Dialled {
            return Err("it has not dialled by itself".into());
        }
        let process = self.caught_up(hello)?;
        self.processes.insert(hello.pid, process);
        Ok(Vec::new())
    }

    fn adopt(
        &mut self,
        _: &Hello,
        _: &[Redirected],
        _: &[Shim],
    ) -> Result<(Vec<SlotSet>, Vec<String>), String> {
        Err("processes that dial are not attached to".into())
    }

    fn detach(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.linked.remove(&pid);
    }

    fn begin(
        &mut self,
        crates: &[CrateObjects],
        _pid: u32,
        _ask: &mut dyn Ask,
        force: bool,
    ) -> Result<Verdict, String> {
        let start = Instant::now();
        // What a rollback has taken back of other crates is live again with it: the sources still say it.
        let is_old = |unit: &UnitId| crates.iter().any(|krate| krate.unit == *unit);
        let others = self.taken_back.iter().filter(|(unit, _)| !is_old(unit)).map(|(_, krate)| krate);
        let crates: &[CrateObjects] = &crates.iter().chain(others).cloned().collect::<Vec<_>>();
        if let Some(other) = crates.iter().find(|krate| !self.units.contains(&krate.unit)) {
            let reason =
                format!("`{}` is in a library of the program, which is not patched", other.crate_name);
            return Ok(Verdict::Restart { reason });
        }
        let mut diff = self.session.diff(crates).map_err(|error| text(&error))?;
        if !diff.unsound.is_empty() && !force {
            return Ok(Verdict::Restart { reason: diff.unsound.join("; ") });
        }
        if let Some(reason) = diff.restart.take() {
            return Ok(Verdict::Restart { reason });
        }
        let forced = std::mem::take(&mut diff.unsound);
        diff.notes.extend(forced.into_iter().map(|reason| format!("forced: {reason}")));
        if diff.is_empty() {
            let notes = diff.notes.clone();
            self.session.accept(diff, EditPart::Last);
            return Ok(Verdict::Unchanged { notes });
        }
        let patch = Arc::new(self.whole_patch(crates, &diff)?);
        let change = Change {
            number: patch.whole.number,
            functions: functions(&diff),
            versioned: diff.both_versions.clone(),
            notes: diff.notes.clone(),
            joining: Vec::new(),
            diff: start.elapsed(),
            resolve: Duration::ZERO,
        };
        self.next = Some(Next { patch, diff });
        Ok(Verdict::Patch(change))
    }

    fn begin_first(&mut self, _: &CrateObjects, _: u32, _: &mut dyn Ask) -> Result<Option<Change>, String> {
        // Patches are whole crates: one that others depend on is not left to itself.
        Ok(None)
    }

    fn catch_up(&mut self, _: u32, _: &mut dyn Ask, _: bool) -> Result<(Verdict, Vec<String>), String> {
        // There are no libraries to look after.
        Ok((Verdict::Unchanged { notes: Vec::new() }, Vec::new()))
    }

    fn link(&mut self, number: u32, pid: u32, _ask: &mut dyn Ask) -> Result<Linked, Refusal> {
        let start = Instant::now();
        let later = |reason: &str| Refusal::Later(reason.to_owned());
        let patch = self.patch(number).ok_or_else(|| later("the patch is not at hand any more"))?;
        let process = self.processes.get(&pid).ok_or_else(|| later("the process is not connected"))?;
        let linked = process.link(&self.whole, &patch.whole);
        let linked = linked.map_err(|error| match error {
            LibraryError::Io { .. } => Refusal::Later(text(&error)),
            error => Refusal::Restart(text(&error)),
        })?;
        let anew = linked.fresh.iter().map(|(name, why)| format!("`{name}` begins anew: {why}")).collect();
        self.linked.insert(pid, linked.process);
        let message = ToProcess::ApplyLibrary { patch: linked.patch };
        Ok(Linked { message, resolve: Duration::ZERO, write: start.elapsed(), notes: anew })
    }

    fn refresh(&mut self, _pid: u32, _free_ranges: &[WireRange]) {}

    fn applied(&mut self, _number: u32, pid: u32) {
        if let Some(process) = self.linked.remove(&pid) {
            self.processes.insert(pid, process);
        }
    }

    fn commit(&mut self) {
        if let Some(Next { patch, diff }) = self.next.take() {
            let number = patch.whole.number;
            let counters = self.session.counters();
            self.session.set_counters(Counters { highest: number, current: number, ..counters });
            self.session.accept(diff, EditPart::Last);
            self.taken_back.retain(|unit, _| !patch.crates.contains_key(unit));
            self.live.push(patch);
        }
        self.linked.clear();
    }

    fn abandon(&mut self) {
        self.next = None;
        self.linked.clear();
    }

    fn current(&self) -> u32 {
        self.session.current()
    }

    fn history(&self) -> Vec<u32> {
        self.live.iter().map(|patch| patch.whole.number).collect()
    }

    fn can_go_back_to(&self, patch: u32) -> bool {
        // All tables are still there.
        patch == 0 || self.live.iter().any(|live| live.whole.number == patch)
    }

    fn code_at(&self, _pid: u32, _address: RuntimeAddress) -> Option<CodeAt> {
        None
    }

    fn rollback(&mut self, _pid: u32, _to: u32) -> Vec<SlotSet> {
        // The table of that patch is still there.
        Vec::new()
    }

    fn commit_rollback(&mut self, to: u32) {
        if let Some(newest) = self.live.last().filter(|patch| patch.whole.number > to) {
            self.taken_back.extend(newest.crates.clone());
        }
        self.live.retain(|patch| patch.whole.number <= to);
        self.processes.values_mut().for_each(|process| process.roll_back(to));
        self.session.commit_rollback(to);
    }
}

/// The changed functions, demangled, each once: those that do something else first.
fn functions(diff: &Diff) -> Vec<String> {
    let mut names: Vec<(bool, String)> =
        diff.changed.iter().map(|change| (change.lines_only, demangle(change.new.name()))).collect();
    names.sort();
    let mut seen = HashSet::new();
    names.into_iter().map(|(_, name)| name).filter(|name| seen.insert(name.clone())).collect()
}
