//! Options of compiler drivers and linkers that concern a patch library, as data: how many words each takes, and
//! whether it stays. What is not listed is one word, and stays.

use super::Dialect;
use Fate::{Drop, Keep};

/// What becomes of an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Keep,
    Drop,
}

/// An option that is a word of its own; its values are the next words.
pub(super) struct Row(&'static str, pub(super) usize, pub(super) Fate);

/// The options that a command understands.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// What the driver itself reads; without a driver nobody does.
    pub(super) driver: &'static [Row],
    /// What the linker reads.
    pub(super) linker: Linker,
}

/// A linker's options.
#[derive(Clone, Copy)]
pub(super) struct Linker {
    rows: &'static [Row],
    prefixes: &'static [&'static str],
    /// Whether one dash and two mean the same.
    gnu: bool,
}

impl Table {
    pub(super) fn of(dialect: Dialect) -> Self {
        let linker = if dialect.apple {
            Linker { rows: APPLE, prefixes: APPLE_PREFIXES, gnu: false }
        } else {
            Linker { rows: GNU, prefixes: GNU_PREFIXES, gnu: true }
        };
        Self { driver: DRIVER, linker }
    }
}

/// The number of values of a driver's option, and what becomes of it.
pub(super) fn of_driver(table: &[Row], word: &str) -> (usize, Fate) {
    if let Some(row) = table.iter().find(|row| row.0 == word) {
        return (row.1, row.2);
    }
    let dropped = DRIVER_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    (0, if dropped || is_input(word) { Drop } else { Keep })
}

impl Linker {
    /// The number of values of a linker's option, and what becomes of it.
    pub(super) fn of(&self, word: &str) -> (usize, Fate) {
        // GNU's long options take one dash or two; `-o…` takes one.
        let name = match word.strip_prefix("--") {
            Some(name) if self.gnu => name,
            _ => word.strip_prefix('-').unwrap_or(word),
        };
        if word.starts_with('-') {
            if let Some(row) = self.rows.iter().find(|row| row.0 == name) {
                return (row.1, row.2);
            }
            let dropped = self.prefixes.iter().any(|prefix| name.starts_with(prefix));
            return (0, if dropped { Drop } else { Keep });
        }
        (0, Drop)
    }
}

/// A word that names a file.
fn is_input(word: &str) -> bool {
    !word.starts_with('-')
}

/// Prefixes of driver options in one word with their value, all of which go. `-l` and `-o` have their values in the
/// same word or in the next.
const DRIVER_PREFIXES: &[&str] =
    &["-l", "-o", "-flto", "-fuse-linker-plugin", "-u", "-T", "-fprofile", "--coverage"];

/// Options of gcc and clang for linking.
const DRIVER: &[Row] = &[
    Row("-o", 1, Drop),
    Row("-l", 1, Drop),
    Row("-u", 1, Drop),
    Row("-e", 1, Drop),
    Row("-T", 1, Drop),
    Row("-pie", 0, Drop),
    Row("-no-pie", 0, Drop),
    Row("-nopie", 0, Drop),
    Row("-static-pie", 0, Drop),
    Row("-static", 0, Drop),
    Row("-shared", 0, Drop),
    Row("-rdynamic", 0, Drop),
    Row("-r", 0, Drop),
    Row("-s", 0, Drop),
    Row("-dynamiclib", 0, Drop),
    Row("-bundle", 0, Drop),
    Row("-bundle_loader", 1, Drop),
    Row("-undefined", 1, Drop),
    Row("-install_name", 1, Drop),
    Row("-exported_symbols_list", 1, Drop),
    Row("-unexported_symbols_list", 1, Drop),
    Row("-exported_symbol", 1, Drop),
    Row("-dead_strip", 0, Drop),
    Row("-framework", 1, Drop),
    Row("-weak_framework", 1, Drop),
    Row("-weak_library", 1, Drop),
    Row("-force_load", 1, Drop),
    Row("-compatibility_version", 1, Drop),
    Row("-current_version", 1, Drop),
    // The system's own library: Apple's linker makes nothing without it.
    Row("-lSystem", 0, Keep),
    Row("-L", 1, Keep),
    Row("-B", 1, Keep),
    Row("-F", 1, Keep),
    Row("-I", 1, Keep),
    Row("-x", 1, Keep),
    Row("-z", 1, Keep),
    Row("-target", 1, Keep),
    Row("-arch", 1, Keep),
    Row("-isysroot", 1, Keep),
    Row("--sysroot", 1, Keep),
    Row("--target", 1, Keep),
    Row("-gcc-toolchain", 1, Keep),
    Row("-rpath", 1, Keep),
    Row("-mllvm", 1, Keep),
    Row("-Xclang", 1, Keep),
    Row("-iframework", 1, Keep),
    Row("-resource-dir", 1, Keep),
    Row("--param", 1, Keep),
    Row("-specs", 1, Keep),
];

/// Names of GNU ld's options that take their value in the same word, all of which go.
const GNU_PREFIXES: &[&str] = &[
    "l",
    "version-script=",
    "dynamic-list=",
    "export-dynamic-symbol=",
    "export-dynamic-symbol-list=",
    "retain-symbols-file=",
    "undefined=",
    "require-defined=",
    "unresolved-symbols=",
    "undefined-version",
    "output=",
    "soname=",
    "entry=",
    "script=",
    "dynamic-linker=",
    "image-base=",
    "T",
    "section-start=",
    "Map=",
    "dependency-file=",
    "build-id",
    "icf",
    "gc-",
    "print-gc",
    "plugin",
    "lto",
    "thinlto",
    "reproduce",
    "chroot",
    "defsym=",
    "wrap=",
    "symbol-ordering-file=",
    "call-graph",
    "just-symbols=",
];

/// Options of GNU ld, gold, LLVM's ELF linker, mold and wild, without their dashes.
const GNU: &[Row] = &[
    Row("o", 1, Drop),
    Row("output", 1, Drop),
    Row("l", 1, Drop),
    Row("u", 1, Drop),
    Row("undefined", 1, Drop),
    Row("require-defined", 1, Drop),
    Row("e", 1, Drop),
    Row("entry", 1, Drop),
    Row("T", 1, Drop),
    Row("script", 1, Drop),
    Row("h", 1, Drop),
    Row("soname", 1, Drop),
    Row("dynamic-linker", 1, Drop),
    Row("I", 1, Drop),
    Row("no-dynamic-linker", 0, Drop),
    Row("shared", 0, Drop),
    Row("Bshareable", 0, Drop),
    Row("pie", 0, Drop),
    Row("pic-executable", 0, Drop),
    Row("no-pie", 0, Drop),
    Row("static", 0, Drop),
    Row("Bstatic", 0, Drop),
    Row("Bdynamic", 0, Drop),
    Row("dn", 0, Drop),
    Row("dy", 0, Drop),
    Row("export-dynamic", 0, Drop),
    Row("E", 0, Drop),
    Row("no-export-dynamic", 0, Drop),
    Row("version-script", 1, Drop),
    Row("dynamic-list", 1, Drop),
    Row("dynamic-list-data", 0, Drop),
    Row("export-dynamic-symbol", 1, Drop),
    Row("export-dynamic-symbol-list", 1, Drop),
    Row("retain-symbols-file", 1, Drop),
    Row("exclude-libs", 1, Drop),
    Row("no-undefined", 0, Drop),
    Row("no-undefined-version", 0, Drop),
    Row("no-allow-shlib-undefined", 0, Drop),
    Row("no-gc-sections", 0, Drop),
    Row("as-needed", 0, Drop),
    Row("no-as-needed", 0, Drop),
    Row("whole-archive", 0, Drop),
    Row("no-whole-archive", 0, Drop),
    Row("push-state", 0, Drop),
    Row("pop-state", 0, Drop),
    Row("start-group", 0, Drop),
    Row("end-group", 0, Drop),
    Row("(", 0, Drop),
    Row(")", 0, Drop),
    Row("start-lib", 0, Drop),
    Row("end-lib", 0, Drop),
    Row("Map", 1, Drop),
    Row("M", 0, Drop),
    Row("print-map", 0, Drop),
    Row("cref", 0, Drop),
    Row("dependency-file", 1, Drop),
    Row("no-build-id", 0, Drop),
    Row("s", 0, Drop),
    Row("strip-all", 0, Drop),
    Row("x", 0, Drop),
    Row("discard-all", 0, Drop),
    Row("X", 0, Drop),
    Row("discard-locals", 0, Drop),
    Row("r", 0, Drop),
    Row("relocatable", 0, Drop),
    Row("q", 0, Drop),
    Row("emit-relocs", 0, Drop),
    Row("image-base", 1, Drop),
    Row("section-start", 1, Drop),
    Row("plugin", 1, Drop),
    Row("plugin-opt", 1, Drop),
    Row("defsym", 1, Drop),
    Row("wrap", 1, Drop),
    Row("just-symbols", 1, Drop),
    Row("flavor", 1, Keep),
    Row("L", 1, Keep),
    Row("library-path", 1, Keep),
    Row("m", 1, Keep),
    Row("z", 1, Keep),
    Row("rpath", 1, Keep),
    Row("R", 1, Keep),
    Row("rpath-link", 1, Keep),
    Row("sysroot", 1, Keep),
    Row("hash-style", 1, Keep),
    Row("mllvm", 1, Keep),
    Row("init", 1, Drop),
    Row("fini", 1, Drop),
];

/// Names of Apple's linker's options that take their value in the same word, all of which go.
const APPLE_PREFIXES: &[&str] =
    &["l", "icf", "force_load", "weak-l", "reexport-l", "needed-l", "hidden-l", "lazy-l"];

/// Options of Apple's linker and LLVM's for Mach-O, without their dash.
const APPLE: &[Row] = &[
    Row("lSystem", 0, Keep),
    Row("o", 1, Drop),
    Row("l", 1, Drop),
    Row("e", 1, Drop),
    Row("u", 1, Drop),
    Row("undefined", 1, Drop),
    Row("U", 1, Drop),
    Row("dylib", 0, Drop),
    Row("execute", 0, Drop),
    Row("bundle", 0, Drop),
    Row("bundle_loader", 1, Drop),
    Row("r", 0, Drop),
    Row("pie", 0, Drop),
    Row("no_pie", 0, Drop),
    Row("static", 0, Drop),
    Row("export_dynamic", 0, Drop),
    Row("exported_symbols_list", 1, Drop),
    Row("unexported_symbols_list", 1, Drop),
    Row("exported_symbol", 1, Drop),
    Row("unexported_symbol", 1, Drop),
    Row("no_exported_symbols", 0, Drop),
    Row("install_name", 1, Drop),
    Row("dylib_install_name", 1, Drop),
    Row("compatibility_version", 1, Drop),
    Row("current_version", 1, Drop),
    Row("dead_strip", 0, Drop),
    Row("dead_strip_dylibs", 0, Drop),
    Row("deduplicate", 0, Drop),
    Row("framework", 1, Drop),
    Row("weak_framework", 1, Drop),
    Row("reexport_framework", 1, Drop),
    Row("force_load", 1, Drop),
    Row("weak_library", 1, Drop),
    Row("all_load", 0, Drop),
    Row("ObjC", 0, Drop),
    Row("filelist", 1, Drop),
    Row("lto_library", 1, Drop),
    Row("object_path_lto", 1, Drop),
    Row("map", 1, Drop),
    Row("dependency_info", 1, Drop),
    Row("order_file", 1, Drop),
    Row("sectcreate", 3, Drop),
    Row("alias", 2, Drop),
    Row("image_base", 1, Drop),
    Row("stack_size", 1, Drop),
    Row("S", 0, Keep),
    Row("x", 0, Drop),
    Row("s", 0, Drop),
    Row("arch", 1, Keep),
    Row("syslibroot", 1, Keep),
    Row("platform_version", 3, Keep),
    Row("macosx_version_min", 1, Keep),
    Row("macos_version_min", 1, Keep),
    Row("ios_version_min", 1, Keep),
    Row("ios_simulator_version_min", 1, Keep),
    Row("sdk_version", 1, Keep),
    Row("rpath", 1, Keep),
    Row("L", 1, Keep),
    Row("F", 1, Keep),
    Row("flavor", 1, Keep),
    Row("mllvm", 1, Keep),
];
