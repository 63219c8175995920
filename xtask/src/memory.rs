//! What processes and folders hold, as the system tells it.

use crate::report::field;
use crate::run::Result;
use object::{Object as _, ObjectSection as _};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A value of `/proc/<pid>/status`, in bytes.
pub(crate) fn status(pid: u64, name: &str) -> Option<u64> {
    kilobytes(&field(&format!("/proc/{pid}/status"), name)?)
}

/// What is resident of a process: all of it, and what no file holds.
pub(crate) fn resident(pid: u64) -> Option<(u64, u64)> {
    let rollup = format!("/proc/{pid}/smaps_rollup");
    Some((kilobytes(&field(&rollup, "Rss")?)?, kilobytes(&field(&rollup, "Anonymous")?)?))
}

fn kilobytes(value: &str) -> Option<u64> {
    Some(value.split(' ').next()?.parse::<u64>().ok()? * 1024)
}

/// How many mappings a process has.
pub(crate) fn mappings(pid: u64) -> usize {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).map_or(0, |maps| maps.lines().count())
}

/// What is resident of the files of a folder that a process has mapped, in bytes.
pub(crate) fn resident_of(pid: u64, folder: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    let (mut sum, mut inside) = (0, false);
    for line in text.lines() {
        let (name, value) = line.split_once(' ')?;
        match name.strip_suffix(':') {
            // The path comes after range, permissions, offset, device and inode.
            None => {
                inside = value.find('/').is_some_and(|path| Path::new(&value[path..]).starts_with(folder))
            }
            Some("Rss") if inside => sum += kilobytes(value.trim())?,
            Some(_) => {}
        }
    }
    Some(sum)
}

/// How many files a process has open.
pub(crate) fn files(pid: u64) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// How many threads a process has.
pub(crate) fn threads(pid: u64) -> Option<usize> {
    field(&format!("/proc/{pid}/status"), "Threads")?.parse().ok()
}

/// What a folder takes on the disk; files with several names count once.
pub(crate) fn disk(folder: &Path) -> u64 {
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
pub(crate) fn symbol_bytes(program: &Path) -> Result<u64> {
    let bytes = std::fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let file = object::File::parse(&*bytes).map_err(|error| format!("{}: {error}", program.display()))?;
    let size = |name| file.section_by_name(name).map_or(0, |section| section.size());
    Ok([".symtab", ".strtab", ".text"].map(size).iter().sum())
}
