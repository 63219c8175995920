//! The unmodified source of a program; what is published comes through cargo's own client.

use super::program::{Edit, Origin, Program};
use crate::run::{Result, cargo_in, copy_tree, output, root, step, write};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A package that is certain to have a library: its place tells where the registry's packages lie.
const LANDMARK: &str = "cfg-if";

/// A copy of a program's source, and the sources as they were.
pub(super) struct Source {
    folder: PathBuf,
    pristine: Vec<(String, String)>,
}

impl Source {
    /// Puts a fresh copy of the program into `work`. What was built there before is kept if asked for.
    pub(super) fn fetch(program: &Program, work: &Path, keep_target: bool) -> Result<Self> {
        let folder = work.join(&program.name);
        if folder.exists() && !keep_target {
            std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
        }
        unpack(program, work, &folder)?;
        if !program.update.is_empty() {
            step("update", cargo_in(&folder).args(["update", "--quiet"]).args(&program.update))?;
        }
        step(
            "download its dependencies",
            cargo_in(&folder).args(["fetch", "--quiet"]).args(locked(&folder)),
        )?;
        let places = program.edits.iter().flat_map(Edit::places);
        let mut files: Vec<&String> = places.map(|(file, ..)| file).collect();
        files.sort();
        files.dedup();
        let mut pristine = Vec::new();
        for file in files {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            pristine.push((file.clone(), text));
        }
        let source = Self { folder, pristine };
        program.edits.iter().try_for_each(|edit| source.check(edit))?;
        Ok(source)
    }

    /// The copy's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The edit's texts must be there once.
    fn check(&self, edit: &Edit) -> Result {
        for (file, search, _) in edit.places() {
            let count = self.text(file).matches(search).count();
            if count != 1 {
                return Err(format!("{search} occurs {count} times in {file}"));
            }
        }
        Ok(())
    }

    fn text(&self, file: &str) -> &str {
        self.pristine.iter().find(|(name, _)| name == file).map_or("", |(_, text)| text)
    }

    /// Saves those files in which `on` differs from `was`: each flag belongs to an edit.
    pub(super) fn save(&self, edits: &[Edit], was: &[bool], on: &[bool]) -> Result {
        for (file, pristine) in &self.pristine {
            let with = |flags: &[bool]| {
                let mut text = pristine.clone();
                let edits = edits.iter().zip(flags).filter(|(_, on)| **on);
                let places = edits.flat_map(|(edit, _)| edit.places());
                for (_, search, replace) in places.filter(|(name, ..)| *name == file) {
                    text = text.replacen(search, replace, 1);
                }
                text
            };
            if with(was) != with(on) {
                write(&self.folder.join(file), &with(on))?;
            }
        }
        Ok(())
    }

    /// Appends to a file as it is.
    pub(super) fn append(&self, file: &str, more: &str) -> Result {
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        write(&path, &(text + more))
    }
}

/// Arguments that keep cargo to the package's own lock file, if it has one.
pub(super) fn locked(folder: &Path) -> &'static [&'static str] {
    if folder.join("Cargo.lock").exists() { &["--locked"] } else { &[] }
}

/// Puts a program's source into a folder.
fn unpack(program: &Program, work: &Path, folder: &Path) -> Result {
    let fetch = work.join("fetch");
    let Program { name, version, .. } = program;
    match &program.origin {
        Origin::Package => copy_tree(&download(name, version, &fetch)?, folder),
        Origin::Own => copy_tree(&root().join("xtask/fixtures/realworld").join(name), folder),
        Origin::Workspace(others) => {
            for member in std::iter::once(name).chain(others) {
                copy_tree(&download(member, version, &fetch)?, &folder.join(member))?;
            }
            write(&folder.join("Cargo.toml"), &workspace(name, others))?;
            // With its own lock file: the members are no packages of the registry any more, the others stay.
            let lock = folder.join(name).join("Cargo.lock");
            std::fs::copy(&lock, folder.join("Cargo.lock"))
                .map_err(|error| format!("{}: {error}", lock.display()))?;
            step("resolve the workspace", cargo_in(folder).args(["update", "--quiet", "--workspace"]))
        }
    }
}

/// The manifest of a workspace whose members depend on each other by version.
fn workspace(name: &str, others: &[String]) -> String {
    let patches: String =
        others.iter().map(|member| format!("{member} = {{ path = \"{member}\" }}\n")).collect();
    let members: Vec<&str> = std::iter::once(name).chain(others.iter().map(String::as_str)).collect();
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = {members:?}\ndefault-members = [{name:?}]\n\n\
         [patch.crates-io]\n{patches}"
    )
}

/// Has cargo download a package, and returns where it lies. A package without a library is downloaded all
/// the same, but cargo does not say where to: beside the others.
fn download(name: &str, version: &str, project: &Path) -> Result<PathBuf> {
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\n{LANDMARK} = \"1\"\n{name} = \"={version}\"\n"
    );
    write(&project.join("Cargo.toml"), &manifest)?;
    write(&project.join("src/main.rs"), "fn main() {}\n")?;
    eprintln!("── download {name} {version}");
    let text = output(cargo_in(project).args(["metadata", "--quiet", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let landmark = packages.iter().find(|package| package["name"] == LANDMARK);
    let manifest = landmark.and_then(|package| package["manifest_path"].as_str());
    let beside = manifest.and_then(|path| Path::new(path).parent()?.parent());
    let package =
        beside.ok_or("cargo metadata does not name its packages")?.join(format!("{name}-{version}"));
    if package.join("Cargo.toml").exists() {
        Ok(package)
    } else {
        Err(format!("cargo has not unpacked {name} {version} beside {LANDMARK}"))
    }
}
