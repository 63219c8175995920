//! What was given, as libraries with those that come along with them.

use crate::error::Failure;
use bytes::Bytes;
use livepatch_object::android::archive::{self, Entry, Kind};
use livepatch_object::android::{Effect, Finding, Phase, Siblings};
use livepatch_object::loadable::archive_entry::ArchiveError;
use livepatch_object::loadable::machine::Machine;
use std::path::{Path, PathBuf};

/// Libraries of one machine that are installed together.
pub(super) struct Group {
    pub(super) libraries: Vec<Library>,
    /// Further libraries of the same folder, which were not asked about.
    others: Vec<(String, Bytes)>,
    /// Whether nothing else is installed with them: they are an app's.
    pub(super) complete: bool,
}

/// One library that is asked about.
pub(super) struct Library {
    /// Its name for people.
    pub(super) name: String,
    /// Its file's name.
    pub(super) file: String,
    pub(super) machine: Option<Machine>,
    pub(super) contents: Result<Bytes, Box<Finding>>,
    pub(super) entry: Option<Entry>,
}

impl Group {
    pub(super) fn siblings(&self) -> Siblings {
        let asked = self
            .libraries
            .iter()
            .filter_map(|library| Some((library.file.clone(), library.contents.as_ref().ok()?.clone())));
        Siblings::of(self.others.iter().cloned().chain(asked))
    }
}

/// Reads what was given.
pub(super) fn read(path: &Path) -> Result<Vec<Group>, Failure> {
    if path.is_dir() {
        return folder(path);
    }
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.to_str() {
        Some("apk") => packed(path, Kind::Apk),
        Some("aar") => packed(path, Kind::Aar),
        _ => alone(path),
    }
}

fn file(path: &Path) -> Result<Bytes, Failure> {
    std::fs::read(path).map(Bytes::from).map_err(Failure::file("read", path))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The machine that a folder is named for.
fn machine_of(folder: Option<&Path>) -> Option<Machine> {
    let name = folder?.file_name()?;
    Machine::ALL.into_iter().find(|machine| name == machine.abi())
}

/// A file by itself: libraries in its folder come along.
fn alone(path: &Path) -> Result<Vec<Group>, Failure> {
    let contents = file(path)?;
    let beside = path.parent().map(libraries_in).unwrap_or_default();
    let others = beside.into_iter().filter(|other| file_name(other) != file_name(path));
    // One that cannot be read is one that does not come along.
    let others = others.filter_map(|path| Some((file_name(&path), file(&path).ok()?))).collect();
    let library = Library {
        name: path.display().to_string(),
        file: file_name(path),
        machine: machine_of(path.parent()),
        contents: Ok(contents),
        entry: None,
    };
    Ok(vec![Group { libraries: vec![library], others, complete: false }])
}

/// The shared objects of one folder, by name.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_library =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "so") && path.is_file();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_library).collect();
    found.sort();
    found
}

/// Every folder below, each with the libraries that are in it.
fn folder(path: &Path) -> Result<Vec<Group>, Failure> {
    let mut groups = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(Failure::file("read", &folder))?;
        let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(below.map(|entry| entry.path()));
        let mut libraries = Vec::new();
        for library in libraries_in(&folder) {
            libraries.push(Library {
                name: library.strip_prefix(path).unwrap_or(&library).display().to_string(),
                file: file_name(&library),
                machine: machine_of(Some(&folder)),
                contents: Ok(file(&library)?),
                entry: None,
            });
        }
        if !libraries.is_empty() {
            groups.push(Group { libraries, others: Vec::new(), complete: false });
        }
    }
    match groups.is_empty() {
        true => Err(nothing(path)),
        false => Ok(groups),
    }
}

fn nothing(path: &Path) -> Failure {
    Failure::Unsupported {
        what: format!("there are no shared objects in {}", path.display()),
        hint: "libraries are files that end in .so, in an APK under lib/<abi>/, in an AAR under jni/<abi>/"
            .into(),
    }
}

fn packed(path: &Path, kind: Kind) -> Result<Vec<Group>, Failure> {
    let archive = file(path)?;
    let unreadable = |error: ArchiveError| Failure::Unsupported {
        what: format!("{}: {error}", path.display()),
        hint: "APKs and AARs are ZIP archives".into(),
    };
    let entries = archive::libraries(&archive, kind).map_err(unreadable)?;
    let mut groups: Vec<(Option<Machine>, Group)> = Vec::new();
    for entry in entries {
        let contents = archive::contents(&archive, &entry.place).map_err(|error| {
            let (phase, effect) = (Phase::Package, Effect::Stops);
            Box::new(Finding { phase, effect, rule: "archive", what: error.to_string(), hint: None })
        });
        let library = Library {
            name: entry.name.clone(),
            file: entry.file.clone(),
            machine: entry.machine,
            contents,
            entry: Some(entry),
        };
        let machine = library.machine;
        match groups.iter_mut().find(|(of, _)| *of == machine) {
            Some((_, group)) => group.libraries.push(library),
            None => {
                let complete = kind == Kind::Apk;
                groups.push((machine, Group { libraries: vec![library], others: Vec::new(), complete }));
            }
        }
    }
    match groups.is_empty() {
        true => Err(nothing(path)),
        false => Ok(groups.into_iter().map(|(_, group)| group).collect()),
    }
}
