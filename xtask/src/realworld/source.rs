//! The unmodified source of a program, through cargo's own client.

use super::program::{Edit, Program};
use crate::run::{Result, cargo_in, copy_tree, output, step, write};
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
        let package = download(program, &work.join("fetch"))?;
        let folder = work.join(&program.name);
        if folder.exists() && !keep_target {
            std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
        }
        copy_tree(&package, &folder)?;
        step(
            "download its dependencies",
            cargo_in(&folder).args(["fetch", "--quiet"]).args(locked(&folder)),
        )?;
        let mut files: Vec<&String> = program.edits.iter().map(|edit| &edit.file).collect();
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

    /// The edit's text must be there once.
    fn check(&self, edit: &Edit) -> Result {
        match self.text(&edit.file).matches(&edit.search).count() {
            1 => Ok(()),
            count => Err(format!("{} occurs {count} times in {}", edit.search, edit.file)),
        }
    }

    fn text(&self, file: &str) -> &str {
        self.pristine.iter().find(|(name, _)| name == file).map_or("", |(_, text)| text)
    }

    /// Saves those files in which `on` differs from `was`: each flag belongs to an edit.
    pub(super) fn save(&self, edits: &[Edit], was: &[bool], on: &[bool]) -> Result {
        for (file, pristine) in &self.pristine {
            let with = |flags: &[bool]| {
                let mut text = pristine.clone();
                for (edit, _) in edits.iter().zip(flags).filter(|(edit, on)| **on && edit.file == *file) {
                    text = text.replacen(&edit.search, &edit.replace, 1);
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

/// Has cargo download a package, and returns where it lies. A package without a library is downloaded all
/// the same, but cargo does not say where to: beside the others.
fn download(program: &Program, project: &Path) -> Result<PathBuf> {
    let Program { name, version, .. } = program;
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
