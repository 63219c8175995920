//! A captured build, and thin builds of what was saved since.

use crate::Result;
use bytes::Bytes;
use livepatch_build::capture::{CAPTURE_VARIABLE, Folders, Program};
use livepatch_build::library::{LibraryLink, WholeProgram};
use livepatch_build::rebuild::{Cancel, Options, Plan, RebuildError, Rebuilder};
use livepatch_build::session::UnitId;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

pub(crate) struct Captured {
    /// The program's file, under a name that no later build writes to.
    pub(crate) host: PathBuf,
    program: Program,
    folders: Folders,
    rebuilder: Rebuilder,
    /// When each source was changed, as of the last build.
    sources: HashMap<PathBuf, SystemTime>,
    /// The newest objects of all crates that were edited.
    edited: BTreeMap<UnitId, Vec<Bytes>>,
}

impl Captured {
    /// Builds the package in a folder, whose program has the package's name.
    pub(crate) fn build(folder: &Path) -> Result<Self> {
        let folder = folder.canonicalize()?;
        let target = folder.join("target");
        let folders = Folders::in_target(&target);
        folders.prepare(&std::env::current_exe()?)?;
        let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["build", "--quiet", "--target-dir"])
            .arg(&target)
            .env(CAPTURE_VARIABLE, folders.root())
            .env("RUSTC_WORKSPACE_WRAPPER", folders.wrapper())
            .current_dir(&folder)
            .status()?;
        if !status.success() {
            return Err("the program does not build".into());
        }
        let name = folder.file_name().unwrap_or_default();
        let program = Program::load(&folders, &target.join("debug").join(name), &[], &HashSet::new())?;
        let rebuilder = Rebuilder::new(&program, &folders)?;
        let host = program.executable.file.clone();
        let sources = rebuilder.sources().map(|path| (path.to_owned(), changed(path))).collect();
        Ok(Self { host, program, folders, rebuilder, sources, edited: BTreeMap::new() })
    }

    /// What patches of the program are made with.
    pub(crate) fn program(&self) -> Result<WholeProgram> {
        let link = LibraryLink::of_program(&self.program, &self.folders)?;
        let inputs = &self.program.executable.link_inputs;
        Ok(WholeProgram::new(&self.host, link, inputs, &self.folders.root().join("patches"))?)
    }

    /// Compiles what was saved since the last time: the objects of all crates that were edited so far.
    pub(crate) fn rebuild_if_saved(&mut self) -> Result<Option<Vec<Bytes>>> {
        let mut saved: Vec<PathBuf> = Vec::new();
        for (path, known) in &mut self.sources {
            let now = changed(path);
            if now != *known {
                *known = now;
                saved.push(path.clone());
            }
        }
        let Plan::Thin(units) = self.rebuilder.plan(&saved) else { return Ok(None) };
        let rebuilt = match self.rebuilder.rebuild(&units, Options::default(), &Cancel::default()) {
            Err(RebuildError::Compile(diagnostics)) => {
                let rendered: String =
                    diagnostics.into_iter().map(|diagnostic| diagnostic.rendered).collect();
                return Err(rendered.into());
            }
            rebuilt => rebuilt?,
        };
        for krate in rebuilt.crates {
            let objects = krate.objects.iter().map(|path| Ok(std::fs::read(path)?.into()));
            self.edited.insert(krate.unit, objects.collect::<Result<_>>()?);
        }
        Ok(Some(self.edited.values().flatten().cloned().collect()))
    }
}

fn changed(path: &Path) -> SystemTime {
    path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
