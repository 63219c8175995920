//! All records of a captured build, found by what was made.

use crate::capture::folders::LINK_RECORD;
use crate::capture::record::{self, LinkRecord, UnitRecord};
use crate::capture::{Folders, UnitKind};
use crate::session::UnitId;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The records of a folder. Those of another version count as missing.
#[derive(Debug)]
pub(super) struct Records {
    units: Vec<UnitRecord>,
    /// Which unit makes a file that others are compiled against: the one that was made last.
    by_output: HashMap<PathBuf, usize>,
    links: Vec<LinkRecord>,
}

impl Records {
    pub(super) fn read(folders: &Folders) -> io::Result<Self> {
        let mut records = Self { units: Vec::new(), by_output: HashMap::new(), links: Vec::new() };
        for entry in std::fs::read_dir(folders.records())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(LINK_RECORD) {
                records.links.extend(record::read_link(&path));
            } else if name.ends_with(".json") {
                records.units.extend(record::read_unit(&path));
            }
        }
        records.units.sort_by_key(|unit| unit.started);
        for (index, unit) in records.units.iter().enumerate() {
            let macros = (unit.kind == UnitKind::ProcMacro)
                .then(|| unit.out_dir().join(format!("lib{}.so", unit.file_stem())));
            for output in unit.library_outputs().into_iter().chain(macros) {
                records.by_output.insert(output, index);
            }
        }
        Ok(records)
    }

    /// All rustc invocations.
    pub(super) fn units(&self) -> impl Iterator<Item = &UnitRecord> {
        self.units.iter()
    }

    /// A rustc invocation.
    pub(super) fn unit(&self, id: &UnitId) -> Option<&UnitRecord> {
        self.units.iter().find(|unit| unit.unit() == *id)
    }

    /// The rustc invocation that made a library.
    pub(super) fn by_output(&self, path: &Path) -> Option<&UnitRecord> {
        self.by_output.get(path).and_then(|&index| self.units.get(index))
    }

    /// All links.
    pub(super) fn links(&self) -> impl Iterator<Item = &LinkRecord> {
        self.links.iter()
    }

    /// The link that made a file: cargo's names for it are links to one file.
    pub(super) fn link_of(&self, file: &Path) -> Option<&LinkRecord> {
        self.links.iter().find(|link| same_file(link.kept_output.as_path(), file))
    }
}

/// Whether two names lead to the same contents.
pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    let (Ok(a), Ok(b)) = (std::fs::metadata(one), std::fs::metadata(other)) else { return false };
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return true;
    }
    // Where the file system has no hard links, cargo and we have made copies.
    let copies = a.nlink() == 1 && b.nlink() == 1 && a.len() == b.len();
    copies
        && std::fs::read(one)
            .ok()
            .is_some_and(|bytes| std::fs::read(other).is_ok_and(|others| others == bytes))
}
