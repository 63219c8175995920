//! Those who make an edit live, each in a folder of its own.

use super::project::Project;
use super::samples::Times;
use crate::live::Lines;
use crate::run::{Result, cargo_in};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an edit may take before it counts as failed.
pub(super) const EDIT: Duration = Duration::from_secs(60);

/// Someone who can make edits live.
pub(super) trait Contender {
    /// Saves the edit of that number, waits until it is there, and says what took how long.
    fn edit(&mut self, number: u32) -> Result<Times>;

    /// Ends it, and says what else is to be known.
    fn end(self: Box<Self>) -> Result<Value>;
}

/// Milliseconds since then.
pub(super) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Runs a command whose words matter only if it fails.
pub(super) fn quietly(command: &mut Command) -> Result {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{:?}: {}\n{}", command.get_program(), output.status, last_lines(&output.stderr)))
}

/// The end of what a failing program said.
pub(super) fn last_lines(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// `cargo build`, then a restart: what everybody does today.
pub(super) struct PlainCargo {
    project: Project,
}

impl PlainCargo {
    /// Builds everything once.
    pub(super) fn start(project: Project) -> Result<Self> {
        quietly(cargo_in(&project.folder).arg("build"))?;
        Ok(Self { project })
    }
}

impl Contender for PlainCargo {
    fn edit(&mut self, number: u32) -> Result<Times> {
        let began = Instant::now();
        self.project.edit(number)?;
        quietly(cargo_in(&self.project.folder).arg("build"))?;
        let build = ms(began);
        let mut program = Running::start(&mut Command::new(self.project.binary()))?;
        program.lines.until(&self.project.line(number), EDIT)?;
        Ok(Times::from([("build", build), ("build + restart", ms(began))]))
    }

    fn end(self: Box<Self>) -> Result<Value> {
        Ok(Value::Null)
    }
}

/// A program whose output is read; it ends with this value.
pub(super) struct Running {
    child: Child,
    pub(super) lines: Lines,
}

impl Running {
    /// Starts it.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Self { child, lines: Lines::of(stdout) })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
