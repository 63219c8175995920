//! The agent, which this command carries inside itself.

use crate::private_dir::PrivateDir;
use livepatch_build::capture::{Folders, write_atomically};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;

static AGENT: &[u8] = include_bytes!(env!("LIVEPATCH_AGENT_FILE"));

/// Environment variable: another agent than the one inside this command, for work on the agent.
const OVERRIDE_VARIABLE: &str = "LIVEPATCH_AGENT";

/// Puts the agent where it can be preloaded from: `LD_PRELOAD` takes no path with a space or a colon.
pub fn place(folders: &Folders, private: &PrivateDir) -> io::Result<PathBuf> {
    let link = private.path().join("agent.so");
    std::os::unix::fs::symlink(path(folders)?, &link)?;
    Ok(link)
}

/// The path of the agent, written out where that was not done before.
fn path(folders: &Folders) -> io::Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE_VARIABLE) {
        return std::path::absolute(path);
    }
    let mut hasher = DefaultHasher::new();
    AGENT.hash(&mut hasher);
    let path = folders.root().join(format!("agent-{:016x}.so", hasher.finish()));
    let written = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == AGENT.len() as u64);
    if !written {
        std::fs::create_dir_all(folders.root())?;
        write_atomically(&path, AGENT)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_object_is_written_once() {
        assert!(AGENT.starts_with(b"\x7fELF"));
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::in_target(dir.path());
        let first = path(&folders).unwrap();
        let time = std::fs::metadata(&first).unwrap().modified().unwrap();
        assert_eq!(path(&folders).unwrap(), first);
        assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), time);
        assert_eq!(std::fs::read(&first).unwrap(), AGENT);
    }
}
