//! What people ask for: by other commands, by signals, by keys.

use super::{Message, Server};
use crate::control::{Answer, Request, Status};
use crate::signals::Received;
use rustix::process::Signal;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How long a program may take to end when the session is to end.
const END: Duration = Duration::from_secs(5);

impl Server {
    pub(super) fn request(&mut self, request: Request, answer: Sender<Answer>) {
        let reply = match request {
            Request::Status => Answer::Status(self.status()),
            Request::Rollback { to } => match self.roll_back(to) {
                Ok(to) => Answer::Done { said: format!("rolled back to patch {to}") },
                Err(said) => Answer::Refused { said },
            },
            Request::Restart if self.run.is_some() => {
                return self.begin_cargo(Some("a restart was asked for".into()), vec![answer]);
            }
            Request::Restart => Answer::Refused { said: "the program is not running yet".into() },
            Request::Detach => self.detach(),
            Request::Stop if self.is_attached() => Answer::Refused {
                said: "the session has not started this program: `cargo livepatch detach` leaves it alone"
                    .into(),
            },
            Request::Stop => {
                self.stop();
                Answer::Done { said: "stopping".into() }
            }
        };
        // Who asked may be gone.
        let _ = answer.send(reply);
    }

    fn status(&self) -> Status {
        let run = self.run.as_ref();
        let doing = if self.cargo.is_some() {
            "building with cargo"
        } else if run.is_some_and(|run| run.editing.is_building()) {
            "compiling an edit"
        } else {
            "watching"
        };
        let patching = run.map(|run| &run.patching);
        Status {
            server: std::process::id(),
            program: run.map(|run| run.program.pid),
            processes: patching.iter().flat_map(|p| p.peers.iter().map(|peer| peer.pid)).collect(),
            patch: patching.and_then(|p| p.patcher.as_ref()).map_or(0, |patcher| patcher.current()),
            doing: doing.to_owned(),
            executable: run.map(|run| run.executable.clone()).unwrap_or_default(),
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.signal_cargo(Signal::INT);
        if let Some(run) = &self.run {
            run.program.signal(Signal::TERM);
            self.later(END, Message::EndOverdue(run.start));
        }
    }

    /// The first signal is the program's to deal with; the second ends it.
    pub(super) fn signal(&mut self, received: Received) {
        self.signals += 1;
        if self.is_attached() {
            drop(self.detach());
            return;
        }
        if !received.from_terminal {
            self.signal_cargo(received.signal);
        }
        if let Some(run) = &self.run {
            if self.signals > 1 {
                run.program.signal(Signal::KILL);
            } else if !received.from_terminal {
                run.program.signal(received.signal);
            }
        }
    }

    pub(super) fn key(&mut self, key: u8) {
        match key {
            b'r' if self.run.is_some() => {
                self.begin_cargo(Some("a restart was asked for".into()), Vec::new())
            }
            b'b' => {
                if let Err(said) = self.roll_back(None) {
                    self.reporter.warning(&said);
                }
            }
            b'q' if self.is_attached() => drop(self.detach()),
            b'q' => self.stop(),
            _ => {}
        }
    }
}
