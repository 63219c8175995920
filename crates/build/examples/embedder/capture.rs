//! A captured build, and thin builds of what was saved since.

use crate::Result;
use livepatch_build::capture::record::read_link;
use livepatch_build::capture::{CAPTURE_VARIABLE, Folders, Program};
use livepatch_build::link_plan::CapturedLink;
use livepatch_build::rebuild::{Cancel, Options, Plan, RebuildError, Rebuilder};
use livepatch_build::stubs::Format;
use std::collections::{HashMap, HashSet};
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
        Ok(Self { host, program, folders, rebuilder, sources })
    }

    /// How the program was linked.
    pub(crate) fn link(&self) -> Result<CapturedLink> {
        let unit = self.program.units.last().ok_or("nothing was captured")?;
        let name = self.host.file_name().unwrap_or_default();
        let record = read_link(&self.folders.link_record(&unit.id, name)).ok_or("no link was captured")?;
        Ok(CapturedLink::of_record(&unit.record.linker, &record, Format::Elf)?)
    }

    /// The libraries that it was linked from, under names that stay.
    pub(crate) fn link_inputs(&self) -> &[PathBuf] {
        &self.program.executable.link_inputs
    }

    /// Where patches are made.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folders.root().join("patches")
    }

    /// Compiles what was saved since the last time: the objects of all crates that it concerns.
    pub(crate) fn rebuild_if_saved(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
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
        let paths = rebuilt.crates.iter().flat_map(|krate| &krate.objects);
        Ok(Some(paths.map(std::fs::read).collect::<std::io::Result<_>>()?))
    }
}

fn changed(path: &Path) -> SystemTime {
    path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
