//! Where files are looked for: paths with `$ORIGIN`, folders, archives, and the system's own folders.

use crate::LinkerError;
use crate::memory;
use crate::page;
use crate::read::Opened;
use livepatch_object::address::FileOffset;
use livepatch_object::loadable::archive_entry::{self, ArchiveError, SEPARATOR};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Opens a file, or an archive's entry, by its path. None if there is nothing there.
pub(crate) fn open(path: &str) -> Result<Option<Opened>, LinkerError> {
    if let Some((archive, entry)) = path.split_once(SEPARATOR) {
        return open_entry(archive, entry, path);
    }
    let failed = |source| LinkerError::File { path: path.into(), source };
    match File::open(path) {
        Ok(file) => {
            let metadata = file.metadata().map_err(failed)?;
            let path = real_path(&file, path);
            metadata.is_file().then(|| Opened::with(path, file, &metadata, 0, None)).transpose()
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(failed(source)),
    }
}

fn open_entry(archive: &str, entry: &str, path: &str) -> Result<Option<Opened>, LinkerError> {
    let failed = |source| LinkerError::File { path: archive.into(), source };
    let file = match File::open(archive) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let wrong = |source| LinkerError::Archive { path: path.to_owned(), source };
    let length = file.metadata().map_err(failed)?.len();
    let length = usize::try_from(length).ok().filter(|&length| length > 0);
    let length = length.ok_or(wrong(ArchiveError::NotReadable("it is empty")))?;
    let bytes = memory::map_bytes(&file, FileOffset(0), length).map_err(failed)?;
    match archive_entry::find(&bytes, entry.as_bytes(), page::size()) {
        Ok(stored) => {
            let path = format!("{}{SEPARATOR}{entry}", real_path(&file, archive));
            Opened::new(path, file, stored.offset.0, Some(stored.size)).map(Some)
        }
        Err(ArchiveError::NoEntry) => Ok(None),
        Err(source) => Err(wrong(source)),
    }
}

/// Looks for a name in folders; the first that has it.
pub(crate) fn open_in<'p>(
    folders: impl IntoIterator<Item = &'p PathBuf>,
    name: &str,
) -> Result<Option<Opened>, LinkerError> {
    for folder in folders {
        let path = format!("{}/{name}", folder.display());
        // A folder's file that cannot be read is as good as none: another folder may have a better one.
        match open(&path) {
            Ok(Some(opened)) => return Ok(Some(opened)),
            Ok(None) | Err(LinkerError::File { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(None)
}

/// The folders of a `DT_RUNPATH` of a library that lies at `path`.
pub(crate) fn runpath(text: &str, path: &str) -> Vec<PathBuf> {
    // Of an archive's entry, `$ORIGIN` is the entry's folder.
    let origin = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
    let library = if cfg!(target_pointer_width = "64") { "lib64" } else { "lib" };
    let platform = std::env::consts::ARCH;
    let expand = |folder: &str| {
        let mut folder = folder.to_owned();
        for (name, value) in [("ORIGIN", origin), ("LIB", library), ("PLATFORM", platform)] {
            folder = folder.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
        }
        PathBuf::from(folder)
    };
    text.split(':').filter(|folder| !folder.is_empty()).map(expand).collect()
}

/// The folders that the system's own loader knows: `LD_LIBRARY_PATH` apart, what its configuration lists, and
/// those that it has always known.
pub fn system_paths() -> &'static [PathBuf] {
    static PATHS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut paths = Vec::new();
        read_configuration(Path::new("/etc/ld.so.conf"), &mut paths, 0);
        paths.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
        paths.retain(|path| path.is_dir());
        paths
    })
}

fn read_configuration(file: &Path, paths: &mut Vec<PathBuf>, depth: u32) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.strip_prefix("include ").map(str::trim) {
            Some(pattern) if depth < 4 => include(pattern, paths, depth + 1),
            None if line.starts_with('/') => paths.push(line.into()),
            _ => {}
        }
    }
}

/// `include /etc/ld.so.conf.d/*.conf`: all files of a folder with one ending is what configurations ask for.
fn include(pattern: &str, paths: &mut Vec<PathBuf>, depth: u32) {
    let Some((folder, ending)) = pattern.split_once('*') else {
        return read_configuration(Path::new(pattern), paths, depth);
    };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|file| file.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files.iter().for_each(|file| read_configuration(file, paths, depth));
}

/// The path of an open file with all links followed, as the system knows it; as it was opened where there is
/// no such path.
fn real_path(file: &File, opened: &str) -> String {
    let known = format!("/proc/self/fd/{}", file.as_raw_fd());
    match std::fs::read_link(known) {
        Ok(path) if path.is_absolute() => path.to_string_lossy().into_owned(),
        _ => opened.to_owned(),
    }
}
