//! The records of one program, put together: the executable and the libraries that it may load, their
//! crates in order, what they were linked from, and which files they came from.

mod by_build_id;
mod collect;
mod inputs;
mod records;

use super::record::{UnitKind, UnitRecord};
use super::{Folders, dep_info, objects};
use crate::session::{BaseBuild, CrateObjects, UnitId};
use collect::{Collected, Collector};
use records::Records;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

pub use by_build_id::build_id;
pub use inputs::{CargoInput, CargoInputs};

/// A captured crate of the program.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Which invocation.
    pub id: UnitId,
    /// How it was compiled.
    pub record: UnitRecord,
    /// The captured crates that it names.
    pub depends_on: Vec<UnitId>,
    /// The files that it was compiled from.
    pub sources: Vec<PathBuf>,
    /// The objects that the host was linked from.
    pub objects: Vec<PathBuf>,
}

impl Unit {
    /// Whether other crates can be compiled against it as a shared object only.
    pub fn is_shared_only(&self) -> bool {
        self.record.kind == UnitKind::Linked && self.record.is_dylib()
    }
}

/// Something that was linked.
#[derive(Clone, Default, Debug)]
pub struct Image {
    /// The file, under a name that no later build writes to.
    pub file: PathBuf,
    /// The captured crates that it contains.
    pub units: BTreeSet<UnitId>,
    /// Archives and shared objects of the link, in link order, under names that stay.
    pub link_inputs: Vec<PathBuf>,
    /// The same as they were named on the link line.
    linked: Vec<PathBuf>,
    /// What was taken out of the link line.
    pub removed: Vec<String>,
}

/// One program as it was captured.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub executable: Image,
    /// The libraries that it was linked against or may load later.
    pub libraries: Vec<Image>,
    /// The captured crates of all of these, dependencies first.
    pub units: Vec<Unit>,
    /// Files whose changes only cargo can deal with.
    pub cargo_inputs: CargoInputs,
}

/// The outputs that cargo holds for fresh though their records are missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incomplete {
    /// Files to remove, so that cargo makes them again.
    pub outputs: Vec<PathBuf>,
}

/// A program could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Records are missing or of another version.
    #[error("the records of {} outputs are missing", .0.outputs.len())]
    Incomplete(Incomplete),
    /// No captured link made the executable.
    #[error("{} was not linked by the captured build", .executable.display())]
    NotCaptured {
        /// The executable.
        executable: PathBuf,
    },
    /// Crates were compiled again after the executable was linked.
    #[error("{} was compiled again since the program was linked", .crate_name)]
    Outdated {
        /// One of the crates.
        crate_name: String,
    },
    /// A record or a folder could not be read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Program {
    /// Puts together what made `executable`, and the libraries `plugins` that it may load. `libraries` names
    /// the workspace's own library crates: one of them without a record is missing, any other is a dependency.
    pub fn load(
        folders: &Folders,
        executable: &Path,
        plugins: &[PathBuf],
        libraries: &HashSet<String>,
    ) -> Result<Self, ProgramError> {
        let records = Records::read(folders).map_err(at(&folders.records()))?;
        Self::from_records(folders, &records, executable, plugins, libraries)
    }

    fn from_records(
        folders: &Folders,
        records: &Records,
        executable: &Path,
        plugins: &[PathBuf],
        libraries: &HashSet<String>,
    ) -> Result<Self, ProgramError> {
        let mut collector = Collector::new(folders, records, libraries);
        let program = collector.add_linked(executable);
        plugins.iter().for_each(|plugin| drop(collector.add_linked(plugin)));
        let Collected { units, mut images } = collector.finish()?;
        let executable = program
            .and_then(|program| images.remove(&program))
            .ok_or_else(|| ProgramError::NotCaptured { executable: executable.to_owned() })?;
        let units = order(units)?;
        let cargo_inputs = CargoInputs::of(records, &units);
        let mut program = Self { executable, libraries: images.into_values().collect(), units, cargo_inputs };
        program.add_outsiders();
        Ok(program)
    }

    /// Takes note of crates outside the workspace that the program is made from.
    fn add_outsiders(&mut self) {
        let captured: HashSet<PathBuf> =
            self.units.iter().flat_map(|unit| unit.record.library_outputs()).collect();
        let linked = self.images().flat_map(|image| &image.linked).cloned();
        // An edit may use what is declared only.
        let declared = self.units.iter().flat_map(|unit| {
            let cwd = unit.record.cwd.as_path();
            unit.record.arguments().externs().map(|path| cwd.join(path)).collect::<Vec<_>>()
        });
        let others: BTreeSet<PathBuf> =
            linked.chain(declared).filter(|path| !captured.contains(path)).collect();
        if let Some(unit) = self.units.last() {
            self.cargo_inputs.add_outsiders(others.iter().map(PathBuf::as_path), unit.record.cwd.as_path());
        }
    }

    /// The executable and the libraries.
    fn images(&self) -> impl Iterator<Item = &Image> {
        std::iter::once(&self.executable).chain(&self.libraries)
    }

    /// What a session starts from: the program, and the libraries that it may load.
    pub fn base_builds(&self) -> (BaseBuild, Vec<BaseBuild>) {
        let libraries = self.libraries.iter().map(|library| self.base_build(library));
        (self.base_build(&self.executable), libraries.collect())
    }

    fn base_build(&self, image: &Image) -> BaseBuild {
        let members = || self.units.iter().filter(|unit| image.units.contains(&unit.id));
        let objects_of = |unit: &Unit| CrateObjects {
            unit: unit.id.clone(),
            crate_name: unit.record.crate_name.clone(),
            objects: unit.objects.clone(),
        };
        let optimized =
            |unit: &Unit| unit.record.arguments().codegen("opt-level").is_some_and(|level| level != "0");
        BaseBuild {
            optimized: members().any(optimized),
            host: image.file.clone(),
            crates: members().map(objects_of).collect(),
            link_inputs: image.link_inputs.iter().cloned().chain(library_folders(members())).collect(),
        }
    }

    /// Removes what earlier builds of this program's crates left and nothing refers to any more.
    pub fn prune(&self, folders: &Folders) {
        let links: Vec<&Path> = self.images().filter_map(|image| image.file.parent()).collect();
        for unit in &self.units {
            let base = unit.record.base.as_ref().map(|base| base.as_path());
            remove_others(&folders.base(&unit.id), base.as_slice());
            remove_others(&folders.links(&unit.id), &links);
        }
    }
}

/// The folders with the dependencies of crates, those that they do not use yet included.
fn library_folders<'u>(units: impl Iterator<Item = &'u Unit>) -> BTreeSet<PathBuf> {
    let folders = units.flat_map(|unit| {
        let (cwd, arguments) = (unit.record.cwd.as_path(), unit.record.arguments());
        arguments.library_folders().map(|folder| cwd.join(folder)).collect::<Vec<_>>()
    });
    folders.collect()
}

/// Removes what is in a folder, but for some of it: where none of that is there, all stays.
fn remove_others(folder: &Path, keep: &[&Path]) {
    if !keep.iter().any(|kept| kept.starts_with(folder)) {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !keep.contains(&entry.path().as_path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ProgramError + use<> {
    let path = path.to_owned();
    move |source| ProgramError::Io { path, source }
}

/// The units with dependencies first, and with their files.
fn order(mut found: BTreeMap<UnitId, Unit>) -> Result<Vec<Unit>, ProgramError> {
    let mut ordered: Vec<Unit> = Vec::with_capacity(found.len());
    let mut placed = HashSet::new();
    while !found.is_empty() {
        let next = found.values().find(|unit| unit.depends_on.iter().all(|id| placed.contains(id)));
        // Cargo allows no cycles.
        let Some(id) = next.or(found.values().next()).map(|unit| unit.id.clone()) else { break };
        let Some(mut unit) = found.remove(&id) else { break };
        let dep_info = unit.record.dep_info();
        unit.sources = dep_info::read(&dep_info, unit.record.cwd.as_path()).map_err(at(&dep_info))?;
        if let Some(base) = &unit.record.base {
            unit.objects = objects::in_folder(base.as_path()).map_err(at(base.as_path()))?;
        }
        placed.insert(id);
        ordered.push(unit);
    }
    Ok(ordered)
}
