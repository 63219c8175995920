//! Who would have what an image imports, if it were loaded on this machine.

use super::names::Names;
use super::subject;
use livepatch_object::macho::hazard::{Hazard, hazard, plain_name};
use livepatch_object::macho::{self, Architecture, Exports, Fixups, Image, Import, Ordinal};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Who has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Supply {
    /// The image itself.
    Itself,
    /// Whoever loads it: the binder, and what finds thread-locals.
    Loader,
    /// A library of this machine, under the plain name.
    Machine(&'static str),
    /// Another image, in this file.
    File(PathBuf),
    /// Any image that is loaded, or the program: it names none.
    Program,
    /// A library that is not here.
    Absent,
    /// Nobody.
    Nobody,
}

impl Supply {
    /// For tools.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Loader => "loader",
            Self::Machine(_) => "machine",
            Self::File(_) => "file",
            Self::Program => "program",
            Self::Absent => "absent",
            Self::Nobody => "nobody",
        }
    }
}

/// An import, and what is known of it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What is imported.
    pub import: Import,
    /// Who has it here.
    pub supply: Supply,
    /// What differs, if this machine's function of that name is another one.
    pub hazard: Option<&'static Hazard>,
}

impl Imported {
    /// Whether a call of it would find nothing.
    pub fn is_unresolved(&self) -> bool {
        self.supply == Supply::Nobody
    }
}

/// Names that are the loader's own.
const OF_LOADER: [&[u8]; 2] = [b"dyld_stub_binder", b"__tlv_bootstrap"];

/// All imports of an image, by name.
pub(super) fn imports(path: &Path, image: &Image, fixups: &Fixups) -> Vec<Imported> {
    let mut search = Search { path, image, names: Names::here(), files: HashMap::new() };
    let mut all: Vec<Imported> = fixups.imports.iter().map(|import| search.imported(import)).collect();
    all.sort_by(|a, b| (&a.import.symbol, a.import.ordinal).cmp(&(&b.import.symbol, b.import.ordinal)));
    all.dedup_by(|a, b| a.import == b.import);
    all
}

struct Search<'a> {
    path: &'a Path,
    image: &'a Image,
    names: Names,
    /// Libraries that were looked for, and what those export that are here.
    files: HashMap<u32, Option<(PathBuf, Exports)>>,
}

impl Search<'_> {
    fn imported(&mut self, import: &Import) -> Imported {
        let supply = self.supply(import);
        let is_machines = matches!(supply, Supply::Machine(_));
        let hazard = hazard(&import.symbol).filter(|_| is_machines);
        Imported { import: import.clone(), supply, hazard }
    }

    fn supply(&mut self, import: &Import) -> Supply {
        if OF_LOADER.contains(&&*import.symbol) {
            return Supply::Loader;
        }
        match import.ordinal {
            Ordinal::ThisImage | Ordinal::WeakLookup if self.exports_itself(import) => Supply::Itself,
            Ordinal::ThisImage => Supply::Nobody,
            Ordinal::Library(number) => self.of_library(number, import),
            Ordinal::MainExecutable => Supply::Program,
            Ordinal::FlatLookup | Ordinal::WeakLookup => self.of_machine(import).unwrap_or(Supply::Program),
        }
    }

    fn exports_itself(&self, import: &Import) -> bool {
        let found = self.image.exports().and_then(|exports| exports.find(&import.symbol));
        found.is_ok_and(|found| found.is_some())
    }

    fn of_machine(&self, import: &Import) -> Option<Supply> {
        plain_name(&import.symbol).and_then(|name| self.names.library(name)).map(Supply::Machine)
    }

    fn of_library(&mut self, number: u32, import: &Import) -> Supply {
        let Some(library) = self.image.library(Ordinal::Library(number)) else { return Supply::Nobody };
        if is_of_system(&library.name) {
            return self.of_machine(import).unwrap_or(Supply::Nobody);
        }
        let name = library.name.clone();
        let (path, image) = (self.path, self.image);
        let found = self.files.entry(number).or_insert_with(|| find(path, image, &name));
        match found {
            None => Supply::Absent,
            Some((file, exports)) => match exports.find(&import.symbol) {
                Ok(Some(_)) => Supply::File(file.clone()),
                _ => Supply::Nobody,
            },
        }
    }
}

/// Whether a library comes with the system: nothing of it is here.
fn is_of_system(name: &str) -> bool {
    name.starts_with("/usr/lib/") || name.starts_with("/System/")
}

/// The file of a library, as a loader looks for it, or in the image's own folder.
fn find(path: &Path, image: &Image, name: &str) -> Option<(PathBuf, Exports)> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let relative = |name: &str| {
        let parts = ["@loader_path/", "@executable_path/"];
        parts.iter().find_map(|part| name.strip_prefix(part)).map(|rest| folder.join(rest))
    };
    let mut candidates: Vec<PathBuf> = match name.strip_prefix("@rpath/") {
        Some(rest) => {
            let folders = image.rpaths.iter().map(|rpath| relative(rpath).unwrap_or(PathBuf::from(rpath)));
            folders.map(|folder| folder.join(rest)).collect()
        }
        None => vec![relative(name).unwrap_or(PathBuf::from(name))],
    };
    candidates.extend(Path::new(name).file_name().map(|file| folder.join(file)));
    candidates.into_iter().find_map(|file| {
        let exports = exports(&file, image.header.architecture)?;
        Some((file, exports))
    })
}

fn exports(file: &Path, architecture: Architecture) -> Option<Exports> {
    let bytes = subject::file(file).ok()?;
    let slices = macho::slices(&bytes).ok()?;
    Image::read(macho::choose(&slices, architecture)?).ok()?.exports().ok()
}
