//! One session for each target directory.

use crate::error::Failure;
use livepatch_build::capture::Folders;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

/// Holds a target directory for this process; the kernel releases it when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn path(folders: &Folders) -> PathBuf {
    folders.root().join("lock")
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub fn take(folders: &Folders) -> Result<Self, Failure> {
        let path = path(folders);
        std::fs::create_dir_all(folders.root()).map_err(Failure::file("create", folders.root()))?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Failure::file("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Failure::Busy { pid: holder(&mut file) }),
            Err(error) => return Err(Failure::file("lock", &path)(error.into())),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Failure::file("write", &path))?;
        Ok(Self { _file: file })
    }

    /// The process that holds the lock now.
    pub fn holder(folders: &Folders) -> Option<String> {
        let mut file = File::open(path(folders)).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => Some(holder(&mut file)),
            _ => None,
        }
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::in_target(dir.path());
        assert_eq!(Lock::holder(&folders), None);
        let lock = Lock::take(&folders).unwrap();
        let own = std::process::id().to_string();
        assert!(matches!(Lock::take(&folders), Err(Failure::Busy { pid }) if pid == own));
        assert_eq!(Lock::holder(&folders), Some(own));
        drop(lock);
        Lock::take(&folders).unwrap();
    }
}
