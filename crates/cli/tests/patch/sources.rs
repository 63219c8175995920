//! The files of a project, with the pieces of them that steps replace.

use std::collections::BTreeMap;

/// The files of a project as they should be now.
#[derive(Clone, Default, Debug)]
pub(crate) struct Sources {
    files: BTreeMap<String, Vec<Piece>>,
}

/// A piece of a file; some have a name.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) region: Option<String>,
    pub(crate) text: String,
}

impl Sources {
    /// Adds a file, or replaces it as a whole.
    pub(crate) fn put(&mut self, path: &str, pieces: Vec<Piece>) {
        self.files.insert(path.to_owned(), pieces);
    }

    /// Every file, with its text.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, String)> {
        self.files.keys().map(|path| (path.as_str(), self.text(path)))
    }

    /// A file's text.
    pub(crate) fn text(&self, path: &str) -> String {
        self.files.get(path).into_iter().flatten().map(|piece| piece.text.as_str()).collect()
    }

    pub(crate) fn remove(&mut self, path: &str) -> Result<(), String> {
        self.files.remove(path).map(|_| ()).ok_or_else(|| format!("there is no file {path}"))
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        let pieces = self.files.remove(from).ok_or_else(|| format!("there is no file {from}"))?;
        self.files.insert(to.to_owned(), pieces);
        Ok(())
    }

    /// Replaces a text that is in one place; returns the file.
    pub(crate) fn edit(&mut self, old: &str, new: &str) -> Result<String, String> {
        let mut found = None;
        let mut count = 0;
        for (path, pieces) in &mut self.files {
            for piece in pieces {
                count += piece.text.matches(old).count();
                if piece.text.contains(old) {
                    found.get_or_insert((path, piece));
                }
            }
        }
        match (found, count) {
            (Some((path, piece)), 1) => {
                piece.text = piece.text.replace(old, new);
                Ok(path.clone())
            }
            _ => Err(format!("`{old}` is in {count} places, not in one")),
        }
    }

    /// Replaces a region; returns the file.
    pub(crate) fn replace(&mut self, region: &str, text: &str) -> Result<String, String> {
        for (path, pieces) in &mut self.files {
            if let Some(piece) = pieces.iter_mut().find(|piece| piece.region.as_deref() == Some(region)) {
                piece.text = text.to_owned();
                return Ok(path.clone());
            }
        }
        Err(format!("there is no region `{region}`"))
    }
}
