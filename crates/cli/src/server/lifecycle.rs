//! Building with cargo, starting the program, ending it, starting it anew.

use super::{Ending, Message, Next, Server};
use crate::arguments::Via;
use crate::captured_build::Built;
use crate::child::Handle;
use crate::control::Answer;
use crate::dialled;
use crate::engine;
use crate::error::Failure;
use crate::events::{Event, milliseconds};
use crate::launch::{self, Caller, Invitation};
use crate::private_dir::random_name;
use crate::server::edits::Editing;
use crate::server::patching::Patching;
use livepatch_build::capture::Program;
use livepatch_build::library::LibraryLink;
use livepatch_build::rebuild::Rebuilder;
use livepatch_build::session::remove_stale_images;
use rustix::process::Signal;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// The name of the socket that processes dial.
pub(super) const SOCKET: &str = "process";

/// How long a program may take to end when it is asked to.
const END: Duration = Duration::from_secs(5);
/// How long the agent may take to call.
const CALL: Duration = Duration::from_secs(5);

/// A program that runs.
pub(super) struct Run {
    /// Which start this is, from 1.
    pub(super) start: u32,
    pub(super) program: Handle,
    /// The executable, as it was called.
    pub(super) executable: PathBuf,
    /// What it was built from.
    pub(super) program_files: Program,
    pub(super) editing: Editing,
    pub(super) patching: Patching,
    /// Whether processes dial by themselves: the first that does counts as the program.
    pub(super) dials: bool,
    /// The program has not called in time: it has no agent.
    pub(super) overdue: bool,
    /// The signal by which it was told that the program crashes.
    pub(super) crash_told: Option<i32>,
}

impl Run {
    /// Whether edits are for this process first.
    pub(super) fn is_program(&self, pid: u32) -> bool {
        match self.patching.peers.first() {
            first if self.dials => first.is_none_or(|first| first.pid == pid),
            _ => pid == self.program.pid,
        }
    }
}

/// Cargo at work.
pub(super) struct CargoJob {
    /// Why the program is to start anew; none for the first start.
    reason: Option<String>,
    /// Whether another edit could go live as a patch if this one cannot be built.
    is_fallback: bool,
    handle: Option<Handle>,
    replies: Vec<Sender<Answer>>,
}

/// A build that waits for the old program to end.
pub(super) struct Successor {
    built: Box<Built>,
    reason: String,
    replies: Vec<Sender<Answer>>,
}

impl Server {
    /// Lets cargo build, to start the program (anew) afterwards.
    pub(super) fn begin_cargo(&mut self, reason: Option<String>, replies: Vec<Sender<Answer>>) {
        if let Some(job) = &mut self.cargo {
            job.replies.extend(replies);
            return;
        }
        self.take_back_first_part();
        let Some(recipe) = self.recipe.clone() else { return self.refuse_restart(reason, replies) };
        if let Some(reason) = &reason {
            self.reporter.note(&format!("{reason}: building with cargo"));
        }
        if let Some(run) = &mut self.run {
            run.editing.cancel();
        }
        self.cargo = Some(CargoJob { reason, is_fallback: false, handle: None, replies });
        let (project, sender) = (self.project.clone(), self.sender.clone());
        std::thread::spawn(move || {
            let running = |handle| drop(sender.send(Message::CargoRuns(handle)));
            let result = recipe.build(&project, &running).map(Box::new);
            let _ = sender.send(Message::Cargo(result));
        });
    }

    /// Lets cargo build what cannot be a patch. If cargo cannot build it either, the next edit may be the cure,
    /// and be a patch.
    pub(super) fn fall_back_to_cargo(&mut self, reason: String) {
        self.begin_cargo(Some(reason), Vec::new());
        if let Some(job) = &mut self.cargo {
            job.is_fallback = true;
        }
    }

    pub(super) fn cargo_runs(&mut self, handle: Handle) {
        if let Some(job) = &mut self.cargo {
            // A signal may have come while cargo was being started.
            if self.signals > 0 {
                handle.signal(Signal::INT);
            }
            job.handle = Some(handle);
        }
    }

    pub(super) fn signal_cargo(&self, signal: Signal) {
        if let Some(handle) = self.cargo.as_ref().and_then(|job| job.handle.as_ref()) {
            handle.signal(signal);
        }
    }

    pub(super) fn cargo_ended(&mut self, result: Result<Box<Built>, Failure>) -> Next {
        let Some(job) = self.cargo.take() else { return Next::Continue };
        if self.stopping || (self.signals > 0 && self.run.is_none()) {
            return Next::End(if self.stopping { Ok(Ending::Asked) } else { Err(Failure::Interrupted) });
        }
        let built = match result {
            Ok(built) => built,
            Err(failure) if self.run.is_none() => return Next::End(Err(failure)),
            Err(failure) => {
                self.build_failed(job, &failure);
                return Next::Continue;
            }
        };
        self.needs_cargo = None;
        built.warnings.iter().for_each(|warning| self.reporter.warning(warning));
        self.reporter.event(&Event::Built { ms: milliseconds(built.took) });
        let Some(run) = &self.run else {
            return match self.start(*built) {
                Ok(pid) => {
                    self.reporter.event(&Event::Started { pid });
                    Next::Continue
                }
                Err(failure) => Next::End(Err(failure)),
            };
        };
        let reason = job.reason.unwrap_or_default();
        self.successor = Some(Successor { built, reason, replies: job.replies });
        run.program.signal(Signal::TERM);
        self.later(END, Message::EndOverdue(run.start));
        Next::Continue
    }

    /// Cargo cannot build what is there now: the program goes on. If it was cargo's to begin with, so is the
    /// next edit.
    fn build_failed(&mut self, job: CargoJob, failure: &Failure) {
        let said = match failure {
            Failure::Build { .. } => "cargo cannot build it".to_owned(),
            other => other.to_string(),
        };
        let reason = job.reason.unwrap_or_default();
        self.reporter
            .event(&Event::Rejected { reason: format!("{reason}; {said}"), diagnostics: Vec::new() });
        for reply in job.replies {
            let _ = reply.send(Answer::Refused { said: said.clone() });
        }
        self.needs_cargo = (!job.is_fallback).then_some(reason);
        self.retry_after_cargo();
    }

    /// Starts the program, and watches what it was made from. Returns its process id.
    fn start(&mut self, built: Built) -> Result<u32, Failure> {
        let socket = self.private.path().join(SOCKET);
        let caller = match (&self.agent, &self.dial) {
            (Some(agent), _) => Caller::Agent { agent, socket: &socket },
            (None, dial) => Caller::Itself { server: dial.as_ref().map_or("", |dial| &dial.server) },
        };
        let invitation = Invitation { caller, token: &self.token };
        let executable = built.start.executable();
        let (program, waiter) =
            launch::start(&built.start, built.through.as_ref(), &invitation, self.empty_stdin)
                .map_err(Failure::file("start", &executable))?;
        let pid = program.pid;
        let start = self.begin_run(program, executable, built.program)?;
        let sender = self.sender.clone();
        std::thread::spawn(move || drop(sender.send(Message::Ended(start, waiter.wait().map(Some)))));
        self.prune();
        Ok(pid)
    }

    /// Follows a program that runs from now on. Returns which start it is.
    pub(super) fn begin_run(
        &mut self,
        program: Handle,
        executable: PathBuf,
        files: Program,
    ) -> Result<u32, Failure> {
        self.starts += 1;
        let start = self.starts;
        let folders = &self.project.folders;
        self.tell_removed(&files);
        let (base, libraries) = files.base_builds();
        let (sender, patches) = (self.sender.clone(), folders.root().join("patches"));
        remove_stale(&patches);
        let patches = patches.join(random_name().map_err(Failure::system("cannot read random bytes"))?);
        let dials = self.dial.is_some();
        let link = match self.via {
            Via::Image => Ok(None),
            Via::Library | Via::Linker => {
                LibraryLink::of_program(&files, folders).map(Some).map_err(|e| e.to_string())
            }
        };
        std::thread::spawn(move || {
            let opened = link.and_then(|link| match link {
                Some(link) if dials => dialled::open(&base, &patches, link),
                link => engine::open(&base, libraries, &patches, link),
            });
            drop(sender.send(Message::Opened(start, opened)))
        });
        let rebuilder = Rebuilder::new(&files, folders)
            .inspect_err(|_| program.signal(Signal::TERM))
            .map_err(Failure::file("prepare", &folders.rebuilds()))?;
        self.watch_all(&rebuilder);
        let changed = rebuilder.changed_since_capture();
        let editing = Editing::new(rebuilder, changed);
        let patching = Patching::default();
        let (overdue, crash_told) = (false, None);
        self.run = Some(Run {
            start,
            program,
            executable,
            program_files: files,
            editing,
            patching,
            dials,
            overdue,
            crash_told,
        });
        self.later(CALL, Message::Overdue(start));
        self.go_on_editing();
        Ok(start)
    }

    /// Tells, at the first start, what the linker was not told.
    fn tell_removed(&self, program: &Program) {
        let removed = &program.executable.removed;
        if self.starts == 1 && !removed.is_empty() {
            self.reporter.note(&format!("the linker was called without {}", removed.join(" ")));
        }
    }

    /// Removes what earlier builds left, aside.
    fn prune(&self) {
        if let Some(run) = &self.run {
            let (program, folders) = (run.program_files.clone(), self.project.folders.clone());
            std::thread::spawn(move || program.prune(&folders));
        }
    }

    pub(super) fn agent_overdue(&mut self, start: u32) {
        let Some(run) = self.run.as_mut().filter(|run| run.start == start) else { return };
        if run.patching.peers.is_empty() && run.patching.lost.is_none() {
            if run.dials {
                return self.reporter.warning("no program has dialled so far: edits go live when one does");
            }
            run.overdue = true;
            if self.is_attached() {
                let (what, hint) = ("the agent has not called", "the program may be stopped, or have ended");
                return self.end(Err(Failure::Unsupported { what: what.into(), hint: hint.into() }));
            }
            self.reporter.warning(
                "the program has not called: edits cannot go live in it, they start it anew (see `cargo livepatch doctor`)",
            );
            self.offer();
        }
    }

    pub(super) fn end_overdue(&mut self, start: u32) {
        if let Some(run) = self.run.as_ref().filter(|run| run.start == start) {
            run.program.signal(Signal::KILL);
        }
    }

    pub(super) fn ended(&mut self, start: u32, status: io::Result<Option<ExitStatus>>) -> Next {
        if self.run.as_ref().is_none_or(|run| run.start != start) {
            return Next::Continue;
        }
        let status = match status.map_err(Failure::system("cannot wait for the program")) {
            Ok(status) => status,
            Err(failure) => return Next::End(Err(failure)),
        };
        let mut crash = None;
        if let Some(mut run) = self.run.take() {
            run.editing.cancel();
            crash = run.crash_told;
            if run.dials {
                // They dial again, and hear whether what comes next is theirs.
                run.patching.hang_up();
            }
            if let (None, Some(status)) = (crash, status) {
                self.tell_crash_by_status(run.program.pid, status);
            }
        }
        let Some(status) = status else {
            self.reporter.event(&Event::Exited { status: crash.map(|signal| 128 + signal) });
            return Next::End(Ok(Ending::Asked));
        };
        if let Some(successor) = self.successor.take()
            && self.signals == 0
            && !self.stopping
        {
            return self.succeed(successor);
        }
        self.signal_cargo(Signal::INT);
        self.reporter.event(&Event::Exited { status: Some(crate::signals::exit_code(status)) });
        Next::End(Ok(if self.stopping { Ending::Asked } else { Ending::AsProgram(status) }))
    }

    fn succeed(&mut self, successor: Successor) -> Next {
        match self.start(*successor.built) {
            Ok(pid) => {
                let reason = successor.reason;
                for reply in successor.replies {
                    let _ = reply.send(Answer::Done { said: format!("started anew as process {pid}") });
                }
                self.reporter.event(&Event::Restarted { reason, pid });
                Next::Continue
            }
            Err(failure) => Next::End(Err(failure)),
        }
    }
}

/// Removes the images of earlier sessions, but for those of programs that still run: debuggers read them.
fn remove_stale(patches: &Path) {
    for session in std::fs::read_dir(patches).into_iter().flatten().flatten() {
        remove_stale_images(&session.path());
        // Only if nothing is left in it.
        let _ = std::fs::remove_dir(session.path());
    }
}
