//! What processes and folders hold, as the system tells it.

use crate::report::field;
use crate::run::Result;
use object::{Object as _, ObjectSection as _};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A value of `/proc/<pid>/status`, in bytes.
pub(super) fn status(pid: u64, name: &str) -> Option<u64> {
    kilobytes(&field(&format!("/proc/{pid}/status"), name)?)
}

/// What is resident of a process: all of it, and what no file holds.
pub(super) fn resident(pid: u64) -> Option<(u64, u64)> {
    let rollup = format!("/proc/{pid}/smaps_rollup");
    Some((kilobytes(&field(&rollup, "Rss")?)?, kilobytes(&field(&rollup, "Anonymous")?)?))
}

fn kilobytes(value: &str) -> Option<u64> {
    Some(value.split(' ').next()?.parse::<u64>().ok()? * 1024)
}

/// How many mappings a process has.
pub(super) fn mappings(pid: u64) -> usize {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).map_or(0, |maps| maps.lines().count())
}

/// What a folder takes on the disk; files with several names count once.
pub(super) fn disk(folder: &Path) -> u64 {
    fn walk(folder: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
        let mut sum = 0;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                sum += walk(&entry.path(), seen);
            } else if seen.insert((metadata.dev(), metadata.ino())) {
                sum += metadata.blocks() * 512;
            }
        }
        sum
    }
    walk(folder, &mut HashSet::new())
}

/// The bytes of a program's `.symtab`, `.strtab` and `.text`.
pub(super) fn symbol_bytes(program: &Path) -> Result<u64> {
    let bytes = std::fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let file = object::File::parse(&*bytes).map_err(|error| format!("{}: {error}", program.display()))?;
    let size = |name| file.section_by_name(name).map_or(0, |section| section.size());
    Ok([".symtab", ".strtab", ".text"].map(size).iter().sum())
}
