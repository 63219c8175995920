//! Libraries of the workspace that the program does not depend on, but may load while it runs.
//!
//! Which these are only the program knows. So those are built that were built before, in the same profile,
//! and those that were asked for (`--plugin`).

use crate::arguments::RunArgs;
use crate::project::{Package, Project};
use livepatch_build::capture::Program;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A shared library of the workspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plugin {
    /// Its package.
    pub(super) package: String,
    /// Where cargo puts it.
    pub(super) file: PathBuf,
}

/// The libraries that are to be built for a program.
pub(super) fn of(run: &RunArgs, project: &Project, program: &Program, executable: &Path) -> Vec<Plugin> {
    let Some(folder) = profile_folder(executable) else { return Vec::new() };
    let built: BTreeSet<&Path> =
        program.units.iter().map(|unit| unit.record.manifest_dir.as_path()).collect();
    let is_part = |package: &Package| {
        package.manifest_path.parent().is_some_and(|folder| built.contains(folder)) && is_linkable(package)
    };
    let all = project.packages.iter().filter(|package| !is_part(package));
    let libraries = all.filter_map(|package| Some((package, shared_library(package)?)));
    let each = libraries.map(|(package, name)| Plugin {
        package: package.name.clone(),
        file: folder.join(format!("lib{name}.so")),
    });
    each.filter(|plugin| run.plugin.contains(&plugin.package) || plugin.file.is_file()).collect()
}

/// Cargo's folder for the profile: an example is in a folder of its own inside it.
fn profile_folder(executable: &Path) -> Option<&Path> {
    let folder = executable.parent()?;
    if folder.file_name().is_some_and(|name| name == "examples") { folder.parent() } else { Some(folder) }
}

fn kinds(package: &Package) -> impl Iterator<Item = (&str, &str)> {
    let targets = package.targets.iter();
    targets.flat_map(|target| target.kind.iter().map(|kind| (kind.as_str(), target.name.as_str())))
}

/// Whether crates that depend on the package are linked with its library: then that is what cargo has built.
fn is_linkable(package: &Package) -> bool {
    kinds(package).any(|(kind, _)| matches!(kind, "lib" | "rlib" | "dylib"))
}

/// The crate name of a package's library, if it is a shared one.
fn shared_library(package: &Package) -> Option<String> {
    let (_, name) = kinds(package).find(|(kind, _)| matches!(*kind, "cdylib" | "dylib"))?;
    Some(name.replace('-', "_"))
}

/// What cargo is to be called with. Features are those of the packages themselves.
pub(super) fn cargo_arguments(run: &RunArgs, plugins: &[Plugin]) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("build"), "--lib".into()];
    arguments.extend(run.quiet.then(|| "--quiet".into()));
    arguments.extend(run.at.to_cargo());
    if let Some(target) = &run.at.target_dir {
        arguments.extend(["--target-dir".into(), target.into()]);
    }
    let mut selection = run.selection.clone();
    (selection.bin, selection.example, selection.package) = (None, None, None);
    selection.features.clear();
    arguments.extend(selection.to_cargo());
    for plugin in plugins {
        arguments.extend(["--package".into(), OsString::from(&plugin.package)]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Target;

    fn package(kinds: &[&str]) -> Package {
        Package {
            name: "a-b".into(),
            manifest_path: "/w/a/Cargo.toml".into(),
            targets: vec![
                Target { name: "a-b".into(), kind: kinds.iter().map(|kind| kind.to_string()).collect() },
                Target { name: "tool".into(), kind: vec!["bin".into()] },
            ],
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn kinds_of_libraries_are_told_apart() {
        assert_eq!(shared_library(&package(&["cdylib"])).as_deref(), Some("a_b"));
        assert_eq!(shared_library(&package(&["rlib", "dylib"])).as_deref(), Some("a_b"));
        assert_eq!(shared_library(&package(&["lib"])), None);
        assert_eq!(shared_library(&package(&["proc-macro"])), None);
        assert!(!is_linkable(&package(&["cdylib"])));
        assert!(is_linkable(&package(&["rlib", "cdylib"])) && is_linkable(&package(&["dylib"])));
    }

    #[test]
    fn libraries_lie_in_the_profiles_folder() {
        assert_eq!(profile_folder(Path::new("/t/debug/app")), Some(Path::new("/t/debug")));
        assert_eq!(profile_folder(Path::new("/t/debug/examples/app")), Some(Path::new("/t/debug")));
    }

    #[test]
    fn cargo_gets_the_profile_and_the_packages() {
        let mut run = RunArgs::default();
        run.selection.bin = Some("app".into());
        run.selection.release = true;
        run.selection.features = vec!["x".into()];
        let plugin = Plugin { package: "p".into(), file: PathBuf::new() };
        assert_eq!(cargo_arguments(&run, &[plugin]), ["build", "--lib", "--release", "--package", "p"]);
    }
}
