//! Files whose changes only cargo can deal with: manifests, build scripts and what they asked to be
//! watched, procedural macros.

use super::records::Records;
use super::{Unit, UnitRecord, dep_info};
use crate::capture::UnitKind;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Why a file is cargo's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CargoInput {
    /// A package's or the workspace's manifest.
    Manifest,
    /// The source of a build script.
    BuildScript {
        /// The package.
        package: String,
    },
    /// A file or folder that a build script reads.
    BuildScriptInput {
        /// The package.
        package: String,
    },
    /// The source of a procedural macro, or of a library that one uses.
    ProcMacro {
        /// The crate.
        crate_name: String,
    },
    /// The source of a library outside the workspace, which cargo compiles without the wrapper.
    Outsider {
        /// The crate.
        crate_name: String,
    },
}

impl CargoInput {
    /// Says why a change of `path` needs cargo.
    pub fn reason(&self, path: &Path) -> String {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        match self {
            Self::Manifest => format!("{file} changed"),
            Self::BuildScript { package } => format!("the build script of {package} changed ({file})"),
            Self::BuildScriptInput { package } => {
                format!("{file} changed, which the build script of {package} reads")
            }
            Self::ProcMacro { crate_name } => {
                format!("the procedural macro crate {crate_name} changed ({file})")
            }
            Self::Outsider { crate_name } => {
                format!("{crate_name}, which is outside the workspace, changed ({file})")
            }
        }
    }
}

/// All files of a program whose changes only cargo can deal with.
#[derive(Clone, Default, Debug)]
pub struct CargoInputs {
    /// Single files, and folders in which every file counts.
    pub paths: BTreeMap<PathBuf, CargoInput>,
    /// Packages whose build script named no files: to cargo every file in the folder counts.
    pub packages: BTreeMap<PathBuf, String>,
}

impl CargoInputs {
    pub(super) fn of(records: &Records, units: &[Unit]) -> Self {
        let mut inputs = Self::default();
        for unit in units {
            let folder = unit.record.manifest_dir.as_path();
            inputs.paths.insert(folder.join("Cargo.toml"), CargoInput::Manifest);
            inputs.add_build_script_output(&unit.record);
        }
        let packages: BTreeSet<&Path> = units.iter().map(|unit| unit.record.manifest_dir.as_path()).collect();
        let externs: BTreeSet<PathBuf> =
            units.iter().flat_map(|unit| absolute_externs(&unit.record)).collect();
        for record in records.units() {
            match record.kind {
                UnitKind::BuildScript if packages.contains(record.manifest_dir.as_path()) => {
                    inputs.add_sources(record, &CargoInput::BuildScript { package: record.package.clone() });
                    inputs.add_libraries(records, record);
                }
                UnitKind::ProcMacro if externs.contains(&macro_output(record)) => {
                    inputs.add_sources(
                        record,
                        &CargoInput::ProcMacro { crate_name: record.crate_name.clone() },
                    );
                    inputs.add_libraries(records, record);
                }
                _ => {}
            }
        }
        inputs
    }

    /// Takes in the libraries of the link that were not captured, except what nobody edits.
    /// Relative paths in what cargo has kept of them are meant from `cwd`.
    pub(super) fn add_outsiders<'a>(&mut self, libraries: impl Iterator<Item = &'a Path>, cwd: &Path) {
        for library in libraries {
            let Some(unit) = library.file_stem().and_then(|stem| stem.to_str()?.strip_prefix("lib")) else {
                continue;
            };
            let Ok(contents) = std::fs::read(library.with_file_name(format!("{unit}.d"))) else { continue };
            let sources: Vec<_> =
                dep_info::parse(&contents).into_iter().map(|source| cwd.join(source)).collect();
            if !sources.first().is_some_and(|source| is_edited(source)) {
                continue;
            }
            let crate_name = unit.rsplit_once('-').map_or(unit, |(name, _)| name).to_owned();
            for source in sources {
                let input = CargoInput::Outsider { crate_name: crate_name.clone() };
                self.paths.entry(source).or_insert(input);
            }
        }
    }

    /// Why a change of `path` is cargo's, if it is.
    pub fn find(&self, path: &Path) -> Option<&CargoInput> {
        path.ancestors().find_map(|ancestor| {
            self.paths
                .get(ancestor)
                .filter(|input| ancestor == path || matches!(input, CargoInput::BuildScriptInput { .. }))
        })
    }

    fn add_sources(&mut self, record: &UnitRecord, input: &CargoInput) {
        let cwd = record.cwd.as_path();
        // Without the file cargo has not finished that unit, and has nothing to say about it.
        for source in dep_info::read(&record.dep_info(), cwd).unwrap_or_default() {
            self.paths.insert(source, input.clone());
        }
    }

    /// Takes in captured libraries that a macro or a build script is made from.
    fn add_libraries(&mut self, records: &Records, user: &UnitRecord) {
        for path in absolute_externs(user) {
            let Some(library) = records.by_output(&path) else { continue };
            self.add_sources(library, &CargoInput::ProcMacro { crate_name: library.crate_name.clone() });
            self.add_libraries(records, library);
        }
    }

    /// Reads what the package's build script printed: cargo keeps it beside `OUT_DIR`.
    fn add_build_script_output(&mut self, record: &UnitRecord) {
        let out_dir = record.environment.iter().find(|(name, _)| name.0 == "OUT_DIR").map(|(_, value)| value);
        let out_dir = out_dir.map(|dir| dir.as_path()).filter(|dir| is_of_package(dir, &record.package));
        let Some(output) = out_dir.and_then(Path::parent).map(|dir| dir.join("output")) else { return };
        let Ok(output) = std::fs::read_to_string(output) else { return };
        let folder = record.manifest_dir.as_path();
        let mut says_when = false;
        for line in output.lines() {
            let Some(directive) = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:")) else {
                continue;
            };
            says_when |= directive.starts_with("rerun-if-");
            if let Some(path) = directive.strip_prefix("rerun-if-changed=") {
                let input = CargoInput::BuildScriptInput { package: record.package.clone() };
                self.paths.entry(folder.join(path)).or_insert(input);
            }
        }
        if !says_when {
            self.packages.insert(folder.to_owned(), record.package.clone());
        }
    }
}

/// Whether an `OUT_DIR` is the package's own. Cargo sets the variable for packages with a build script and
/// lets others inherit it from whoever runs cargo: a test, for one, has its own package's.
fn is_of_package(out_dir: &Path, package: &str) -> bool {
    out_dir.iter().filter_map(|folder| folder.to_str()?.strip_prefix(package)).any(|rest| {
        // `build/<package>-<hash>/out`, or a folder for each.
        rest.is_empty() || rest.strip_prefix('-').is_some_and(|hash| !hash.contains('-'))
    })
}

/// Whether a source may be edited: it is not from a registry, a checkout of cargo's, or vendored.
fn is_edited(source: &Path) -> bool {
    let text = source.to_string_lossy();
    let downloaded = text.contains("/registry/src/") || text.contains("/git/checkouts/");
    !downloaded && !source.ancestors().take(4).any(|folder| folder.join(".cargo-checksum.json").exists())
}

fn absolute_externs(record: &UnitRecord) -> Vec<PathBuf> {
    record.arguments().externs().map(|path| record.cwd.as_path().join(path)).collect()
}

fn macro_output(record: &UnitRecord) -> PathBuf {
    record.out_dir().join(format!("lib{}.so", record.file_stem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_out_dir_is_told_apart() {
        let of = |package| is_of_package(Path::new("/t/debug/build/the-tool-0123abcd/out"), package);
        assert!(of("the-tool"));
        assert!(!of("the") && !of("tool") && !of("the-tools"));
        assert!(is_of_package(Path::new("/t/debug/build/app/0123abcd/out"), "app"));
    }
}
