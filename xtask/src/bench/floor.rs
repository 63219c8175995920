//! The floor: the captured rustc, alone. Nothing that recompiles with rustc can be faster.

use super::contender::{Contender, last_lines, ms};
use super::project::Project;
use super::samples::Times;
use crate::live::Live;
use crate::run::Result;
use livepatch_build::capture::{Folders, NO_LINK_VARIABLE, UnitKind, UnitRecord, record};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The rustc that a session captured, replayed when the session is over.
pub(super) struct Floor {
    project: Project,
    record: UnitRecord,
}

impl Floor {
    /// Lets livepatch capture the program's build.
    pub(super) fn start(project: Project, command: &Path) -> Result<Self> {
        let mut live = Live::quiet(command, &project.folder, &["--quiet"])?;
        live.event("ready")?;
        live.stop()?;
        let folders = Folders::in_target(&project.folder.join("target"));
        let record = linked(&folders)?;
        // A private place for the outputs, under the name that rustc was told, as thin rebuilds do it.
        let out: PathBuf = folders.root().join("floor");
        std::fs::create_dir_all(&out).map_err(|error| error.to_string())?;
        folders.point_out(&record.unit(), &out).map_err(|error| error.to_string())?;
        Ok(Self { project, record })
    }
}

/// The record of the program itself.
fn linked(folders: &Folders) -> Result<UnitRecord> {
    let files = std::fs::read_dir(folders.records()).map_err(|error| error.to_string())?;
    let mut records = files.flatten().filter_map(|entry| record::read_unit(&entry.path()));
    records.find(|record| record.kind == UnitKind::Linked).ok_or_else(|| "nothing was captured".into())
}

impl Contender for Floor {
    fn edit(&mut self, number: u32) -> Result<Times> {
        let record = &self.record;
        self.project.edit(number)?;
        let mut rustc = Command::new(&record.rustc.0);
        rustc
            .args(record.arguments().as_slice())
            .current_dir(record.cwd.as_path())
            .env_clear()
            .envs(record.environment.iter().map(|(name, value)| (&name.0, &value.0)))
            .env(NO_LINK_VARIABLE, "1")
            .stdin(Stdio::null());
        let began = Instant::now();
        let output = rustc.output().map_err(|error| format!("rustc: {error}"))?;
        let took = ms(began);
        if !output.status.success() {
            return Err(format!("rustc: {}\n{}", output.status, last_lines(&output.stderr)));
        }
        Ok(Times::from([("rustc", took)]))
    }

    fn end(self: Box<Self>) -> Result<Value> {
        Ok(Value::Null)
    }
}
