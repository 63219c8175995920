//! Where everything that is captured lies: `<target directory>/livepatch`.

use crate::session::UnitId;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// How names of records of linker invocations end.
pub(super) const LINK_RECORD: &str = ".link.json";

/// The folder of a captured build and the names inside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folders {
    root: PathBuf,
}

impl Folders {
    /// The folders under `target`, an absolute path to cargo's target directory.
    pub fn in_target(target: &Path) -> Self {
        Self { root: target.join("livepatch") }
    }

    /// The folders under `root` itself.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder that holds all others.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The rustc wrapper. Cargo hashes this path into every unit, so it never changes.
    pub fn wrapper(&self) -> PathBuf {
        self.root.join("livepatch-rustc")
    }

    /// The linker shim for a linker of that base name, from which rustc infers the linker's flavour.
    pub fn shim(&self, base_name: &OsStr) -> PathBuf {
        self.root.join("shim").join(base_name)
    }

    /// The folder of the records.
    pub fn records(&self) -> PathBuf {
        self.root.join("capture")
    }

    /// The record of a rustc invocation.
    pub fn unit_record(&self, unit: &UnitId) -> PathBuf {
        self.records().join(format!("{}.json", unit.0))
    }

    /// The record of a linker invocation that wrote a file of that name.
    pub fn link_record(&self, unit: &UnitId, output: &OsStr) -> PathBuf {
        let mut name = OsStr::new(&unit.0).to_owned();
        for part in [OsStr::new("."), output, OsStr::new(LINK_RECORD)] {
            name.push(part);
        }
        self.records().join(name)
    }

    /// The base objects of a unit, in one folder for each time that it was built.
    pub fn base(&self, unit: &UnitId) -> PathBuf {
        self.root.join("base").join(&unit.0)
    }

    /// What a unit was linked from and to, in one folder for each time that it was linked.
    pub fn links(&self, unit: &UnitId) -> PathBuf {
        self.root.join("link").join(&unit.0)
    }

    /// rustc's incremental state of a unit. One folder each: crates of the same name cannot be mixed up.
    pub fn incremental(&self, unit: &UnitId) -> PathBuf {
        self.root.join("incremental").join(&unit.0)
    }

    /// Where rustc is told to write a unit: a link to cargo's folder, or to a private one. rustc hashes the
    /// folder's name into what every object depends on, so it must be one name for all builds.
    pub fn out(&self, unit: &UnitId) -> PathBuf {
        self.root.join("out").join(&unit.0)
    }

    /// Makes [`Folders::out`] lead to a folder.
    pub fn point_out(&self, unit: &UnitId, to: &Path) -> io::Result<()> {
        point_to(&self.out(unit), to)
    }

    /// What thin rebuilds of the running session left.
    pub fn rebuilds(&self) -> PathBuf {
        self.root.join("rebuild")
    }

    /// Creates the folders, and the two names under which cargo and rustc call `command`.
    pub fn prepare(&self, command: &Path) -> io::Result<()> {
        std::fs::create_dir_all(self.records())?;
        point_to(&self.wrapper(), command)?;
        self.prepare_shim(OsStr::new("cc"), command)
    }

    /// Makes the shim for a linker of that base name.
    pub fn prepare_shim(&self, base_name: &OsStr, command: &Path) -> io::Result<()> {
        point_to(&self.shim(base_name), command)
    }
}

/// Makes `link` a symbolic link to `target`, touching nothing where it is one already.
fn point_to(link: &Path, target: &Path) -> io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    if let Some(folder) = link.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut fresh = link.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = std::fs::remove_file(&fresh);
    std::os::unix::fs::symlink(target, &fresh)?;
    std::fs::rename(&fresh, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_once_and_follow_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::in_target(dir.path());
        folders.prepare(Path::new("/bin/true")).unwrap();
        let first = std::fs::symlink_metadata(folders.wrapper()).unwrap();
        folders.prepare(Path::new("/bin/true")).unwrap();
        let second = std::fs::symlink_metadata(folders.wrapper()).unwrap();
        assert_eq!(first.modified().unwrap(), second.modified().unwrap());
        folders.prepare(Path::new("/bin/false")).unwrap();
        assert_eq!(std::fs::read_link(folders.wrapper()).unwrap(), Path::new("/bin/false"));
        assert_eq!(std::fs::read_link(folders.shim(OsStr::new("cc"))).unwrap(), Path::new("/bin/false"));
    }
}
