//! What the files of the program hold, so that an edit is told from a touch.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The files of a program by the names that they are seen under.
#[derive(Default, Debug)]
pub struct Contents {
    /// The name under which a change is seen → the names that rustc and cargo know.
    seen_as: HashMap<PathBuf, Vec<PathBuf>>,
    /// The name that rustc and cargo know → what it held when it was last looked at.
    held: HashMap<PathBuf, Held>,
}

/// A file's contents, as far as they matter; none where there is no file.
type Held = Option<u64>;

fn look(path: &Path) -> Held {
    let bytes = std::fs::read(path).ok()?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Some(hasher.finish())
}

impl Contents {
    /// Takes in a file as it is now; returns the folders in which changes of it are seen.
    pub fn add(&mut self, path: &Path) -> Vec<PathBuf> {
        let names = seen_names(path);
        if !self.held.contains_key(path) {
            self.held.insert(path.to_owned(), look(path));
        }
        for name in &names {
            let known = self.seen_as.entry(name.clone()).or_default();
            if !known.iter().any(|known| known == path) {
                known.push(path.to_owned());
            }
        }
        let folders: BTreeSet<PathBuf> =
            names.iter().filter_map(|name| name.parent().map(Path::to_owned)).collect();
        folders.into_iter().collect()
    }

    /// The names that rustc and cargo know, for one that was seen.
    pub fn known(&self, seen: &Path) -> &[PathBuf] {
        self.seen_as.get(seen).map_or(&[], Vec::as_slice)
    }

    /// Looks at a file again. Whether it holds something else than when it was last looked at.
    pub fn refresh(&mut self, path: &Path) -> bool {
        let now = look(path);
        self.held.insert(path.to_owned(), now) != Some(now)
    }

    /// Looks at all files again, and returns those that hold something else.
    pub fn refresh_all(&mut self) -> Vec<PathBuf> {
        let all: Vec<PathBuf> = self.held.keys().cloned().collect();
        all.into_iter().filter(|path| self.refresh(path)).collect()
    }

    /// Whether the file is there.
    pub fn exists(&self, path: &Path) -> bool {
        self.held.get(path).is_some_and(Option::is_some)
    }
}

/// The names under which a change of the file is seen: the system tells the folder's real name, and
/// where the file is a link, what it leads to may change as well.
fn seen_names(path: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        names.push(std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned()).join(name));
    }
    if let Ok(real) = std::fs::canonicalize(path)
        && !names.contains(&real)
    {
        names.push(real);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_told_from_a_touch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.rs");
        std::fs::write(&path, "1").unwrap();
        let mut contents = Contents::default();
        contents.add(&path);
        std::fs::write(&path, "1").unwrap();
        assert!(!contents.refresh(&path));
        std::fs::write(&path, "2").unwrap();
        assert!(contents.refresh(&path));
        assert!(!contents.refresh(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(contents.refresh(&path));
        assert!(!contents.exists(&path));
    }

    #[test]
    fn links_and_detours_lead_to_the_known_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(root.join("app/src")).unwrap();
        std::fs::create_dir(root.join("shared")).unwrap();
        std::fs::write(root.join("shared/s.rs"), "").unwrap();
        std::os::unix::fs::symlink(root.join("shared/s.rs"), root.join("app/src/link.rs")).unwrap();
        let mut contents = Contents::default();
        let detour = root.join("app/../shared/s.rs");
        assert_eq!(contents.add(&detour), [root.join("shared")]);
        assert_eq!(contents.known(&root.join("shared/s.rs")), std::slice::from_ref(&detour));
        let link = root.join("app/src/link.rs");
        assert_eq!(contents.add(&link), [root.join("app/src"), root.join("shared")]);
        assert_eq!(contents.known(&link), std::slice::from_ref(&link));
        assert_eq!(contents.known(&root.join("shared/s.rs")), [detour, link]);
    }
}
