//! A program that somebody else has started: coming into it, leaving it, and what is not ours to do to it.
//!
//! What an earlier session made of it stays live until it can be replaced: its patches are not known here,
//! but the functions that they redirected are, by what the agent remembers. So the program goes back to the
//! code that it was built with in the moment in which the first patch of this session goes live, or at once
//! if there is nothing to patch.

use super::{Ending, Message, Server};
use crate::attach::{self, Target};
use crate::child::Handle;
use crate::control::Answer;
use crate::error::Failure;
use crate::events::{Event, milliseconds};
use crate::server::lifecycle::SOCKET;
use crate::{agent, processes};
use livepatch_proto::{FromProcess, Hello, SlotSet, ToProcess};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;

/// What earlier sessions left live in the program.
pub(super) struct Leftover {
    /// The patch that the agent is at, by the count of the session that made it.
    current: u32,
    /// Where slots point for it to be live no more.
    slots: Vec<SlotSet>,
}

impl Server {
    /// Comes into a program, and follows it from then on.
    pub(super) fn attach_to(&mut self, pid: u32) -> Result<(), Failure> {
        let target = Target::find(pid, &self.project)?;
        let pid = target.pid;
        self.reporter
            .note(&format!("process {pid} runs {}", self.reporter.path(&target.executable).display()));
        let gone = |error: Errno| Failure::system(format!("cannot watch process {pid}"))(error.into());
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| gone(Errno::SRCH))?;
        let process = pidfd_open(process, PidfdFlags::empty()).map_err(gone)?;
        let agent = agent::path(&self.project.folders).map_err(Failure::system("cannot write the agent"))?;
        let socket = self.private.path().join(SOCKET);
        let arrival = attach::invite(&target, &agent, &socket, &self.token)?;
        self.reporter.event(&Event::Attached {
            pid,
            loaded: arrival.loaded,
            thread: arrival.call.thread,
            place: arrival.call.place,
            ms: milliseconds(arrival.call.took),
        });
        let start = self.begin_run(Handle::of_stranger(pid), target.executable, target.program)?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            wait(&process);
            let _ = sender.send(Message::Ended(start, Ok(None)));
        });
        Ok(())
    }

    /// Whether somebody else has started the program.
    pub(super) fn is_attached(&self) -> bool {
        self.recipe.is_none()
    }

    /// What becomes of edits that cannot go live.
    pub(super) fn otherwise(&self) -> &'static str {
        if self.is_attached() { "they are refused" } else { "they start the program anew" }
    }

    /// A restart would be somebody else's to do.
    pub(super) fn refuse_restart(&mut self, reason: Option<String>, replies: Vec<Sender<Answer>>) {
        let why = "livepatch did not start this program, so it does not start it anew";
        if replies.is_empty() {
            let reason = reason.map_or(why.to_owned(), |reason| format!("{reason}; {why}"));
            self.reporter.event(&Event::Rejected { reason, diagnostics: Vec::new() });
        }
        for reply in replies {
            let _ = reply.send(Answer::Refused { said: why.into() });
        }
    }

    /// Leaves the program as it is.
    pub(super) fn detach(&mut self) -> Answer {
        if !self.is_attached() {
            let said = "the session has started this program: `cargo livepatch stop` ends both";
            return Answer::Refused { said: said.into() };
        }
        self.take_back_first_part();
        let Some(run) = &mut self.run else { return Answer::Refused { said: "nothing runs".into() } };
        let pid = run.program.pid;
        let patching = &mut run.patching;
        let patch = match &patching.leftover {
            Some(leftover) => leftover.current,
            None => patching.patcher.as_ref().map_or(0, |patcher| patcher.current()),
        };
        patching.dismiss();
        self.reporter.event(&Event::Detached { pid, patch });
        self.end(Ok(Ending::Asked));
        Answer::Done { said: format!("process {pid} goes on by itself") }
    }

    /// Takes the program in: what earlier sessions redirected is used on. Returns warnings.
    pub(super) fn adopt(
        &mut self,
        process: &mut processes::Process,
        hello: &Hello,
    ) -> Result<Vec<String>, String> {
        let (redirected, shims) = match process.ask(&ToProcess::Redirections)? {
            FromProcess::Redirections { functions, shims } => (functions, shims),
            other => return Err(format!("the process answered {other:?}")),
        };
        let Some(run) = &mut self.run else { return Err("nothing runs".into()) };
        let Some(patcher) = &mut run.patching.patcher else { return Err("the build was not read".into()) };
        let (slots, warnings) = patcher.adopt(hello, &redirected, &shims)?;
        if hello.current != 0 {
            run.patching.leftover = Some(Leftover { current: hello.current, slots });
        }
        Ok(warnings)
    }

    /// Takes back what earlier sessions left live.
    pub(super) fn supersede(&mut self) -> Result<(), String> {
        let Some(patching) = self.run.as_mut().map(|run| &mut run.patching) else { return Ok(()) };
        let Some(Leftover { current, slots }) = &patching.leftover else { return Ok(()) };
        let Some(peer) = patching.peers.first_mut() else { return Err("the process is gone".into()) };
        match peer.ask(&ToProcess::Rollback { to: 0, from: *current, slots: slots.clone() })? {
            FromProcess::RolledBack { .. } => {
                let note = format!("what patch {current} of an earlier session left live is taken back");
                patching.leftover = None;
                self.reporter.note(&note);
                Ok(())
            }
            FromProcess::Failed { error } => Err(error.to_string()),
            other => Err(format!("the process answered {other:?}")),
        }
    }

    /// The same, where nothing else is to go live.
    pub(super) fn supersede_at_once(&mut self) {
        let left = self.run.as_ref().is_some_and(|run| run.patching.leftover.is_some());
        if let Err(error) = self.supersede() {
            self.reporter.warning(&format!("an earlier session's patches stay live: {error}"));
        } else if left {
            self.reporter.event(&Event::RolledBack { to: 0 });
        }
    }
}

/// Waits until a process has ended.
fn wait(process: &OwnedFd) {
    // Only its end makes it readable.
    while let Err(Errno::INTR) = poll(&mut [PollFd::new(process, PollFlags::IN)], None) {}
}
