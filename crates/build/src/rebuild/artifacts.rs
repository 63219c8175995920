//! What rebuilds leave: objects that changed, libraries to compile dependents against.

use super::State;
use crate::capture::{Folders, keep, objects};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file, whatever its names are: device and inode number.
type Identity = (u64, u64);

fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The objects of a crate. All are kept under names of ours, so no inode number is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    paths: HashMap<Identity, PathBuf>,
}

impl Objects {
    pub(super) fn of(paths: &[PathBuf]) -> io::Result<Self> {
        let paths =
            paths.iter().map(|path| Ok((identity(path)?, path.clone()))).collect::<io::Result<_>>()?;
        Ok(Self { paths })
    }

    /// The paths, in the order of the codegen units' names.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = self.paths.values().map(|path| (path.file_name(), path)).collect();
        paths.sort_unstable();
        paths.into_iter().map(|(_, path)| path.clone()).collect()
    }

    /// The objects of a finished session: those that are known under the names they have, the others
    /// kept in `folder`.
    pub(super) fn next(&self, session: &Path, folder: &Path) -> io::Result<Self> {
        let mut next = HashMap::with_capacity(self.paths.len());
        let open = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let session_folder = rustix::fs::open(session, open, Mode::empty())?;
        for name in objects::names_in(session)? {
            // There are hundreds: each is looked up in this folder, not from the root.
            let found = rustix::fs::statat(&session_folder, &name, AtFlags::empty())?;
            let identity = (found.st_dev, found.st_ino);
            let path = match self.paths.get(&identity) {
                Some(known) => known.clone(),
                None => {
                    std::fs::create_dir_all(folder)?;
                    let kept = folder.join(&name);
                    keep(&session.join(&name), &kept)?;
                    kept
                }
            };
            next.insert(identity, path);
        }
        Ok(Self { paths: next })
    }
}

/// The folders of a session's rebuilds.
#[derive(Debug)]
pub(super) struct Artifacts {
    folders: Folders,
    /// The number of the rebuild that is under way, or was last.
    serial: u32,
    /// Objects that the last rebuild replaced: a reader of the old ones may still be at work.
    superseded: Vec<PathBuf>,
}

impl Artifacts {
    /// Empties the folder of rebuilds.
    pub(super) fn create(folders: &Folders) -> io::Result<Self> {
        let root = folders.rebuilds();
        match std::fs::remove_dir_all(&root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(root.join("libraries"))?;
        Ok(Self { folders: folders.clone(), serial: 0, superseded: Vec::new() })
    }

    pub(super) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The libraries that earlier rebuilds left.
    pub(super) fn libraries(&self) -> PathBuf {
        self.folders.rebuilds().join("libraries")
    }

    /// A fresh folder for rustc to write to.
    pub(super) fn begin(&mut self) -> io::Result<PathBuf> {
        self.serial += 1;
        let out = self.folders.rebuilds().join(format!("out-{}", self.serial));
        std::fs::create_dir_all(out.join("stub"))?;
        Ok(out)
    }

    /// Removes folders and files, aside.
    pub(super) fn discard(paths: Vec<PathBuf>) {
        std::thread::spawn(move || {
            for path in paths {
                let _ =
                    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
            }
        });
    }

    /// Where the changed objects of this rebuild are kept.
    pub(super) fn objects(&self, state: &State) -> PathBuf {
        self.folders.rebuilds().join(format!("objects-{}", self.serial)).join(&state.unit.id.0)
    }

    /// Takes note that `new` replaced `old`, and removes what the rebuild before replaced. Objects of
    /// the base build are never removed.
    pub(super) fn supersede(&mut self, replaced: impl IntoIterator<Item = (Objects, Objects)>) {
        for path in self.superseded.drain(..) {
            let _ = std::fs::remove_file(path);
        }
        let ours = self.folders.rebuilds();
        for (old, new) in replaced {
            let gone = old.paths.into_iter().filter(|(identity, _)| !new.paths.contains_key(identity));
            self.superseded.extend(gone.map(|(_, path)| path).filter(|path| path.starts_with(&ours)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_inodes_get_new_names() {
        let dir = tempfile::tempdir().unwrap();
        let (base, session) = (dir.path().join("base"), dir.path().join("s-2"));
        std::fs::create_dir_all(&base).unwrap();
        std::fs::create_dir_all(&session).unwrap();
        std::fs::write(base.join("a.o"), "a").unwrap();
        std::fs::write(base.join("b.o"), "b").unwrap();
        std::fs::hard_link(base.join("a.o"), session.join("a.o")).unwrap();
        std::fs::write(session.join("b.o"), "b2").unwrap();
        let known = Objects::of(&[base.join("a.o"), base.join("b.o")]).unwrap();
        let next = known.next(&session, &dir.path().join("kept")).unwrap();
        assert_eq!(next.paths(), [base.join("a.o"), dir.path().join("kept/b.o")]);
    }

    #[test]
    fn what_was_replaced_goes_one_rebuild_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut artifacts = Artifacts::create(&Folders::at(dir.path().into())).unwrap();
        let object = dir.path().join("rebuild/x.o");
        std::fs::write(&object, "1").unwrap();
        let old = Objects::of(std::slice::from_ref(&object)).unwrap();
        artifacts.supersede([(old, Objects::default())]);
        assert!(object.exists());
        artifacts.supersede([]);
        assert!(!object.exists());
    }
}
