//! From rebuilt crates to the processes.

use super::libraries::Age;
use super::{Message, Server};
use crate::arguments::OnUnsound;
use crate::error::Failure;
use crate::events::{Event, Steps, milliseconds};
use crate::patcher::{Change, Patcher, Refusal, Verdict};
use crate::processes::{News, Process};
use crate::server::attached::Leftover;
use crate::server::parts::Parts;
use livepatch_build::rebuild::Rebuilt;
use livepatch_build::session::{CrateObjects, UnitId};
use livepatch_proto::{ApplyError, FromProcess, Hello, LogLevel, ToProcess};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime};

/// How long a process whose connection ended may take to be gone.
const GONE: Duration = Duration::from_millis(200);

/// How often a patch is made anew for another place when the process has something at the first.
const PLACES: u32 = 3;

/// How often a stopped program is looked at.
const STOPPED: Duration = Duration::from_millis(100);

/// What is needed to patch, and what waits for it.
#[derive(Default)]
pub(super) struct Patching {
    /// None until the base build was read.
    pub(super) patcher: Option<Box<dyn Patcher>>,
    /// Why there will be none.
    pub(super) broken: Option<String>,
    /// Why the program, which was connected, is so no more.
    pub(super) lost: Option<String>,
    /// What earlier sessions left live in the program, which somebody else has started.
    pub(super) leftover: Option<Leftover>,
    /// Edits that go live in parts.
    pub(super) parts: Parts,
    /// The program is stopped, and is looked at again later.
    waits: bool,
    /// Processes that have called and that the patcher knows, the program itself first.
    pub(super) peers: Vec<Process>,
    /// Processes that called before the base build was read.
    callers: Vec<(Process, Box<Hello>)>,
    /// Warnings about libraries that were told.
    pub(super) warned: BTreeSet<String>,
    /// The program's first call was told.
    announced: bool,
    /// Rebuilt crates that are not live.
    pub(super) offered: BTreeMap<UnitId, CrateObjects>,
    rustc: Duration,
    written: Option<SystemTime>,
}

impl Patching {
    /// Ends all connections.
    pub(super) fn hang_up(&mut self) {
        let callers = self.callers.drain(..).map(|(process, _)| process);
        self.peers.drain(..).chain(callers).for_each(Process::hang_up);
    }

    /// Says goodbye to all processes.
    pub(super) fn dismiss(&mut self) {
        let callers = self.callers.drain(..).map(|(process, _)| process);
        self.peers.drain(..).chain(callers).for_each(Process::dismiss);
    }
}

/// How the processes took a patch.
struct Applied {
    notes: Vec<String>,
    resolve: Duration,
    write: Duration,
    apply: Duration,
}

impl Server {
    pub(super) fn opened(&mut self, start: u32, result: Result<Box<dyn Patcher>, String>) {
        let otherwise = self.otherwise();
        let Some(run) = self.run.as_mut().filter(|run| run.start == start) else { return };
        match result {
            Ok(patcher) => {
                patcher.assumptions().into_iter().for_each(|note| self.reporter.note(note));
                run.patching.patcher = Some(patcher);
            }
            Err(error) => {
                self.reporter.warning(&format!("edits cannot go live, {otherwise}: {error}"));
                run.patching.broken = Some(error);
            }
        }
        for (process, hello) in std::mem::take(&mut run.patching.callers) {
            self.connect(process, &hello);
        }
        self.offer();
    }

    pub(super) fn news(&mut self, news: News) {
        match news {
            News::Connected(process, hello) => self.connect(process, &hello),
            News::Refused { reason } => self.reporter.warning(&format!("refused a connection: {reason}")),
            News::Log { pid, level, text } => match level {
                LogLevel::Info => {}
                LogLevel::Warning | LogLevel::Error => {
                    self.reporter.warning(&format!("process {pid}: {text}"))
                }
            },
            News::Loaded { pid, ticket } => self.loaded(pid, ticket),
            News::Crashed(crashed) => self.crashed(&crashed),
            News::Gone { pid, connection } => {
                let Some(run) = &mut self.run else { return };
                let is_it = |process: &Process| (process.pid, process.connection) == (pid, connection);
                let patching = &mut run.patching;
                let known = patching.peers.iter().chain(patching.callers.iter().map(|(p, _)| p)).any(is_it);
                patching.callers.retain(|(caller, _)| !is_it(caller));
                let dials = run.dials;
                if known {
                    self.drop_peer(pid);
                }
                // Who dials by itself dials again.
                if known && !dials {
                    self.later(GONE, Message::CheckGone(pid));
                }
            }
        }
    }

    fn drop_peer(&mut self, pid: u32) {
        let Some(run) = &mut self.run else { return };
        run.patching.peers.retain(|peer| peer.pid != pid);
        if let Some(patcher) = &mut run.patching.patcher {
            patcher.detach(pid);
        }
    }

    /// A process that lives on without its connection may be another program by now.
    pub(super) fn check_gone(&mut self, pid: u32) {
        let Some(run) = &mut self.run else { return };
        let (Ok(now), Ok(host)) = (
            std::fs::metadata(format!("/proc/{pid}/exe")),
            std::fs::metadata(&run.program_files.executable.file),
        ) else {
            return;
        };
        let same = (now.dev(), now.ino()) == (host.dev(), host.ino());
        let what = if same { "has ended its connection" } else { "replaced itself (exec)" };
        let what = format!("process {pid} {what}");
        self.reporter.warning(&format!("{what}: it is not patched any more"));
        if pid == run.program.pid {
            run.patching.lost = Some(what);
            self.offer();
        }
    }

    fn connect(&mut self, mut process: Process, hello: &Hello) {
        let Some(run) = &mut self.run else {
            // Who dials before there is a program dials again.
            return if self.dial.is_some() { process.hang_up() } else { process.dismiss() };
        };
        let (pid, main) = (process.pid, run.is_program(process.pid));
        let patching = &mut run.patching;
        let Some(patcher) = &mut patching.patcher else {
            if patching.broken.is_none() {
                patching.callers.push((process, Box::new(hello.clone())));
                self.announce(pid);
            }
            return;
        };
        if let Some(linker) = &self.linker {
            process.load_through(linker.clone());
        }
        let adopted = main && self.recipe.is_none();
        let taken = if adopted { self.adopt(&mut process, hello) } else { patcher.attach(hello) };
        let warnings = match taken {
            Ok(warnings) => warnings,
            Err(error) => {
                let what = format!("process {pid} cannot be patched: {error}");
                if adopted {
                    let hint = "start it anew with `cargo livepatch run`".into();
                    self.end(Err(Failure::Unsupported { what, hint }));
                } else {
                    self.reporter.warning(&what);
                }
                return process.dismiss();
            }
        };
        let patcher = self.run.as_ref().and_then(|run| run.patching.patcher.as_ref());
        let libraries = patcher.map(|patcher| patcher.libraries()).unwrap_or_default();
        if !libraries.is_empty() {
            process.watch_for(libraries);
        }
        let Some(run) = &mut self.run else { return };
        let patching = &mut run.patching;
        patching.peers.retain(|peer| peer.pid != pid);
        let at = if main { 0 } else { patching.peers.len() };
        patching.peers.insert(at, process);
        run.overdue = false;
        if main {
            run.patching.lost = None;
        }
        let quiet = !run.editing.is_building() && run.patching.offered.is_empty();
        self.announce(pid);
        self.warn_once(warnings);
        if adopted {
            if quiet {
                self.supersede_at_once();
            }
        } else {
            self.catch_up(pid, hello.current);
        }
        self.bring_up_to_date(pid, Age::Older);
        self.offer();
    }

    /// Tells, once, that edits of the program itself go live.
    fn announce(&mut self, pid: u32) {
        if let Some(run) = self.run.as_mut().filter(|run| run.is_program(pid))
            && !std::mem::replace(&mut run.patching.announced, true)
        {
            self.reporter.event(&Event::Ready { pid });
        }
    }

    /// Gives a process the patches that it lacks, in order.
    fn catch_up(&mut self, pid: u32, at: u32) {
        let Some(patcher) = self.run.as_ref().and_then(|run| run.patching.patcher.as_ref()) else { return };
        for number in patcher.history().into_iter().filter(|&number| number > at) {
            if let Err(error) = self.apply(number, pid) {
                self.reporter.warning(&format!("process {pid} stays at an earlier patch: {error}"));
                return self.drop_peer(pid);
            }
        }
    }

    /// Takes in what a rebuild made.
    pub(super) fn take_in(&mut self, rebuilt: Rebuilt, written: SystemTime) {
        let Some(run) = &mut self.run else { return };
        let patching = &mut run.patching;
        patching.offered.extend(rebuilt.crates.into_iter().map(|krate| (krate.unit.clone(), krate)));
        patching.rustc = rebuilt.rustc;
        patching.written = Some(written);
        self.offer();
    }

    /// Makes what was rebuilt live, if everything is there for it.
    pub(super) fn offer(&mut self) {
        let Some(run) = &mut self.run else { return };
        if self.cargo.is_some() || self.successor.is_some() || run.patching.offered.is_empty() {
            return;
        }
        let impossible = run.patching.broken.clone().or_else(|| run.patching.lost.clone());
        let impossible =
            impossible.or_else(|| run.overdue.then(|| "there is no agent in the program".into()));
        if let Some(reason) = impossible {
            return self.begin_cargo(Some(reason), Vec::new());
        }
        let (program, dials) = (run.program.pid, run.dials);
        let patching = &mut run.patching;
        let peer = patching.peers.first_mut().filter(|peer| dials || peer.pid == program);
        let (Some(patcher), Some(peer)) = (&mut patching.patcher, peer) else { return };
        if peer.is_stopped() {
            return self.wait_until_it_goes_on();
        }
        let crates: Vec<CrateObjects> = patching.offered.values().cloned().collect();
        let force = self.on_unsound == OnUnsound::Force;
        match patcher.begin(&crates, peer.pid, peer, force) {
            Ok(Verdict::Unchanged { notes }) => {
                patching.offered.clear();
                let edit = patching.parts.complete(None);
                self.reporter.event(&Event::Unchanged { edit, notes });
                self.supersede_at_once();
            }
            Ok(Verdict::Restart { reason }) => self.unsound(reason),
            Ok(Verdict::Patch(change)) => self.patch(change),
            Err(reason) => self.refused(Refusal::Later(reason)),
        }
    }

    /// Looks at a program that is stopped again, until it goes on.
    pub(super) fn wait_until_it_goes_on(&mut self) {
        let Some(run) = &mut self.run else { return };
        if !std::mem::replace(&mut run.patching.waits, true) {
            let (start, program) = (run.start, run.program.pid);
            self.reporter.note(&format!("process {program} is stopped: edits go live when it goes on"));
            self.later(STOPPED, Message::Stopped(start));
        }
    }

    /// Looks again at a program that was stopped.
    pub(super) fn stopped(&mut self, start: u32) {
        let Some(run) = self.run.as_mut().filter(|run| run.start == start) else { return };
        if run.patching.peers.first().is_some_and(Process::is_stopped) {
            self.later(STOPPED, Message::Stopped(start));
        } else {
            run.patching.waits = false;
            self.settle_debt();
            self.offer();
        }
    }

    /// Makes an edit live.
    fn patch(&mut self, mut change: Change) {
        let (mut steps, more) = match self.apply_everywhere(&change) {
            Ok(applied) => applied,
            Err(refusal) => return self.refused(refusal),
        };
        let Some(run) = &mut self.run else { return };
        let patching = &mut run.patching;
        patching.offered.clear();
        steps.rustc = milliseconds(patching.rustc);
        steps.diff = milliseconds(change.diff);
        let since =
            patching.written.take().and_then(|written| SystemTime::now().duration_since(written).ok());
        steps.total = milliseconds(since.unwrap_or_default());
        let edit = patching.parts.complete(Some(change.number)).unwrap_or(change.number);
        change.notes.extend(more);
        self.reporter.event(&patched(change, edit, false, steps));
    }

    /// Applies what the patcher has begun: in the program, then in what it forked. Where the program refuses,
    /// nothing has changed. Returns what it took there, and what the user should know of it.
    pub(super) fn apply_everywhere(&mut self, change: &Change) -> Result<(Steps, Vec<String>), Refusal> {
        if let Err(reason) = self.supersede() {
            self.abandon();
            return Err(Refusal::Later(reason));
        }
        let peers = self.run.iter().flat_map(|run| &run.patching.peers);
        let pids: Vec<u32> = peers.map(|peer| peer.pid).collect();
        let (mut steps, mut notes) = (Steps::default(), Vec::new());
        for (index, &pid) in pids.iter().enumerate() {
            match self.apply(change.number, pid) {
                Ok(applied) if index == 0 => {
                    steps.resolve = milliseconds(change.resolve + applied.resolve);
                    steps.write = milliseconds(applied.write);
                    steps.apply = milliseconds(applied.apply);
                    notes = applied.notes;
                }
                Ok(_) => {}
                Err(refusal) if index == 0 => {
                    self.abandon();
                    return Err(refusal);
                }
                Err(reason) => {
                    self.reporter.warning(&format!("process {pid} stays at an earlier patch: {reason}"));
                    self.drop_peer(pid);
                }
            }
        }
        if let Some(patcher) = self.run.as_mut().and_then(|run| run.patching.patcher.as_mut()) {
            patcher.commit();
        }
        Ok((steps, notes))
    }

    fn abandon(&mut self) {
        if let Some(patcher) = self.run.as_mut().and_then(|run| run.patching.patcher.as_mut()) {
            patcher.abandon();
        }
    }

    /// The edit cannot go live in this process.
    pub(super) fn unsound(&mut self, reason: String) {
        self.take_back_first_part();
        if self.on_unsound == OnUnsound::Refuse {
            let reason = format!("{reason}: it needs a restart");
            self.reporter.event(&Event::Rejected { reason, diagnostics: Vec::new() });
        } else {
            self.fall_back_to_cargo(reason);
        }
    }

    /// The program did not take a patch: it goes on as it was, or is started anew with the edit.
    fn refused(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Restart(reason) => self.unsound(reason),
            Refusal::Later(reason) => {
                self.take_back_first_part();
                self.reporter.event(&Event::Rejected { reason, diagnostics: Vec::new() });
            }
        }
    }

    fn apply(&mut self, number: u32, pid: u32) -> Result<Applied, Refusal> {
        let later = |reason: &str| Refusal::Later(reason.to_owned());
        let patching = self.run.as_mut().map(|run| &mut run.patching).ok_or_else(|| later("nothing runs"))?;
        let peer = patching.peers.iter_mut().find(|peer| peer.pid == pid);
        let peer = peer.ok_or_else(|| later("the process is gone"))?;
        let patcher = patching.patcher.as_mut().ok_or_else(|| later("the base build was not read"))?;
        let mut tries = 1..=PLACES;
        loop {
            let linked = patcher.link(number, pid, peer).inspect_err(|_| peer.unload())?;
            let sent = Instant::now();
            let answer = peer.ask(&linked.message).map_err(Refusal::Later)?;
            if let FromProcess::Failed { .. } = &answer {
                peer.unload();
            }
            match answer {
                FromProcess::Applied { patch, .. } if patch == number => {
                    patcher.applied(number, pid);
                    let notes = linked.notes;
                    return Ok(Applied {
                        notes,
                        resolve: linked.resolve,
                        write: linked.write,
                        apply: sent.elapsed(),
                    });
                }
                FromProcess::Failed {
                    error:
                        ApplyError::ImagePlacedElsewhere { free_ranges, .. }
                        | ApplyError::IslandOccupied { free_ranges, .. },
                } if tries.next().is_some() => patcher.refresh(pid, &free_ranges),
                // A library went meanwhile: what is left is linked anew.
                FromProcess::Failed { error: ApplyError::ModuleGone { .. } } if tries.next().is_some() => {}
                FromProcess::Failed { error: error @ ApplyError::Traced { .. } } => {
                    return Err(Refusal::Later(error.to_string()));
                }
                FromProcess::Failed { error } => return Err(Refusal::Restart(error.to_string())),
                other => return Err(Refusal::Restart(format!("the process answered {other:?}"))),
            }
        }
    }

    /// Goes back to an earlier patch, in all processes.
    pub(super) fn roll_back(&mut self, to: Option<u32>) -> Result<u32, String> {
        if matches!(to, None | Some(0))
            && self.run.as_ref().is_some_and(|run| run.patching.leftover.is_some())
        {
            self.supersede()?;
            self.reporter.event(&Event::RolledBack { to: 0 });
            return Ok(0);
        }
        let run = self.run.as_mut().ok_or("nothing runs")?;
        let Some(patcher) = &mut run.patching.patcher else { return Err("no patch is live".into()) };
        let current = patcher.current();
        let mut history = patcher.history();
        history.retain(|&number| !run.patching.parts.is_part(number));
        let before = history.iter().copied().filter(|&number| number < current).max().unwrap_or(0);
        let to = to.unwrap_or(before);
        if current == 0 {
            return Err("no patch is live".into());
        }
        if run.patching.parts.is_part(to) {
            return Err(format!("patch {to} is a part of an edit, which is taken back as a whole"));
        }
        if to >= current || (to != 0 && !history.contains(&to)) {
            return Err(format!("patch {to} is not before patch {current}, which is live"));
        }
        if !patcher.can_go_back_to(to) {
            return Err(format!("patch {to} is too far back: only the newest can be gone back to, or 0"));
        }
        self.go_back(to)
    }

    /// The same, where that is one to go back to.
    pub(super) fn go_back(&mut self, to: u32) -> Result<u32, String> {
        let run = self.run.as_mut().ok_or("nothing runs")?;
        let first = run.patching.peers.first().map(|peer| peer.pid).filter(|&pid| run.is_program(pid));
        let Some(patcher) = &mut run.patching.patcher else { return Err("no patch is live".into()) };
        let current = patcher.current();
        if let Some(peer) = run.patching.peers.first().filter(|peer| peer.is_stopped()) {
            return Err(format!("process {} is stopped", peer.pid));
        }
        let mut lost = Vec::new();
        for peer in &mut run.patching.peers {
            let question = ToProcess::Rollback { to, from: current, slots: patcher.rollback(peer.pid, to) };
            let refused = match peer.ask(&question) {
                Ok(FromProcess::RolledBack { .. }) => continue,
                Ok(FromProcess::Failed { error }) => error.to_string(),
                Ok(other) => format!("the process answered {other:?}"),
                Err(error) => error,
            };
            if Some(peer.pid) == first {
                return Err(refused);
            }
            lost.push((peer.pid, refused));
        }
        patcher.commit_rollback(to);
        run.patching.parts.abandon();
        for (pid, error) in lost {
            self.reporter.warning(&format!("process {pid} stays at patch {current}: {error}"));
            self.drop_peer(pid);
        }
        self.reporter.event(&Event::RolledBack { to });
        self.bring_all_up_to_date();
        Ok(to)
    }
}

/// The event that says that a patch is live.
pub(super) fn patched(change: Change, edit: u32, more: bool, ms: Steps) -> Event {
    let Change { number: patch, functions, versioned, notes, .. } = change;
    Event::Patched { patch, edit, more, functions, versioned, notes, ms }
}
