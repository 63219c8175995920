//! The archives of the captured link: functions that the linker dropped from the host are found here.

use crate::objects::{LoadError, Object};
use livepatch_object::archive::{ArchiveIndex, MemberId, member};
use object::read::ReadCache;
use rustc_hash::FxHashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The archives of a link, in link order. Members are read when they are needed.
#[derive(Debug)]
pub struct Archives {
    paths: Vec<PathBuf>,
    indexes: Vec<ArchiveIndex>,
    members: FxHashMap<(usize, MemberId), Arc<Object>>,
}

impl Archives {
    /// Reads the symbol tables of the archives among a link's inputs.
    pub fn open(link_inputs: &[PathBuf]) -> Result<Self, LoadError> {
        let archive = |path: &&PathBuf| {
            path.extension().is_some_and(|extension| extension == "rlib" || extension == "a")
        };
        let paths: Vec<PathBuf> = link_inputs.iter().filter(archive).cloned().collect();
        let indexes = paths.iter().map(|path| index(path)).collect::<Result<_, _>>()?;
        Ok(Self { paths, indexes, members: FxHashMap::default() })
    }

    /// The first member, in link order, that defines a name.
    pub fn find(&mut self, name: &str) -> Result<Option<Arc<Object>>, LoadError> {
        for (archive, id) in self.candidates(name) {
            let object = self.member(archive, id)?;
            let defines = object
                .definitions()
                .any(|symbol| object.image.name(symbol) == name && object.scope(symbol).is_none());
            if defines {
                return Ok(Some(object));
            }
        }
        Ok(None)
    }

    fn candidates(&self, name: &str) -> Vec<(usize, MemberId)> {
        let indexes = self.indexes.iter().enumerate();
        indexes.flat_map(|(at, index)| index.candidates(name).map(move |id| (at, id))).collect()
    }

    fn member(&mut self, archive: usize, id: MemberId) -> Result<Arc<Object>, LoadError> {
        if let Some(object) = self.members.get(&(archive, id)) {
            return Ok(object.clone());
        }
        let path = &self.paths[archive];
        let cache = ReadCache::new(open(path)?);
        let bytes = member(&cache, id).map_err(|source| LoadError::Object { path: path.clone(), source })?;
        let object = Object::parse(bytes.into(), path)?;
        self.members.insert((archive, id), object.clone());
        Ok(object)
    }
}

fn open(path: &Path) -> Result<File, LoadError> {
    File::open(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

fn index(path: &Path) -> Result<ArchiveIndex, LoadError> {
    let cache = ReadCache::new(open(path)?);
    ArchiveIndex::parse(&cache).map_err(|source| LoadError::Object { path: path.to_owned(), source })
}
