//! Thin rebuild: recompiling only what changed, without cargo and without a linker.
//!
//! `plan` says which captured crates an edit concerns, or that cargo must deal with it;
//! `schedule` runs rustc for them and their dependents, each as soon as the metadata it needs is
//! out; `rustc` is one such run, until `finish` says that it has done what is needed; `artifacts`
//! keeps what the runs leave.

mod artifacts;
mod diagnostic;
mod finish;
mod plan;
mod rustc;
mod schedule;
mod stub_library;

use crate::capture::{CargoInputs, Folders, Program, Unit};
use crate::session::{CrateObjects, UnitId};
use artifacts::Artifacts;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use diagnostic::Diagnostic;
pub use plan::Plan;
pub use rustc::Cancel;
pub use schedule::FirstPart;

/// The captured crates of a running program, and what rebuilds have made of them so far.
#[derive(Debug)]
pub struct Rebuilder {
    units: Vec<State>,
    cargo_inputs: CargoInputs,
    artifacts: Artifacts,
}

/// A captured crate and its latest outputs.
#[derive(Debug)]
struct State {
    unit: Unit,
    /// Indices of the units that it names.
    depends_on: Vec<usize>,
    /// rustc's latest session.
    session: PathBuf,
    /// The latest object of each codegen unit.
    objects: artifacts::Objects,
    /// What dependents compile against, if a rebuild made one.
    library: Option<PathBuf>,
}

/// What a rebuild made.
#[derive(Debug)]
pub struct Rebuilt {
    /// Every crate that was compiled, dependencies first.
    pub crates: Vec<CrateObjects>,
    /// From the start of the first rustc to the end of the last.
    pub rustc: Duration,
    /// Warnings, in the order in which they came.
    pub warnings: Vec<Diagnostic>,
}

/// A rebuild made nothing. The next one starts from where this one did.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// [`Cancel::cancel`] was called.
    #[error("the build was cancelled")]
    Cancelled,
    /// rustc refused the edit.
    #[error("the edit does not compile")]
    Compile(Vec<Diagnostic>),
    /// rustc could not be run, or its outputs not be kept.
    #[error("{doing}")]
    Io {
        /// What failed.
        doing: String,
        /// Why.
        source: io::Error,
    },
}

/// How rustc is to be run.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {
    /// Ask for diagnostics with colours.
    pub colour: bool,
}

impl Rebuilder {
    /// The state in which the base build left everything. Removes what an earlier session left.
    pub fn new(program: &Program, folders: &Folders) -> io::Result<Self> {
        let position = |id: &UnitId| program.units.iter().position(|unit| unit.id == *id);
        let mut units = Vec::with_capacity(program.units.len());
        for unit in &program.units {
            units.push(State {
                depends_on: unit.depends_on.iter().filter_map(position).collect(),
                objects: artifacts::Objects::of(&unit.objects)?,
                session: latest_session(folders, unit)?,
                unit: unit.clone(),
                library: None,
            });
        }
        let artifacts = Artifacts::create(folders)?;
        Ok(Self { units, cargo_inputs: program.cargo_inputs.clone(), artifacts })
    }

    /// The files that the crates were compiled from, in their latest state.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.units.iter().flat_map(|state| state.unit.sources.iter().map(PathBuf::as_path))
    }

    /// Files that cargo must deal with, and folders in which every file is of that kind.
    pub fn cargo_inputs(&self) -> &CargoInputs {
        &self.cargo_inputs
    }

    /// Files that were changed since rustc read them for the base build, by their times.
    pub fn changed_since_capture(&self) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for state in &self.units {
            let started = Duration::from_nanos(state.unit.record.started);
            let later = |path: &&PathBuf| {
                let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
                let since = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                since.is_some_and(|since| since >= started)
            };
            changed.extend(state.unit.sources.iter().filter(later).cloned());
        }
        changed
    }
}

/// rustc's latest finished session of a unit.
fn latest_session(folders: &Folders, unit: &Unit) -> io::Result<PathBuf> {
    let incremental = folders.incremental(&unit.id);
    let session = crate::capture::objects::newest_session(&incremental, &unit.record.crate_name)?;
    session.ok_or_else(|| io::Error::other(format!("no finished session in {}", incremental.display())))
}
