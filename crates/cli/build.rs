//! Builds what is loaded into programs, for `agent.rs` to embed: the agent, and the dynamic linker for patch libraries.
//! One `cargo install cargo-livepatch` is all that is ever installed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A shared library that this command carries.
struct Carried {
    what: &'static str,
    /// Environment variable: one that was built already.
    prebuilt: &'static str,
    /// Environment variable of cargo's: where its package is, beside this one or in cargo's registry.
    package: &'static str,
    feature: &'static str,
    file: &'static str,
    /// The packages of the workspace that it depends on.
    depends_on: &'static [&'static str],
    /// Environment variable of the compiler's: where it was built.
    place: &'static str,
}

const AGENT: Carried = Carried {
    what: "agent",
    prebuilt: "LIVEPATCH_PREBUILT_AGENT",
    package: "DEP_LIVEPATCH_AGENT_MANIFEST_DIR",
    feature: "agent",
    file: "liblivepatch.so",
    depends_on: &["crates/proto"],
    place: "LIVEPATCH_AGENT_FILE",
};

const LINKER: Carried = Carried {
    what: "dynamic linker",
    prebuilt: "LIVEPATCH_PREBUILT_LINKER",
    package: "DEP_LIVEPATCH_LINKER_MANIFEST_DIR",
    feature: "c-abi",
    file: "liblivepatch_linker.so",
    depends_on: &["crates/object", "crates/runtime", "crates/proto"],
    place: "LIVEPATCH_LINKER_FILE",
};

fn main() {
    if let Err(error) = embed_sources() {
        println!("cargo::error=cannot read the agent's sources: {error}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    for carried in [AGENT, LINKER] {
        let Carried { what, prebuilt, place, .. } = carried;
        println!("cargo::rerun-if-env-changed={prebuilt}");
        let file = std::env::var_os(prebuilt).map(PathBuf::from);
        if let Some(file) = &file {
            println!("cargo::rerun-if-changed={}", file.display());
        }
        match file.map_or_else(|| build(&carried), Ok) {
            Ok(file) => println!("cargo::rustc-env={place}={}", file.display()),
            Err(error) => println!("cargo::error=cannot build the {what}: {error}"),
        }
    }
    println!("cargo::rustc-env=LIVEPATCH_HOST_TRIPLE={}", variable("TARGET").unwrap_or_default());
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn build(carried: &Carried) -> Result<PathBuf, String> {
    let package = PathBuf::from(variable(carried.package)?);
    let workspace = package.join("../..");
    let in_workspace = has_agent_profile(&workspace);
    watch(&package);
    if in_workspace {
        carried.depends_on.iter().for_each(|other| watch(&workspace.join(other)));
    }
    let target = variable("TARGET")?;
    let out = PathBuf::from(variable("OUT_DIR")?).join("agent");
    let profile = if in_workspace { "agent" } else { "release" };
    let run = |offline: bool| {
        let mut command = cargo()?;
        command
            .args(["rustc", "--lib", "--features", carried.feature])
            .args(["--crate-type", "cdylib", "--profile", profile])
            .args(["--target", &target, "--target-dir"])
            .arg(&out)
            .arg("--manifest-path")
            .arg(package.join("Cargo.toml"))
            .args(offline.then_some("--offline"));
        let output = command.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(said)
    };
    run(true).or_else(|_| run(false))?;
    let built = out.join(&target).join(profile).join(carried.file);
    built.is_file().then_some(built).ok_or_else(|| format!("cargo made no {}", carried.file))
}

/// Writes the list of the agent's source files, from which it is built for other targets.
fn embed_sources() -> Result<(), String> {
    let runtime = PathBuf::from(variable("DEP_LIVEPATCH_AGENT_MANIFEST_DIR")?);
    let workspace = runtime.join("../..");
    let mut files = Vec::new();
    if has_agent_profile(&workspace) {
        files.extend(["Cargo.toml", "Cargo.lock"].map(|name| (name.into(), workspace.join(name))));
        for package in ["crates/proto", "crates/runtime"] {
            source_files(&workspace.join(package), package, &mut files)?;
        }
    } else {
        source_files(&runtime, "crates/runtime", &mut files)?;
    }
    let mut list = String::from("&[\n");
    for (name, path) in files {
        let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
        writeln!(list, "({name:?}, include_bytes!({path:?})),").map_err(|error| error.to_string())?;
    }
    list.push(']');
    let out = PathBuf::from(variable("OUT_DIR")?).join("agent_sources.rs");
    std::fs::write(out, list).map_err(|error| error.to_string())
}

/// What a package is built from, by its path under `name`.
fn source_files(package: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    for entry in ["Cargo.toml", "build.rs", "src"] {
        let path = package.join(entry);
        let name = format!("{name}/{entry}");
        if path.is_dir() {
            folder_files(&path, &name, files)?;
        } else if path.is_file() {
            files.push((name, path));
        }
    }
    Ok(())
}

fn folder_files(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            folder_files(&path, &name, files)?;
        } else {
            files.push((name, path));
        }
    }
    Ok(())
}

fn has_agent_profile(workspace: &Path) -> bool {
    let manifest = std::fs::read_to_string(workspace.join("Cargo.toml"));
    manifest.is_ok_and(|manifest| manifest.contains("[profile.agent]"))
}

fn watch(package: &Path) {
    for part in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", package.join(part).display());
    }
}

/// The cargo that builds this, without what it tells only the compilers of this build: flags,
/// wrappers (clippy's among them), the job server, the variables about this package.
fn cargo() -> Result<Command, String> {
    let mut command = Command::new(variable("CARGO")?);
    let kept = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_HTTP_PROXY", "CARGO_HTTP_CAINFO"];
    let dropped =
        ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "DEP_", "MAKEFLAGS", "MFLAGS", "TARGET", "PROFILE"];
    let dropped_exactly =
        ["CLIPPY_ARGS", "CLIPPY_CONF_DIR", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "LIVEPATCH_CAPTURE"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let leaks = dropped.iter().any(|start| text.starts_with(start)) || dropped_exactly.contains(&&*text);
        let registries = text.starts_with("CARGO_REGISTR") || text.starts_with("CARGO_SOURCE");
        if leaks && !registries && !kept.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    Ok(command)
}
