//! `cargo xtask fixtures`: real Android libraries and real Mach-O images for tests, fetched by name, version and hash.
//!
//! Where tests find them: `<target>/fixtures/<package>-<version>[-<platform>]/`, with the libraries of an AAR
//! unpacked beside it under `jni/<abi>/`. A package that cannot be fetched is named, and the others are fetched.

use crate::run::{Result, output, root, target};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which packages there are.
#[derive(Deserialize)]
struct List {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    client: Client,
    name: String,
    version: String,
    sha256: String,
    /// pip: which CPython, `313` for 3.13.
    python: Option<String>,
    /// pip: the wheel's platform.
    platform: Option<String>,
    keep: Vec<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Client {
    Npm,
    Pip,
}

/// A list of packages.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// Libraries for Android.
    Android,
    /// Images for macOS.
    Macho,
}

impl Set {
    pub(crate) const ALL: [Self; 2] = [Self::Android, Self::Macho];

    fn folder(self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Macho => "macho",
        }
    }
}

/// Where packages are kept.
pub(crate) fn place() -> Result<PathBuf> {
    Ok(target()?.join("fixtures"))
}

/// The folders of all packages of a list, whether they are there or not.
pub(crate) fn folders(set: Set) -> Result<Vec<PathBuf>> {
    let place = place()?;
    Ok(list(set)?.package.iter().map(|package| place.join(package.folder())).collect())
}

/// Fetches what is not there yet; everything if no list is named.
pub(crate) fn run(sets: &[Set]) -> Result {
    let folder = place()?;
    let mut missing = Vec::new();
    let sets = if sets.is_empty() { &Set::ALL } else { sets };
    let lists: Vec<List> = sets.iter().map(|set| list(*set)).collect::<Result<_>>()?;
    for package in lists.into_iter().flat_map(|list| list.package) {
        let place = folder.join(package.folder());
        // The file says which hash it had.
        let complete = std::fs::read_to_string(place.join("complete"));
        if complete.is_ok_and(|hash| hash == package.sha256) {
            eprintln!("── {} is there", package.folder());
        } else if let Err(error) = package.fetch(&place) {
            eprintln!("── {} cannot be had: {error}", package.folder());
            missing.push(package.folder());
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => {
            Err(format!("not fetched: {}; tests that need them are skipped and say so", missing.join(", ")))
        }
    }
}

fn list(set: Set) -> Result<List> {
    let path = root().join("xtask/fixtures").join(set.folder()).join("packages.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

impl Package {
    /// The name of its folder: `@a/b` is `a-b`.
    fn folder(&self) -> String {
        let name = self.name.trim_start_matches('@').replace('/', "-");
        let platform = self.platform.iter().map(|platform| format!("-{platform}"));
        platform.fold(format!("{name}-{}", self.version), |folder, platform| folder + &platform)
    }

    fn fetch(&self, place: &Path) -> Result {
        eprintln!("── fetch {}", self.folder());
        let io = |error: std::io::Error| error.to_string();
        let work = place.with_file_name(format!("{}.part", self.folder()));
        for folder in [place, &work] {
            if folder.exists() {
                std::fs::remove_dir_all(folder).map_err(io)?;
            }
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let archive = self.download(&work)?;
        let said = output(Command::new("sha256sum").arg(&archive))?;
        let hash = said.split_whitespace().next().unwrap_or_default();
        if hash != self.sha256 {
            return Err(format!("its SHA-256 is {hash}, not {}", self.sha256));
        }
        let unpacked = self.unpack(&archive, &work)?;
        for file in &self.keep {
            keep(&unpacked.join(file), place)?;
        }
        std::fs::remove_dir_all(&work).map_err(io)?;
        std::fs::write(place.join("complete"), &self.sha256).map_err(io)
    }

    /// Has the registry's client download it, and returns the file.
    fn download(&self, to: &Path) -> Result<PathBuf> {
        let mut command = match self.client {
            Client::Npm => {
                let mut npm = Command::new("npm");
                npm.args(["pack", "--silent", &format!("{}@{}", self.name, self.version)]);
                npm
            }
            Client::Pip => {
                let mut pip = Command::new("pip");
                pip.args(["download", "--quiet", "--no-deps", "--only-binary=:all:"]);
                pip.args(self.python.iter().flat_map(|python| ["--python-version", python]));
                pip.args(self.platform.iter().flat_map(|platform| ["--platform", platform]));
                pip.arg(format!("{}=={}", self.name, self.version));
                pip
            }
        };
        output(command.current_dir(to))?;
        let files = std::fs::read_dir(to).map_err(|error| error.to_string())?.flatten();
        let mut files: Vec<PathBuf> = files.map(|file| file.path()).filter(|path| path.is_file()).collect();
        match (files.pop(), files.is_empty()) {
            (Some(file), true) => Ok(file),
            _ => Err("its client left no one file".to_owned()),
        }
    }

    fn unpack(&self, archive: &Path, work: &Path) -> Result<PathBuf> {
        match self.client {
            Client::Npm => {
                let members = self.keep.iter().map(|file| format!("package/{file}"));
                output(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(work).args(members))?;
                Ok(work.join("package"))
            }
            Client::Pip => {
                unzip(archive, work)?;
                Ok(work.to_owned())
            }
        }
    }
}

/// Moves a file of a package to its place; a library to a folder of its ABI, and with an AAR its libraries.
fn keep(file: &Path, place: &Path) -> Result {
    let io = |error: std::io::Error| format!("{}: {error}", file.display());
    let name = file.file_name().unwrap_or_default();
    const ABIS: [&str; 4] = ["arm64-v8a", "armeabi-v7a", "x86_64", "x86"];
    let parent = file.parent().and_then(Path::file_name).unwrap_or_default();
    let folder = match ABIS.iter().any(|abi| parent == *abi) {
        true => place.join("jni").join(parent),
        false => place.to_owned(),
    };
    std::fs::create_dir_all(&folder).map_err(io)?;
    let kept = folder.join(name);
    std::fs::rename(file, &kept).map_err(io)?;
    if kept.extension().is_some_and(|extension| extension == "aar") {
        unzip(&kept, &place.join("unpacked"))?;
        let libraries = place.join("unpacked/jni");
        for abi in std::fs::read_dir(&libraries).map_err(io)?.flatten() {
            let to = place.join("jni").join(abi.file_name());
            std::fs::create_dir_all(&to).map_err(io)?;
            for library in std::fs::read_dir(abi.path()).map_err(io)?.flatten() {
                std::fs::rename(library.path(), to.join(library.file_name())).map_err(io)?;
            }
        }
        std::fs::remove_dir_all(place.join("unpacked")).map_err(io)?;
    }
    Ok(())
}

/// Python is where pip is; not every machine has `unzip`.
fn unzip(archive: &Path, to: &Path) -> Result {
    output(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(to)).map(drop)
}
