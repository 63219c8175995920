//! The archives of the captured link: functions that the linker dropped from the host are found here.
//!
//! A library that is declared and not used is not in the link at all. The folders that rustc searches for
//! dependencies have it; they are looked at when nothing else has a name.

use crate::objects::{LoadError, Object};
use bytes::Bytes;
use livepatch_object::archive::{ArchiveIndex, MemberId, member};
use object::read::ReadCache;
use rustc_hash::{FxHashMap, FxHashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The archives of a link, in link order. Members are read when they are needed.
#[derive(Debug)]
pub struct Archives {
    paths: Vec<PathBuf>,
    indexes: Vec<ArchiveIndex>,
    members: FxHashMap<(usize, MemberId), Arc<Object>>,
    /// How many archives are of the link; those after them are of `folders`.
    linked: usize,
    /// Folders with libraries that the link may not have had, until they are looked at.
    folders: Vec<PathBuf>,
    /// Archives that were not in the link and that a Rust name led to.
    added: FxHashSet<usize>,
}

impl Archives {
    /// Reads the symbol tables of the archives among a link's inputs.
    pub fn open(link_inputs: &[PathBuf]) -> Result<Self, LoadError> {
        let paths: Vec<PathBuf> = link_inputs.iter().filter(|path| is_archive(path)).cloned().collect();
        let indexes = paths.iter().map(|path| index(path)).collect::<Result<Vec<_>, _>>()?;
        let folders = link_inputs.iter().filter(|path| path.is_dir()).cloned().collect();
        let linked = paths.len();
        Ok(Self {
            paths,
            indexes,
            members: FxHashMap::default(),
            linked,
            folders,
            added: FxHashSet::default(),
        })
    }

    /// The first member, in link order, that defines a name.
    pub fn find(&mut self, name: &str) -> Result<Option<Arc<Object>>, LoadError> {
        if let Some((_, object)) = self.find_in(0..self.linked, name)? {
            return Ok(Some(object));
        }
        self.open_folders();
        // A Rust name says which crate it is of, and of which build of it. Other names may be of any
        // version of a library that lies there: they count where a Rust name has led already.
        let is_rust = name.starts_with("_ZN") || name.starts_with("_R");
        let all = self.linked..self.paths.len();
        let candidates = all.filter(|at| is_rust || self.added.contains(at)).collect::<Vec<_>>();
        let Some((at, object)) = self.find_in(candidates, name)? else { return Ok(None) };
        self.added.insert(at);
        Ok(Some(object))
    }

    fn find_in(
        &mut self,
        archives: impl IntoIterator<Item = usize>,
        name: &str,
    ) -> Result<Option<(usize, Arc<Object>)>, LoadError> {
        for at in archives {
            for id in self.indexes[at].candidates(name).collect::<Vec<_>>() {
                let object = self.member(at, id)?;
                let mut all = object.definitions();
                if all.any(|symbol| object.image.name(symbol) == name && object.scope(symbol).is_none()) {
                    drop(all);
                    return Ok(Some((at, object)));
                }
            }
        }
        Ok(None)
    }

    /// What cannot be read there is no library of this program.
    fn open_folders(&mut self) {
        for folder in std::mem::take(&mut self.folders) {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths: Vec<_> =
                entries.map(|entry| entry.path()).filter(|path| is_archive(path)).collect();
            paths.sort();
            for path in paths {
                if let Ok(index) = index(&path) {
                    self.paths.push(path);
                    self.indexes.push(index);
                }
            }
        }
    }

    fn member(&mut self, archive: usize, id: MemberId) -> Result<Arc<Object>, LoadError> {
        if let Some(object) = self.members.get(&(archive, id)) {
            return Ok(object.clone());
        }
        let path = &self.paths[archive];
        let cache = ReadCache::new(open(path)?);
        let bytes = member(&cache, id).map_err(|source| LoadError::Object { path: path.clone(), source })?;
        let object = Object::parse(Bytes::copy_from_slice(bytes), path)?;
        self.members.insert((archive, id), object.clone());
        Ok(object)
    }
}

pub(crate) fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rlib" || extension == "a")
}

pub(crate) fn open(path: &Path) -> Result<File, LoadError> {
    File::open(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

pub(crate) fn index(path: &Path) -> Result<ArchiveIndex, LoadError> {
    let cache = ReadCache::new(open(path)?);
    ArchiveIndex::parse(&cache).map_err(|source| LoadError::Object { path: path.to_owned(), source })
}
