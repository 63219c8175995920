//! Files that must outlive the ones they came from, and files that appear as a whole.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Makes `to` another name of the file `from`: a hard link, or a copy where the file system has none.
pub fn keep(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(to)?;
            keep(from, to)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => {
            // Whoever reads what is there goes on with that.
            let _ = std::fs::remove_file(to);
            std::fs::copy(from, to).map(drop)
        }
    }
}

/// Writes a file so that others see the old contents or the new, never a part.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.tmp", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let written = std::fs::File::create(&fresh)
        .and_then(|mut file| file.write_all(contents))
        .and_then(|()| std::fs::rename(&fresh, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn keeping_links_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        write_atomically(&from, b"one").unwrap();
        std::fs::write(&to, b"other").unwrap();
        keep(&from, &to).unwrap();
        assert_eq!(std::fs::metadata(&from).unwrap().ino(), std::fs::metadata(&to).unwrap().ino());
        write_atomically(&from, b"two").unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
