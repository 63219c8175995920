//! Namespaces: which libraries see each other, and which folders they may come from.

use crate::loaded::LibraryId;
use std::path::{Path, PathBuf};

/// A namespace of one linker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NamespaceId(pub(crate) usize);

impl NamespaceId {
    /// The one that is there from the beginning.
    pub const DEFAULT: Self = Self(0);
}

/// How a namespace is made (`android_create_namespace`).
#[derive(Clone, Debug, Default)]
pub struct NamespaceConfig {
    /// Its name, for errors.
    pub name: String,
    /// Searched before a library's own `DT_RUNPATH` (`ld_library_path`).
    pub search_paths: Vec<PathBuf>,
    /// Searched after it (`default_library_path`).
    pub default_paths: Vec<PathBuf>,
    /// Folders from which, however deep, an isolated namespace may load besides.
    pub permitted_paths: Vec<PathBuf>,
    /// Whether it loads only from its own folders.
    pub isolated: bool,
    /// Libraries that an isolated namespace may load from wherever they are (`EXEMPT_LIST_ENABLED`).
    pub exempt: Vec<String>,
    /// If not empty, the only names that may be loaded in it.
    pub allowed: Vec<String>,
    /// The namespace whose libraries are all in this one as well (`SHARED`).
    pub shares: Option<NamespaceId>,
    /// Which libraries of other namespaces are found from here.
    pub links: Vec<NamespaceLink>,
}

/// A way from one namespace to libraries of another.
#[derive(Clone, Debug)]
pub struct NamespaceLink {
    /// The other one.
    pub to: NamespaceId,
    /// Which of its libraries, by soname; none for all.
    pub libraries: Option<Vec<String>>,
}

impl NamespaceLink {
    pub(crate) fn allows(&self, name: &str) -> bool {
        let name = name.rsplit('/').next().unwrap_or(name);
        self.libraries.as_ref().is_none_or(|names| names.iter().any(|allowed| allowed == name))
    }
}

/// A namespace with what is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespace {
    pub(crate) config: NamespaceConfig,
    /// In the order in which they were loaded.
    pub(crate) members: Vec<LibraryId>,
}

impl Namespace {
    /// Whether a file may be loaded here.
    pub(crate) fn may_load(&self, path: &str) -> bool {
        let config = &self.config;
        let base = path.rsplit('/').next().unwrap_or(path);
        if !config.allowed.is_empty() && !config.allowed.iter().any(|allowed| allowed == base) {
            return false;
        }
        if !config.isolated || config.exempt.iter().any(|exempt| exempt == base || exempt == path) {
            return true;
        }
        let folder = Path::new(path).parent();
        let is_folder = |own: &PathBuf| folder.is_some_and(|folder| same(own, folder));
        let is_above = |own: &PathBuf| Path::new(path).starts_with(real(own));
        config.search_paths.iter().any(is_folder)
            || config.default_paths.iter().any(is_folder)
            || config.permitted_paths.iter().any(is_above)
    }
}

fn same(a: &Path, b: &Path) -> bool {
    a == b || real(a) == real(b)
}

/// With links followed, as far as it is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
