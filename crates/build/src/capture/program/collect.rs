//! From what was linked to the crates that it was made from.

use super::records::{Records, same_file};
use super::{Image, Incomplete, ProgramError, Unit};
use crate::capture::record::{LinkRecord, UnitRecord};
use crate::capture::{Folders, UnitKind, objects};
use crate::session::UnitId;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Follows records from outputs to inputs.
pub(super) struct Collector<'a> {
    folders: &'a Folders,
    records: &'a Records,
    /// The crate names of the workspace's own libraries.
    libraries: &'a HashSet<String>,
    found: BTreeMap<UnitId, Found>,
    images: BTreeMap<PathBuf, Linked>,
    missing: BTreeSet<PathBuf>,
}

/// What the records tell.
pub(super) struct Collected {
    pub(super) units: BTreeMap<UnitId, Unit>,
    /// By where they were linked to.
    pub(super) images: BTreeMap<PathBuf, Image>,
}

struct Found {
    unit: Unit,
    /// Crates that it names and that are linked wherever it is.
    statically: Vec<UnitId>,
}

struct Linked {
    link: LinkRecord,
    root: UnitId,
    /// Captured crates on the link line.
    linked: BTreeSet<UnitId>,
    /// Captured Rust libraries among the shared objects on the link line.
    dylibs: Vec<PathBuf>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(folders: &'a Folders, records: &'a Records, libraries: &'a HashSet<String>) -> Self {
        Self {
            folders,
            records,
            libraries,
            found: BTreeMap::new(),
            images: BTreeMap::new(),
            missing: BTreeSet::new(),
        }
    }

    /// Takes in what was linked to `file`, with all that it is made from. Says how the image is found.
    pub(super) fn add_linked(&mut self, file: &Path) -> Option<PathBuf> {
        let Some(link) = self.records.link_of(file) else {
            self.missing.extend(other_names(file));
            return None;
        };
        let image = link.output.as_path().to_owned();
        if self.images.contains_key(&image) {
            return Some(image);
        }
        let root = UnitId(link.unit.clone());
        let Some(record) = self.read(&root) else {
            self.missing.extend(other_names(file));
            return None;
        };
        let mut linked =
            Linked { link: link.clone(), root: root.clone(), linked: BTreeSet::new(), dylibs: Vec::new() };
        self.add(root, record);
        for input in &link.inputs {
            let Some(id) = self.add_library(input.path.as_path()) else { continue };
            if is_shared_object(input.path.as_path()) {
                linked.dylibs.extend(self.add_linked(input.path.as_path()));
            } else {
                linked.linked.insert(id);
            }
        }
        self.images.insert(image.clone(), linked);
        Some(image)
    }

    /// Takes in the library at `path` and what it names; says which unit it is, if it is captured.
    fn add_library(&mut self, path: &Path) -> Option<UnitId> {
        let stem = path.file_stem()?.to_str()?.strip_prefix("lib")?;
        if !is_shared_object(path) && path.extension().is_none_or(|end| end != "rlib" && end != "rmeta") {
            return None;
        }
        let record = self.records.by_output(path).filter(|record| is_library(record));
        let known = record.map(UnitRecord::unit).filter(|id| self.found.contains_key(id));
        if known.is_some() {
            return known;
        }
        let record = record.and_then(|record| self.read(&record.unit()));
        if let Some(record) = record {
            let id = record.unit();
            self.add(id.clone(), record);
            if is_shared_object(path) {
                self.add_linked(path);
            }
            return Some(id);
        }
        let crate_name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
        if self.libraries.contains(crate_name) {
            let others = ["rlib", "rmeta", "so"].map(|extension| path.with_extension(extension));
            self.missing.extend(others.into_iter().filter(|other| other == path || other.is_file()));
        }
        None
    }

    /// The record of a unit whose objects are there.
    fn read(&self, id: &UnitId) -> Option<UnitRecord> {
        let record = self.records.unit(id)?;
        if let Some(base) = &record.base {
            let incremental = self.folders.incremental(id);
            let session = objects::newest_session(&incremental, &record.crate_name).ok().flatten();
            session.filter(|_| base.as_path().is_dir())?;
        }
        Some(record.clone())
    }

    fn add(&mut self, id: UnitId, record: UnitRecord) {
        if self.found.contains_key(&id) {
            return;
        }
        let cwd = record.cwd.as_path().to_owned();
        let externs: Vec<PathBuf> = record.arguments().externs().map(|path| cwd.join(path)).collect();
        let unit =
            Unit { id: id.clone(), record, depends_on: Vec::new(), sources: Vec::new(), objects: Vec::new() };
        self.found.insert(id.clone(), Found { unit, statically: Vec::new() });
        let named: Vec<_> = externs
            .iter()
            .filter_map(|path| Some((self.add_library(path)?, is_shared_object(path))))
            .collect();
        self.add_own_libraries(&id);
        if let Some(found) = self.found.get_mut(&id) {
            let statically = named.iter().filter(|(_, shared)| !shared);
            found.statically = statically.map(|(id, _)| id.clone()).collect();
            found.unit.depends_on = named.into_iter().map(|(id, _)| id).collect();
        }
    }

    /// Takes in what a crate of the program was linked to besides: the program may load that later.
    fn add_own_libraries(&mut self, id: &UnitId) {
        let Some(found) = self.found.get(id) else { return };
        let types = found.unit.record.arguments();
        if types.crate_types().iter().any(|kind| matches!(*kind, "cdylib" | "dylib")) {
            let record = &found.unit.record;
            let library = record.out_dir().join(format!("lib{}.so", record.file_stem()));
            self.add_linked(&library);
        }
    }

    /// What was found, if nothing is missing.
    pub(super) fn finish(self) -> Result<Collected, ProgramError> {
        if !self.missing.is_empty() {
            let outputs = self.missing.into_iter().collect();
            return Err(ProgramError::Incomplete(Incomplete { outputs }));
        }
        let images = self.images.keys().map(|image| (image.clone(), self.image(image))).collect();
        let units = self.found.into_iter().map(|(id, found)| (id, found.unit)).collect();
        Ok(Collected { units, images })
    }

    fn image(&self, image: &Path) -> Image {
        let Some(linked) = self.images.get(image) else { return Image::default() };
        Image {
            file: linked.link.kept_output.as_path().to_owned(),
            units: self.members(image),
            link_inputs: linked.link.inputs.iter().map(|input| input.kept.as_path().to_owned()).collect(),
            linked: linked.link.inputs.iter().map(|input| input.path.as_path().to_owned()).collect(),
            removed: linked.link.removed.iter().map(|a| a.0.to_string_lossy().into_owned()).collect(),
        }
    }

    /// The crates that an image contains: what its crate names, and so on, but for what the shared objects
    /// that it was linked against have already.
    fn members(&self, image: &Path) -> BTreeSet<UnitId> {
        let Some(linked) = self.images.get(image) else { return BTreeSet::new() };
        let elsewhere: BTreeSet<UnitId> =
            linked.dylibs.iter().flat_map(|dylib| self.members(dylib)).collect();
        let mut members = BTreeSet::new();
        let mut waiting: Vec<&UnitId> = linked.linked.iter().chain([&linked.root]).collect();
        while let Some(id) = waiting.pop() {
            let is_here = *id == linked.root || linked.linked.contains(id) || !elsewhere.contains(id);
            if is_here
                && members.insert(id.clone())
                && let Some(found) = self.found.get(id)
            {
                waiting.extend(&found.statically);
            }
        }
        members
    }
}

fn is_library(record: &UnitRecord) -> bool {
    record.kind == UnitKind::Library || (record.kind == UnitKind::Linked && record.is_dylib())
}

pub(super) fn is_shared_object(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "so")
}

/// Names of a linked file beside it and in cargo's `deps` folder, itself included.
fn other_names(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let folders = [folder.to_owned(), folder.join("deps")];
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file() && same_file(path, file)).collect()
}
