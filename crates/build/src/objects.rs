//! Objects of codegen units, mapped and shared.

use crate::mapped_file::map;
use crate::session::UnitId;
use bytes::Bytes;
use livepatch_object::ObjectError;
use livepatch_object::layout::Layouts;
use livepatch_object::relocatable::{Binding, Place, Relocatable, SymbolId, SymbolKind};
use livepatch_object::unwind::Unwind;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use std::hash::Hasher as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use thiserror::Error;

/// An object with what is needed to compare and link it.
#[derive(Debug)]
pub struct Object {
    /// Its tables.
    pub image: Relocatable,
    /// Its unwind entries.
    pub unwind: Unwind,
    /// Where it comes from, for messages.
    pub origin: PathBuf,
    layouts: OnceLock<Option<Layouts>>,
    thread_mains: OnceLock<Vec<SymbolId>>,
    mentioned: OnceLock<Mentioned>,
    /// The name under which its codegen unit was known before it got another.
    known_as: OnceLock<Box<str>>,
}

impl Object {
    /// Reads an object from its bytes.
    pub fn parse(bytes: impl Into<Bytes>, origin: &Path) -> Result<Arc<Self>, LoadError> {
        let bad = |source| LoadError::Object { path: origin.to_owned(), source };
        let image = Relocatable::parse(bytes).map_err(bad)?;
        let unwind = Unwind::parse(&image).map_err(bad)?;
        Ok(Arc::new(Self {
            image,
            unwind,
            origin: origin.to_owned(),
            layouts: OnceLock::new(),
            thread_mains: OnceLock::new(),
            mentioned: OnceLock::new(),
            known_as: OnceLock::new(),
        }))
    }

    /// Reads an object from a file that is kept as it is.
    pub fn load(path: &Path) -> Result<Arc<Self>, LoadError> {
        Self::parse(load(path)?, path)
    }

    /// What its debug information says about types; none when it has none that can be read. Takes time
    /// when it is asked for first.
    pub fn layouts(&self) -> Option<&Layouts> {
        self.layouts.get_or_init(|| Layouts::read(&self.image).ok().flatten()).as_ref()
    }

    /// What it has threads run from their beginning to their end. Takes time when it is asked for first.
    pub fn thread_mains(&self) -> &[SymbolId] {
        self.thread_mains.get_or_init(|| crate::threads::mains(self))
    }

    /// Whether it may define or refer to one of some names; quick once it was asked for anything.
    pub fn mentions(&self, names: &Mentioned) -> bool {
        let own = self
            .mentioned
            .get_or_init(|| Mentioned::of(self.image.symbols().map(|(id, _)| self.image.name(id))));
        own.has_any_of(names)
    }

    /// The functions, variables and thread-locals that it defines under a name of their own.
    pub fn definitions(&self) -> impl Iterator<Item = SymbolId> {
        self.image.symbols().filter(|(id, symbol)| self.is_definition(*id, symbol.place)).map(|(id, _)| id)
    }

    fn is_definition(&self, id: SymbolId, place: Place) -> bool {
        let symbol = self.image.symbol(id);
        matches!(place, Place::Section(_))
            && !matches!(symbol.kind, SymbolKind::Section | SymbolKind::File)
            && livepatch_object::compare::is_named(&self.image, id)
    }

    /// The codegen unit (or source file) that scopes a symbol; none when it is known everywhere.
    pub fn scope(&self, id: SymbolId) -> Option<&str> {
        (self.image.symbol(id).binding == Binding::Local).then(|| self.file())
    }

    fn file(&self) -> &str {
        self.known_as.get().map(|name| &**name).unwrap_or_else(|| self.image.file_name())
    }

    /// Takes it for a later version of another object: what is local to the one is local to the other.
    pub fn succeed(&self, other: &Self) {
        self.known_as.get_or_init(|| other.file().into());
    }
}

/// A set of names, as hashes: what it does not have was not put in.
#[derive(Clone, Debug, Default)]
pub struct Mentioned(Vec<u32>);

impl Mentioned {
    /// The set of these names.
    pub fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let hash = |name: &str| {
            let mut hasher = FxHasher::default();
            hasher.write(name.as_bytes());
            // The upper half is mixed best.
            (hasher.finish() >> 32) as u32
        };
        let mut hashes: Vec<u32> = names.map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes)
    }

    fn has_any_of(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        few.0.iter().any(|hash| many.0.binary_search(hash).is_ok())
    }
}

/// Tells objects apart for as long as they are held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ObjectKey(usize);

impl ObjectKey {
    /// The key of an object.
    pub fn of(object: &Arc<Object>) -> Self {
        Self(Arc::as_ptr(object).addr())
    }
}

/// A codegen unit of a captured crate: the same across rebuilds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CodegenUnit {
    /// The rustc invocation.
    pub unit: UnitId,
    /// The object's file stem.
    pub name: String,
}

impl CodegenUnit {
    /// The codegen unit that left an object file.
    pub fn of(unit: &UnitId, object: &Path) -> Self {
        let name = object.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self { unit: unit.clone(), name }
    }
}

/// What tells that a file's content is unchanged: rustc hard-links the objects it did not rebuild.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    /// The identity of the file at `path`.
    pub fn of(path: &Path) -> Result<Self, LoadError> {
        let data =
            std::fs::metadata(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        Ok(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            changed: (data.mtime(), data.mtime_nsec()),
        })
    }
}

/// Objects by the names of their files. Hosts that were linked from the same files share them, and what was
/// read stays at hand when its file is gone, until [`Store::retain`] says otherwise: names are not used again.
#[derive(Clone, Default, Debug)]
pub struct Store(Arc<Mutex<FxHashMap<PathBuf, Loaded>>>);

/// An object, and its file's identity.
type Loaded = (Identity, Arc<Object>);

impl Store {
    /// The identity of the file at `path`.
    pub fn identity(&self, path: &Path) -> Result<Identity, LoadError> {
        match self.known(path) {
            Some((identity, _)) => Ok(identity),
            None => Identity::of(path),
        }
    }

    /// The object at `path`, and its file's identity.
    pub fn load(&self, path: &Path) -> Result<Loaded, LoadError> {
        if let Some(known) = self.known(path) {
            return Ok(known);
        }
        let loaded = (Identity::of(path)?, Object::load(path)?);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(path.to_owned(), loaded.clone());
        Ok(loaded)
    }

    /// Lets go of objects that nobody uses and whose files are none of these.
    pub fn retain(&self, files: &FxHashSet<&Path>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|path, (_, object)| Arc::strong_count(object) > 1 || files.contains(path.as_path()));
    }

    fn known(&self, path: &Path) -> Option<Loaded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

/// The bytes of a file that is kept as it is.
pub fn load(path: &Path) -> Result<Bytes, LoadError> {
    map(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

/// An object, archive or image could not be read.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is damaged or of another kind than expected", path.display())]
    Object {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: ObjectError,
    },
}
