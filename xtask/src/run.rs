//! Running other programs, and files for them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a chore answers with: an error is a sentence for a person.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// The same for another project.
pub(crate) fn cargo_in(project: &Path) -> Command {
    let mut cargo = cargo();
    neutral(cargo.current_dir(project));
    cargo
}

/// Takes out of a command's environment what the cargo that runs this has set for it.
pub(crate) fn neutral(command: &mut Command) {
    const KEPT: [&str; 4] = ["CARGO_HOME", "CARGO_NET_", "CARGO_REGISTR", "CARGO_HTTP_"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("CARGO_") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if ours || text.starts_with("LIVEPATCH_") {
            command.env_remove(&name);
        }
    }
}

/// Runs a command, says so first, and fails unless it succeeds.
pub(crate) fn step(title: &str, command: &mut Command) -> Result {
    eprintln!("── {title}");
    let status = command.status().map_err(|error| format!("{title}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{title}: {status}")) }
}

/// Runs a command and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if !output.status.success() {
        return Err(format!("{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where cargo puts what is built of this workspace.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    Ok(target.into())
}

/// Builds the command in release mode and returns its path.
pub(crate) fn cargo_livepatch() -> Result<PathBuf> {
    let mut build = cargo();
    step(
        "build cargo-livepatch",
        build.args(["build", "--release", "--quiet", "--package", "cargo-livepatch"]),
    )?;
    Ok(target()?.join("release/cargo-livepatch"))
}

/// Builds a package's test program of that name, and returns its path.
pub(crate) fn test_program(package: &str, test: &str) -> Result<PathBuf> {
    let arguments = ["test", "--package", package, "--test", test, "--no-run"];
    step(&format!("build the tests of {package}"), cargo().args(arguments).arg("--quiet"))?;
    let text = output(cargo().args(arguments).args(["--message-format", "json"]))?;
    let is_it = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_test = message["target"]["name"] == test;
        is_test.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    };
    text.lines().find_map(is_it).ok_or_else(|| "cargo names no test program".to_owned())
}

/// Writes a file and the folders above it, in place: one write, one close.
pub(crate) fn write(path: &Path, contents: &str) -> Result {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    std::fs::write(path, contents).map_err(fail)
}

/// Copies a folder, over what is there.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result {
    let fail = |error: std::io::Error| format!("copying {}: {error}", from.display());
    std::fs::create_dir_all(to).map_err(fail)?;
    for entry in std::fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let place = to.join(entry.file_name());
        if entry.file_type().map_err(fail)?.is_dir() {
            copy_tree(&entry.path(), &place)?;
        } else {
            std::fs::copy(entry.path(), place).map_err(fail)?;
        }
    }
    Ok(())
}
