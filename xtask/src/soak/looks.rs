//! What the program and the command hold.

use super::program::Program;
use crate::bench::median;
use crate::memory;
use crate::run::Result;
use serde_json::{Value, json};
use std::path::Path;

/// The head of a table of looks.
pub(super) const COLUMNS: [&str; 14] = [
    "patches",
    "resident",
    "… of images",
    "… anonymous",
    "mappings",
    "files",
    "threads",
    "command: resident",
    "… anonymous",
    "mappings",
    "files",
    "threads",
    "disk",
    "after rustc, ms",
];

/// What a process holds: bytes and counts.
pub(super) struct Held {
    pub(super) resident: u64,
    pub(super) anonymous: u64,
    pub(super) mappings: u64,
    pub(super) files: u64,
    pub(super) threads: u64,
}

/// How things are after so many patches.
pub(super) struct Look {
    pub(super) patches: u32,
    pub(super) program: Held,
    pub(super) server: Held,
    /// Resident bytes of patch images.
    images: u64,
    disk: u64,
    /// What the newest patches took after rustc: the middle, in milliseconds.
    after_rustc: f64,
}

impl Held {
    fn by(pid: u64) -> Result<Self> {
        let gone = || format!("process {pid} is gone");
        let (resident, anonymous) = memory::resident(pid).ok_or_else(gone)?;
        Ok(Self {
            resident,
            anonymous,
            mappings: memory::mappings(pid) as u64,
            files: memory::files(pid).ok_or_else(gone)? as u64,
            threads: memory::threads(pid).ok_or_else(gone)? as u64,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "resident bytes": self.resident,
            "anonymous bytes": self.anonymous,
            "mappings": self.mappings,
            "files": self.files,
            "threads": self.threads,
        })
    }
}

impl Look {
    pub(super) fn at(program: &Program) -> Result<Self> {
        let folder = program.folder().join("target/livepatch");
        Ok(Self {
            patches: program.patches(),
            program: Held::by(program.pid())?,
            server: Held::by(program.server())?,
            images: memory::resident_of(program.pid(), &folder).ok_or("the program is gone")?,
            disk: memory::disk(Path::new(&folder)),
            after_rustc: median(&program.newest_times()),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "patches": self.patches,
            "program": self.program.to_json(),
            "of images: resident bytes": self.images,
            "command": self.server.to_json(),
            "disk bytes": self.disk,
            "after rustc, ms": self.after_rustc,
        })
    }

    pub(super) fn row(&self) -> Vec<String> {
        let Self { program, server, .. } = self;
        let counts = [
            u64::from(self.patches),
            program.resident,
            self.images,
            program.anonymous,
            program.mappings,
            program.files,
            program.threads,
            server.resident,
            server.anonymous,
            server.mappings,
            server.files,
            server.threads,
            self.disk,
        ];
        let mut row: Vec<String> = counts.map(|count| count.to_string()).into();
        row.push(if self.after_rustc.is_nan() { String::new() } else { format!("{:.2}", self.after_rustc) });
        row
    }
}
