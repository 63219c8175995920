//! The patcher that makes real patches: a session of `livepatch-build` and the processes in it.

use crate::patcher::{Ask, Change, Linked, Patcher, Refusal, Verdict};
use livepatch_build::process::Process;
use livepatch_build::resolve::{Lookup, LookupError, ResolveError};
use livepatch_build::session::{BaseBuild, CodeAt, CrateObjects, Draft, PatchError, Session};
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::{BuildId, Hello, Origin, SlotSet, WireRange};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Reads the base build; patch images go into `folder`. May take a while.
pub(crate) fn open(base: &BaseBuild, folder: &Path) -> Result<Box<dyn Patcher>, String> {
    Ok(Box::new(Engine::open(base, folder)?))
}

/// A session and its processes.
struct Engine {
    session: Session,
    processes: HashMap<u32, Process>,
    /// What is to go live next.
    next: Option<Draft>,
    /// Processes as they will be once they have applied it.
    linked: HashMap<u32, Process>,
    history: Vec<u32>,
}

impl Engine {
    fn open(base: &BaseBuild, folder: &Path) -> Result<Self, String> {
        let session = Session::open(base, folder).map_err(|error| text(&error))?;
        session.read_ahead();
        Ok(Self {
            session,
            processes: HashMap::new(),
            next: None,
            linked: HashMap::new(),
            history: Vec::new(),
        })
    }

    fn process(&self, pid: u32) -> Result<&Process, String> {
        self.processes.get(&pid).ok_or_else(|| format!("process {pid} is not connected"))
    }
}

/// An error with its causes, as one line.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Asks a process, counting the time.
struct Asking<'a> {
    ask: &'a mut dyn Ask,
    time: Duration,
}

impl Lookup for Asking<'_> {
    fn addresses(&mut self, names: &[String]) -> Result<Vec<Option<RuntimeAddress>>, LookupError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let start = Instant::now();
        let answer = self.ask.addresses(names).map_err(LookupError)?;
        self.time += start.elapsed();
        Ok(answer.into_iter().map(|address| address.map(|address| RuntimeAddress(address.0))).collect())
    }
}

/// What an error means for the edit: most are gone once the program was linked and started anew.
fn refusal(error: &PatchError) -> Refusal {
    match error {
        PatchError::Resolve(ResolveError::Load(_) | ResolveError::Lookup(_))
        | PatchError::Load(_)
        | PatchError::Lookup(_)
        | PatchError::Store { .. } => Refusal::Later(text(error)),
        _ => Refusal::Restart(text(error)),
    }
}

impl Patcher for Engine {
    fn assumptions(&self) -> Option<&'static str> {
        (!self.session.knows_types()).then_some(
            "without debug information (debug = 2 in the profile) it is not checked that types keep their \
             layout when they are edited: it is assumed",
        )
    }

    fn build_id(&self) -> BuildId {
        BuildId(self.session.host().build_id().to_vec())
    }

    fn attach(&mut self, hello: &Hello) -> Result<(), String> {
        let mut process = match hello.origin {
            Origin::Forked { parent } => {
                let parent = self.processes.get(&parent).filter(|parent| parent.current == hello.current);
                parent.cloned().ok_or("its parent has gone on meanwhile: it stays as it is")?
            }
            Origin::Started if hello.current == self.session.current() => {
                Process::new(hello, self.session.host()).map_err(|error| text(&error))?
            }
            Origin::Started => return Err("it is older than the patches: it stays as it is".into()),
        };
        process.pid = hello.pid;
        process.refresh(&hello.free_ranges);
        self.processes.insert(hello.pid, process);
        Ok(())
    }

    fn detach(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.linked.remove(&pid);
    }

    fn begin(
        &mut self,
        crates: &[CrateObjects],
        pid: u32,
        ask: &mut dyn Ask,
        force: bool,
    ) -> Result<Verdict, String> {
        let start = Instant::now();
        let mut diff = self.session.diff(crates).map_err(|error| text(&error))?;
        let unsound = std::mem::take(&mut diff.unsound);
        if !unsound.is_empty() && !force {
            return Ok(Verdict::Restart { reason: unsound.join("; ") });
        }
        if let Some(reason) = diff.restart {
            return Ok(Verdict::Restart { reason });
        }
        diff.notes.extend(unsound.into_iter().map(|reason| format!("forced: {reason}")));
        let time = start.elapsed();
        if diff.changed.is_empty() {
            let notes = diff.notes.clone();
            self.session.accept(diff);
            return Ok(Verdict::Unchanged { notes });
        }
        let start = Instant::now();
        let process = self.processes.get(&pid).ok_or_else(|| format!("process {pid} is not connected"))?;
        let mut asking = Asking { ask, time: Duration::ZERO };
        let draft = match self.session.prepare(diff, process, &mut asking) {
            Ok(draft) => draft,
            Err(error) => {
                return match refusal(&error) {
                    Refusal::Restart(reason) => Ok(Verdict::Restart { reason }),
                    Refusal::Later(reason) => Err(reason),
                };
            }
        };
        if draft.is_empty() {
            let notes = draft.notes().cloned().collect();
            self.session.accept(draft.into_diff());
            return Ok(Verdict::Unchanged { notes });
        }
        let change = Change {
            number: draft.number,
            functions: draft.functions(),
            versioned: draft.versioned().to_vec(),
            notes: draft.notes().cloned().collect(),
            diff: time,
            resolve: start.elapsed(),
        };
        self.next = Some(draft);
        Ok(Verdict::Patch(change))
    }

    fn link(&mut self, number: u32, pid: u32, ask: &mut dyn Ask) -> Result<Linked, Refusal> {
        let start = Instant::now();
        let draft = self.next.as_ref().filter(|draft| draft.number == number);
        let draft = draft.ok_or_else(|| Refusal::Later(format!("patch {number} is not at hand any more")))?;
        let mut asking = Asking { ask, time: Duration::ZERO };
        let process = self.process(pid).map_err(Refusal::Later)?;
        let linked = self.session.link(draft, process, &mut asking).map_err(|error| refusal(&error))?;
        self.linked.insert(pid, linked.process);
        let write = start.elapsed().saturating_sub(asking.time);
        Ok(Linked { patch: linked.patch, resolve: asking.time, write })
    }

    fn refresh(&mut self, pid: u32, free_ranges: &[WireRange]) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.refresh(free_ranges);
        }
    }

    fn applied(&mut self, _number: u32, pid: u32) {
        if let Some(process) = self.linked.remove(&pid) {
            self.processes.insert(pid, process);
        }
    }

    fn commit(&mut self) {
        if let Some(draft) = self.next.take() {
            self.history.push(draft.number);
            self.session.commit(draft);
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
        self.history.clone()
    }

    fn code_at(&self, pid: u32, address: RuntimeAddress) -> Option<CodeAt> {
        self.session.code_at(self.process(pid).ok()?, address)
    }

    fn rollback(&mut self, pid: u32, to: u32) -> Vec<SlotSet> {
        self.process(pid).map_or(Vec::new(), |process| self.session.rollback_slots(process, to))
    }

    fn commit_rollback(&mut self, to: u32) {
        self.history.retain(|&number| number <= to);
        for process in self.processes.values_mut() {
            process.current = to;
        }
        self.session.commit_rollback(to);
    }
}
