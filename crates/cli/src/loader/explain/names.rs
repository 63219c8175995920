//! Which names the libraries of this machine define that stand for Darwin's.

use livepatch_object::android::Siblings;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What programs on Linux have as a matter of course, and libraries that Darwin has, too, with the same interface.
const LIBRARIES: [&str; 12] = [
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
    "libgcc_s.so.1",
    "libz.so.1",
    "libbz2.so.1.0",
    "liblzma.so.5",
    "libsqlite3.so.0",
];

/// Names, and the library that has each.
pub(super) struct Names(HashMap<Vec<u8>, &'static str>);

impl Names {
    /// Of those libraries that are beside this machine's C library; read once.
    pub(super) fn here() -> &'static Self {
        static HERE: OnceLock<Names> = OnceLock::new();
        HERE.get_or_init(Self::read)
    }

    fn read() -> Self {
        let mut names = HashMap::new();
        let folder = folder().unwrap_or_default();
        for library in LIBRARIES {
            // One that is not here defines nothing.
            let Ok(bytes) = std::fs::read(folder.join(library)) else { continue };
            let read = Siblings::of([(library.to_owned(), bytes.into())]);
            let Some(tables) = read.get(library) else { continue };
            for found in tables.exported() {
                if let Some(name) = tables.symbols.name(&found.symbol) {
                    names.entry(name.to_owned()).or_insert(library);
                }
            }
        }
        Self(names)
    }

    /// Which library defines a name of C's.
    pub(super) fn library(&self, name: &[u8]) -> Option<&'static str> {
        self.0.get(name).copied()
    }
}

/// Where this process has its C library from.
fn folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
    let mut libraries = paths.filter(|path| path.file_name().is_some_and(|name| name == "libc.so.6"));
    libraries.next()?.parent().map(Into::into)
}
