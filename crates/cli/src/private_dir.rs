//! A folder that only its owner can enter, with a short path: for sockets, whose paths may have at
//! most 107 bytes, and for the runner, whose path must not contain white space.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder of this session, removed with it.
#[derive(Debug)]
pub struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Makes a fresh folder, in the user's runtime directory where that is usable.
    pub fn create() -> io::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| is_usable(path));
        let parent = runtime.unwrap_or_else(|| "/tmp".into());
        let mut last = io::Error::other("no name is free");
        for _ in 0..16 {
            let path = parent.join(format!("livepatch-{}", random_name()?));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Whether a folder belongs to this user and nobody else can enter it.
pub fn is_private(path: &Path) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == ours && metadata.permissions().mode() & 0o077 == 0
    })
}

fn is_usable(path: &Path) -> bool {
    let text = path.to_str();
    text.is_some_and(|text| text.len() < 48 && text.starts_with('/') && !text.contains(char::is_whitespace))
        && is_private(path)
}

/// 32 random bytes.
pub fn random_bytes() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

/// A name that nobody had before.
pub fn random_name() -> io::Result<String> {
    let mut hex = livepatch_proto::Token(random_bytes()?).to_hex();
    hex.truncate(12);
    Ok(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_short_and_gone_afterwards() {
        let dir = PrivateDir::create().unwrap();
        let path = dir.path().to_owned();
        assert!(is_private(&path));
        assert!(path.as_os_str().len() < 80);
        drop(dir);
        assert!(!path.exists());
        assert!(!is_private(Path::new("/tmp")));
    }
}
