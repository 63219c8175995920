//! Driving a `cargo livepatch run` from outside: its events, its program's output, its end.

use crate::run::Result;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a build may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(600);

/// A running `cargo livepatch run`.
pub(crate) struct Live {
    child: Child,
    command: PathBuf,
    project: PathBuf,
    events: PathBuf,
    read: usize,
    lines: Receiver<String>,
}

impl Live {
    /// Starts it in a project's folder.
    pub(crate) fn start(command: &Path, project: &Path, arguments: &[&str]) -> Result<Self> {
        let events = project.join("events.jsonl");
        let _ = std::fs::remove_file(&events);
        let mut child = Command::new(command)
            .args(["livepatch", "run", "--events"])
            .arg(&events)
            .args(arguments)
            .current_dir(project)
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.display()))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let (command, project) = (command.to_owned(), project.to_owned());
        Ok(Self { child, command, project, events, read: 0, lines })
    }

    /// Waits for the next event of a kind; others before it are passed over.
    pub(crate) fn event(&mut self, kind: &str) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&self.events).unwrap_or_default();
            let lines: Vec<&str> = text.lines().skip(self.read).collect();
            for line in lines {
                self.read += 1;
                let event: Value = serde_json::from_str(line).map_err(|e| format!("event {line:?}: {e}"))?;
                if event["event"] == kind {
                    return Ok(event);
                }
                if matches!(event["event"].as_str(), Some("rejected" | "exited")) {
                    return Err(format!("waiting for `{kind}`: {event}"));
                }
            }
            if Instant::now() > deadline {
                return Err(format!("no `{kind}` within {PATIENCE:?}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The next line that the program prints.
    pub(crate) fn line(&mut self) -> Result<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err("the program prints nothing".into()),
            Err(RecvTimeoutError::Disconnected) => Err("the program ended".into()),
        }
    }

    /// Forgets what the program has printed so far.
    pub(crate) fn skip_lines(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// Runs `cargo livepatch <arguments>` on this session.
    pub(crate) fn control(&self, arguments: &[&str]) -> Result {
        let status = Command::new(&self.command)
            .arg("livepatch")
            .args(arguments)
            .current_dir(&self.project)
            .env_remove("CARGO_TARGET_DIR")
            .stdout(Stdio::null())
            .status()
            .map_err(|error| error.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("cargo livepatch {}: {status}", arguments.join(" ")))
        }
    }

    /// Stops the session and waits for its end.
    pub(crate) fn stop(mut self) -> Result {
        self.control(&["stop"])?;
        self.child.wait().map(|_| ()).map_err(|error| error.to_string())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Only after an error: a session that was stopped has been waited for.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.control(&["stop"]);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
