//! The records of one executable, put together: its crates in order, what it was linked from, and
//! which files they came from.

mod inputs;

use super::record::{self, UnitKind, UnitRecord};
use super::{Folders, dep_info, objects};
use crate::session::{BaseBuild, CrateObjects, UnitId};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

/// One executable as it was captured.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable, under a name that no later build writes to.
    pub host: PathBuf,
    /// Its captured crates, dependencies first.
    pub units: Vec<Unit>,
    /// Archives and shared objects of the link, in link order, under names that stay.
    pub link_inputs: Vec<PathBuf>,
    /// What was taken out of the link line.
    pub removed_link_arguments: Vec<String>,
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
    /// Puts together what made `executable`. `libraries` names the workspace's own library crates:
    /// one of them without a record is missing, any other is a dependency.
    pub fn load(
        folders: &Folders,
        executable: &Path,
        libraries: &HashSet<String>,
    ) -> Result<Self, ProgramError> {
        let root = find_link(folders, executable)?;
        let link = record::read_link(&folders.link_record(&root))
            .ok_or_else(|| ProgramError::NotCaptured { executable: executable.to_owned() })?;
        let mut collector =
            Collector { folders, libraries, found: BTreeMap::new(), missing: BTreeSet::new() };
        collector.add_linked(&root, executable);
        for input in &link.inputs {
            collector.add_library(input.path.as_path());
        }
        if !collector.missing.is_empty() {
            let outputs = collector.missing.into_iter().collect();
            return Err(ProgramError::Incomplete(Incomplete { outputs }));
        }
        let units = order(collector.found)?;
        let mut cargo_inputs = CargoInputs::of(folders, &units).map_err(at(&folders.records()))?;
        let captured: HashSet<PathBuf> =
            units.iter().flat_map(|unit| unit.record.library_outputs()).collect();
        let linked = link.inputs.iter().map(|input| input.path.as_path().to_owned());
        // An edit may use what is declared only.
        let declared = units.iter().flat_map(|unit| {
            let cwd = unit.record.cwd.as_path();
            unit.record.arguments().externs().map(|path| cwd.join(path)).collect::<Vec<_>>()
        });
        let others: BTreeSet<PathBuf> =
            linked.chain(declared).filter(|path| !captured.contains(path)).collect();
        if let Some(unit) = units.last() {
            cargo_inputs.add_outsiders(others.iter().map(PathBuf::as_path), unit.record.cwd.as_path());
        }
        Ok(Self {
            host: link.kept_output.into(),
            units,
            link_inputs: link.inputs.into_iter().map(|input| input.kept.into()).collect(),
            removed_link_arguments: link.removed.iter().map(|a| a.0.to_string_lossy().into_owned()).collect(),
            cargo_inputs,
        })
    }

    /// What a session starts from.
    pub fn base_build(&self) -> BaseBuild {
        let objects_of = |unit: &Unit| CrateObjects {
            unit: unit.id.clone(),
            crate_name: unit.record.crate_name.clone(),
            objects: unit.objects.clone(),
        };
        let optimized =
            |unit: &Unit| unit.record.arguments().codegen("opt-level").is_some_and(|level| level != "0");
        BaseBuild {
            optimized: self.units.iter().any(optimized),
            host: self.host.clone(),
            crates: self.units.iter().map(objects_of).collect(),
            link_inputs: self.link_inputs.iter().cloned().chain(self.library_folders()).collect(),
        }
    }

    /// The folders with the program's dependencies, those that it does not use yet included.
    fn library_folders(&self) -> BTreeSet<PathBuf> {
        let arguments = self.units.iter().map(|unit| (unit, unit.record.arguments()));
        arguments
            .flat_map(|(unit, arguments)| {
                let cwd = unit.record.cwd.as_path();
                arguments.library_folders().map(|folder| cwd.join(folder)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Removes what earlier builds of this program's crates left and nothing refers to any more.
    pub fn prune(&self, folders: &Folders) {
        for unit in &self.units {
            let base = unit.record.base.as_ref().map(|base| base.as_path().to_owned());
            remove_others(&folders.base(&unit.id), base.as_deref());
            if self.host.starts_with(folders.links(&unit.id)) {
                remove_others(&folders.links(&unit.id), self.host.parent());
            }
        }
    }
}

fn remove_others(folder: &Path, keep: Option<&Path>) {
    let Some(keep) = keep else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path() != keep {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ProgramError + use<> {
    let path = path.to_owned();
    move |source| ProgramError::Io { path, source }
}

/// The unit whose link made the executable: cargo's own names for it are links to one file.
fn find_link(folders: &Folders, executable: &Path) -> Result<UnitId, ProgramError> {
    let records = folders.records();
    for entry in std::fs::read_dir(&records).map_err(at(&records))? {
        let name = entry.map_err(at(&records))?.file_name();
        let Some(unit) = name.to_str().and_then(|name| name.strip_suffix(".link.json")) else { continue };
        let unit = UnitId(unit.to_owned());
        let link = record::read_link(&folders.link_record(&unit));
        if link.is_some_and(|link| same_file(link.kept_output.as_path(), executable)) {
            return Ok(unit);
        }
    }
    let outputs = other_names(executable);
    if outputs.is_empty() {
        return Err(ProgramError::NotCaptured { executable: executable.to_owned() });
    }
    Err(ProgramError::Incomplete(Incomplete { outputs }))
}

/// Whether two names lead to the same contents.
fn same_file(one: &Path, other: &Path) -> bool {
    let (Ok(a), Ok(b)) = (std::fs::metadata(one), std::fs::metadata(other)) else { return false };
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return true;
    }
    // Where the file system has no hard links, cargo and we have made copies.
    let copies = a.nlink() == 1 && b.nlink() == 1 && a.len() == b.len();
    copies
        && std::fs::read(one)
            .ok()
            .is_some_and(|bytes| std::fs::read(other).is_ok_and(|others| others == bytes))
}

/// Names of the executable beside it and in cargo's `deps` folder, itself included.
fn other_names(executable: &Path) -> Vec<PathBuf> {
    let folder = executable.parent().unwrap_or(Path::new("."));
    let folders = [folder.to_owned(), folder.join("deps")];
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file() && same_file(path, executable)).collect()
}

struct Collector<'a> {
    folders: &'a Folders,
    libraries: &'a HashSet<String>,
    found: BTreeMap<UnitId, Unit>,
    missing: BTreeSet<PathBuf>,
}

impl Collector<'_> {
    fn add_linked(&mut self, root: &UnitId, executable: &Path) {
        match self.read(root) {
            Some(record) => self.add(root.clone(), record),
            None => self.missing.extend(other_names(executable)),
        }
    }

    /// Takes in the library at `path` and what it names; says which unit it is, if it is captured.
    fn add_library(&mut self, path: &Path) -> Option<UnitId> {
        let stem = path.file_stem()?.to_str()?.strip_prefix("lib")?;
        if path.extension().is_none_or(|extension| extension != "rlib" && extension != "rmeta") {
            return None;
        }
        let id = UnitId(stem.to_owned());
        if self.found.contains_key(&id) {
            return Some(id);
        }
        let record = self.read(&id).filter(|record| record.kind == UnitKind::Library);
        match record {
            Some(record) if record.library_outputs().contains(&path.to_owned()) => {
                self.add(id.clone(), record);
                Some(id)
            }
            _ => {
                let crate_name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
                if self.libraries.contains(crate_name) {
                    self.missing.extend([path.with_extension("rlib"), path.with_extension("rmeta")]);
                }
                None
            }
        }
    }

    fn read(&self, id: &UnitId) -> Option<UnitRecord> {
        let record = record::read_unit(&self.folders.unit_record(id))?;
        if let Some(base) = &record.base {
            let incremental = self.folders.incremental(id);
            let session = objects::newest_session(&incremental, &record.crate_name).ok().flatten();
            session.filter(|_| base.as_path().is_dir())?;
        }
        Some(record)
    }

    fn add(&mut self, id: UnitId, record: UnitRecord) {
        let unit =
            Unit { id: id.clone(), record, depends_on: Vec::new(), sources: Vec::new(), objects: Vec::new() };
        let externs: Vec<PathBuf> = unit.record.arguments().externs().map(Path::to_owned).collect();
        let cwd = unit.record.cwd.as_path().to_owned();
        self.found.insert(id.clone(), unit);
        let depends_on = externs.iter().filter_map(|path| self.add_library(&cwd.join(path))).collect();
        if let Some(unit) = self.found.get_mut(&id) {
            unit.depends_on = depends_on;
        }
    }
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
