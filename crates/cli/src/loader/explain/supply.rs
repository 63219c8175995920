//! Who would have what an image imports, if it were loaded on this machine.

use super::names::Names;
use super::subject;
use livepatch_object::macho::commands::{Library, LibraryKind};
use livepatch_object::macho::hazard::{Hazard, hazard, plain_name};
use livepatch_object::macho::{
    self, Architecture, Export, ExportTarget, Exports, Fixups, Image, Import, Ordinal,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

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

/// A library's file that was found, and what it says.
struct Found {
    file: PathBuf,
    image: Image,
    exports: Exports,
}

/// Libraries that re-export each other are followed so far.
const DEEPEST: u32 = 8;

struct Search<'a> {
    path: &'a Path,
    image: &'a Image,
    names: &'static Names,
    /// Files that were looked into; none for those that are no images.
    files: HashMap<PathBuf, Option<Rc<Found>>>,
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
            Ordinal::Library(_) => {
                let (path, image) = (self.path, self.image);
                let library = image.library(import.ordinal);
                library
                    .map_or(Supply::Nobody, |library| self.of(path, image, &library.name, &import.symbol, 0))
            }
            Ordinal::MainExecutable => Supply::Program,
            Ordinal::FlatLookup | Ordinal::WeakLookup => {
                self.of_machine(&import.symbol).unwrap_or(Supply::Program)
            }
        }
    }

    fn exports_itself(&self, import: &Import) -> bool {
        let found = self.image.exports().and_then(|exports| exports.find(&import.symbol));
        found.is_ok_and(|found| found.is_some())
    }

    fn of_machine(&self, symbol: &[u8]) -> Option<Supply> {
        plain_name(symbol).and_then(|name| self.names.library(name)).map(Supply::Machine)
    }

    /// Who has a symbol of a library that an image names: the library, or one that it re-exports.
    fn of(&mut self, path: &Path, image: &Image, name: &str, symbol: &[u8], depth: u32) -> Supply {
        if is_of_system(name) {
            return self.of_machine(symbol).unwrap_or(Supply::Nobody);
        }
        let files = candidates(path, image, name);
        let Some(found) = files.into_iter().find_map(|file| self.read(file)) else { return Supply::Absent };
        let next = |search: &mut Self, library: &Library, symbol: &[u8]| match depth < DEEPEST {
            true => search.of(&found.file, &found.image, &library.name, symbol, depth + 1),
            false => Supply::Nobody,
        };
        match found.exports.find(symbol) {
            Ok(Some(Export { target: ExportTarget::Reexport { ordinal, name }, .. })) => {
                let library = found.image.library(Ordinal::Library(ordinal));
                library.map_or(Supply::Nobody, |library| next(self, library, &name))
            }
            Ok(Some(_)) => Supply::File(found.file.clone()),
            _ => {
                let reexported =
                    found.image.libraries.iter().filter(|library| library.kind == LibraryKind::Reexport);
                let mut all = reexported.map(|library| next(self, library, symbol));
                all.find(|supply| !matches!(supply, Supply::Nobody | Supply::Absent))
                    .unwrap_or(Supply::Nobody)
            }
        }
    }

    fn read(&mut self, file: PathBuf) -> Option<Rc<Found>> {
        let architecture = self.image.header.architecture;
        let known = self.files.entry(file.clone());
        known.or_insert_with(|| found(file, architecture).map(Rc::new)).clone()
    }
}

/// Whether a library comes with the system: nothing of it is here.
fn is_of_system(name: &str) -> bool {
    name.starts_with("/usr/lib/") || name.starts_with("/System/")
}

/// Where a loader looks for a library that an image names, and the image's own folder.
fn candidates(path: &Path, image: &Image, name: &str) -> Vec<PathBuf> {
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
    candidates
}

fn found(file: PathBuf, architecture: Architecture) -> Option<Found> {
    let bytes = subject::file(&file).ok()?;
    let slices = macho::slices(&bytes).ok()?;
    let image = Image::read(macho::choose(&slices, architecture)?).ok()?;
    let exports = image.exports().ok()?;
    Some(Found { file, image, exports })
}
