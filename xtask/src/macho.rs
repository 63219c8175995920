//! Chores around Mach-O images.

pub(crate) mod bench;
pub(crate) mod differential;
pub(crate) mod packages;

use crate::fixtures::{self, Set};
use crate::run::Result;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Mach-O files of all packages of `cargo xtask fixtures macho` that are there, with the packages' names.
fn images() -> Result<Vec<(String, PathBuf)>> {
    let mut images = Vec::new();
    for folder in fixtures::folders(Set::Macho)? {
        let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut found = Vec::new();
        collect(&folder, &mut found);
        found.sort();
        images.extend(found.into_iter().map(|file| (package.clone(), file)));
    }
    Ok(images)
}

/// What cannot be read is not there.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => collect(&path, found),
            false if is_image(&path) => found.push(path),
            false => {}
        }
    }
}

/// Whether a file is a Mach-O image, or a fat file of such: not of archives, and no Java class, which has the same
/// magic number and a version of 45 and more where the number of slices would be.
fn is_image(path: &Path) -> bool {
    let mut start = [0; 8];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    match (read.is_ok(), start) {
        (true, [0xcf, 0xfa, 0xed, 0xfe, ..]) => true,
        (true, [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, slices]) if slices < 45 => !holds_archives(path),
        _ => false,
    }
}

fn holds_archives(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    let offset = bytes.get(16..20).and_then(|offset| offset.first_chunk()).map(|at| u32::from_be_bytes(*at));
    let first = offset.and_then(|offset| bytes.get(offset as usize..)).unwrap_or_default();
    first.starts_with(b"!<arch>")
}
