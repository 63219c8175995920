//! What cargo knows about the project: folders, libraries, profile, configuration.

mod profile;

use crate::arguments::{At, Selection};
use crate::error::Failure;
use livepatch_build::capture::Folders;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

pub use profile::{Lto, Profile};

/// A project, as cargo sees it from here.
#[derive(Debug)]
pub struct Project {
    /// The workspace's folder.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    /// Where the capture lies.
    pub folders: Folders,
    /// The workspace's packages.
    pub packages: Vec<Package>,
    /// Cargo's configuration files, put together; null where cargo does not tell.
    pub config: Value,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its manifest.
    pub manifest_path: PathBuf,
    /// What it is made of.
    pub targets: Vec<Target>,
    /// What it depends on.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
}

/// A library, a binary, an example … of a package.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// `lib`, `bin`, `proc-macro` …
    pub kind: Vec<String>,
}

/// A dependency of a package.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// Its folder, where it is not from a registry.
    pub path: Option<PathBuf>,
}

/// A runner that the user has set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UserRunner {
    /// Its words: a program and its first arguments.
    Known(Vec<OsString>),
    /// Set where it depends on more than the target's name whether it is meant: the setting's name.
    Conditional(String),
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

/// The cargo to run: the one that ran us, or the one in the path.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl Project {
    /// Asks cargo.
    pub fn read(at: &At) -> Result<Self, Failure> {
        let config = std::thread::spawn({
            let at = at.clone();
            move || read_config(&at)
        });
        let output = cargo()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .args(at.to_cargo())
            .stdin(Stdio::null())
            .output()
            .map_err(Failure::system("cannot run cargo"))?;
        let metadata: Metadata = parse_output(&output)?;
        // `cargo metadata` has no --target-dir.
        let target = match &at.target_dir {
            Some(target) => {
                std::path::absolute(target).map_err(Failure::system("cannot read the working directory"))?
            }
            None => metadata.target_directory,
        };
        Ok(Self {
            root: metadata.workspace_root,
            folders: Folders::in_target(&target),
            target,
            packages: metadata.packages,
            config: config.join().unwrap_or_default(),
        })
    }

    /// The crate names of the workspace's libraries.
    pub fn libraries(&self) -> HashSet<String> {
        let targets = self.packages.iter().flat_map(|package| &package.targets);
        let is_library =
            |target: &&Target| target.kind.iter().any(|kind| matches!(&**kind, "lib" | "rlib" | "dylib"));
        targets.filter(is_library).map(|target| target.name.replace('-', "_")).collect()
    }

    /// The files that cargo itself reads, beside the packages' manifests: the workspace's, whether they
    /// are there or not, and those further up that are there.
    pub fn configuration_files(&self) -> Vec<PathBuf> {
        let names = ["rust-toolchain", "rust-toolchain.toml", ".cargo/config", ".cargo/config.toml"];
        let mut files = vec![self.root.join("Cargo.toml"), self.root.join("Cargo.lock")];
        files.extend(names.map(|name| self.root.join(name)));
        let cwd = std::env::current_dir().unwrap_or_default();
        let further = cwd.ancestors().flat_map(|folder| names.map(|name| folder.join(name)));
        files.extend(further.filter(|file| file.is_file()));
        files
    }

    /// The target triple that is built for.
    pub fn triple(&self, selection: &Selection) -> String {
        let configured = self.config.pointer("/build/target").and_then(Value::as_str).map(str::to_owned);
        let chosen =
            selection.target.clone().or_else(|| std::env::var("CARGO_BUILD_TARGET").ok()).or(configured);
        chosen.unwrap_or_else(|| env!("LIVEPATCH_HOST_TRIPLE").to_owned())
    }

    /// The runner that the user has set for a target.
    pub fn runner(&self, triple: &str) -> Option<UserRunner> {
        if let Some(set) = std::env::var_os(runner_variable(triple)) {
            let words = set.to_string_lossy().split_whitespace().map(OsString::from).collect();
            return Some(UserRunner::Known(words));
        }
        let targets = self.config.get("target")?.as_object()?;
        if let Some(set) = targets.get(triple).and_then(|table| table.get("runner")) {
            return Some(UserRunner::Known(self.runner_words(set)));
        }
        let mut conditional = targets.iter().filter(|(name, _)| name.starts_with("cfg("));
        let (name, _) = conditional.find(|(_, table)| table.get("runner").is_some())?;
        Some(UserRunner::Conditional(format!("target.'{name}'.runner")))
    }

    /// A runner as configuration has it: a list, or words between white space. A path with a slash counts from
    /// the folder that the configuration is in, which is the workspace's.
    fn runner_words(&self, set: &Value) -> Vec<OsString> {
        let words: Vec<&str> = match set {
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
            set => set.as_str().unwrap_or_default().split_whitespace().collect(),
        };
        let mut words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        if let Some(program) = words.first_mut() {
            let path = self.root.join(&*program);
            if program.to_string_lossy().contains('/') && path.is_file() {
                *program = path.into();
            }
        }
        words
    }

    /// The workspace wrapper that the user has set.
    pub fn workspace_wrapper(&self) -> Option<OsString> {
        let set = ["RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER"];
        let set = set.iter().find_map(std::env::var_os).filter(|wrapper| !wrapper.is_empty());
        set.or_else(|| self.config.pointer("/build/rustc-workspace-wrapper")?.as_str().map(OsString::from))
    }

    /// The profile's settings that matter.
    pub fn profile(&self, name: &str) -> Profile {
        Profile::read(name, &self.root.join("Cargo.toml"), &self.config)
    }
}

/// The environment variable that sets the runner for a target.
pub fn runner_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", triple.to_uppercase().replace(['-', '.'], "_"))
}

/// The environment variable that sets the linker for a target.
pub fn linker_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace(['-', '.'], "_"))
}

fn parse_output(output: &Output) -> Result<Metadata, Failure> {
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failure::Project { said: said.trim().trim_start_matches("error: ").to_owned() });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Failure::Project { said: error.to_string() })
}

/// Cargo's configuration files, put together. The command that tells them is not stable yet, so a
/// cargo that has it need not let us use it: without it, less is noticed.
fn read_config(at: &At) -> Value {
    let output = cargo()
        .args(["-Zunstable-options", "config", "get", "--format", "json"])
        .args(at.config.iter().flat_map(|config| ["--config", config]))
        .env("RUSTC_BOOTSTRAP", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(config: Value) -> Project {
        Project {
            root: "/p".into(),
            target: "/p/target".into(),
            folders: Folders::in_target("/p/target".as_ref()),
            packages: Vec::new(),
            config,
        }
    }

    #[test]
    fn what_the_user_has_configured_is_found() {
        let project = project(serde_json::json!({
            "build": { "target": "t-u-v", "rustc-workspace-wrapper": "/w" },
            "target": { "cfg(unix)": { "runner": "x" }, "other": { "runner": "y" } },
        }));
        assert_eq!(project.triple(&Selection::default()), "t-u-v");
        let conditional = UserRunner::Conditional("target.'cfg(unix)'.runner".into());
        assert_eq!(project.runner("t-u-v"), Some(conditional));
        assert_eq!(project.runner("other"), Some(UserRunner::Known(vec!["y".into()])));
        assert_eq!(project.workspace_wrapper(), Some("/w".into()));
        assert_eq!(
            runner_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
        );
    }

    #[test]
    fn nothing_configured_is_nothing_found() {
        let project = project(Value::Null);
        assert_eq!(project.runner("x"), None);
        assert_eq!(project.triple(&Selection::default()), env!("LIVEPATCH_HOST_TRIPLE"));
    }
}
