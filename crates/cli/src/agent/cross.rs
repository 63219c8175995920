//! The agent for programs of another target than this command's own: built where it is needed first, with
//! the project's compiler and linker for that target, from the sources inside this command.

use crate::arguments::At;
use crate::error::Failure;
use crate::project::{Project, cargo};
use livepatch_build::capture::write_atomically;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Paths in the workspace, and contents.
static SOURCES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/agent_sources.rs"));

/// What of a failed build is shown.
const LINES: usize = 12;

/// The path of the agent for a target, built if that was not done before with these sources and this compiler.
pub(super) fn path(
    project: &Project,
    triple: &str,
    at: &At,
    say: impl FnOnce(&str),
) -> Result<PathBuf, Failure> {
    let root = project.folders.root();
    let name = format!("{triple}-{:016x}", version(project));
    let agent = root.join(format!("agent-{name}.so"));
    if agent.is_file() {
        return Ok(agent);
    }
    say(&format!("building the agent for {triple}, once"));
    let sources = root.join(format!("agent-{name}"));
    let built = unpack(&sources)
        .map_err(|error| error.to_string())
        .and_then(|()| build(&sources, triple, at))
        .and_then(|built| std::fs::rename(built, &agent).map_err(|error| error.to_string()));
    let _ = std::fs::remove_dir_all(&sources);
    built.map_err(|said| Failure::Unsupported {
        what: format!("the agent cannot be built for {triple}:\n{said}"),
        hint: format!(
            "it takes what your program takes: a std and a linker for {triple}, and the crate libc"
        ),
    })?;
    Ok(agent)
}

/// Tells sources, compilers and settings apart.
fn version(project: &Project) -> u64 {
    let mut hasher = DefaultHasher::new();
    SOURCES.hash(&mut hasher);
    let compiler =
        std::env::var_os("RUSTC").or_else(|| Some(project.config.pointer("/build/rustc")?.as_str()?.into()));
    let said =
        Command::new(compiler.unwrap_or_else(|| "rustc".into())).arg("-vV").stdin(Stdio::null()).output();
    said.map(|output| output.stdout).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

fn unpack(folder: &Path) -> io::Result<()> {
    let in_workspace = SOURCES.iter().any(|(name, _)| *name == "Cargo.toml");
    for (name, contents) in SOURCES {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let text = String::from_utf8_lossy(contents);
        match *name {
            "Cargo.toml" => write_atomically(&path, workspace(&text).as_bytes())?,
            name if name.ends_with("/Cargo.toml") => {
                let apart = if in_workspace { "" } else { "\n[workspace]\n" };
                write_atomically(&path, (without_section(&text, "dev-dependencies") + apart).as_bytes())?;
            }
            _ => write_atomically(&path, contents)?,
        }
    }
    Ok(())
}

/// The workspace's manifest with the agent's packages only.
fn workspace(manifest: &str) -> String {
    let line = |line: &str| match line {
        _ if line.starts_with("members = ") => {
            "members = [\"crates/proto\", \"crates/runtime\"]\n".to_owned()
        }
        _ if line.starts_with("exclude = ") => String::new(),
        _ => format!("{line}\n"),
    };
    manifest.lines().map(line).collect()
}

fn without_section(manifest: &str, section: &str) -> String {
    let header = format!("[{section}]");
    let mut left_out = false;
    let keep = |line: &&str| {
        if line.starts_with('[') {
            left_out = *line == header;
        }
        !left_out
    };
    manifest.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

/// Builds in the project's folder, where its configuration holds.
fn build(sources: &Path, triple: &str, at: &At) -> Result<PathBuf, String> {
    let profile = if sources.join("Cargo.toml").is_file() { "agent" } else { "release" };
    let out = sources.join("target");
    let run = |offline: bool| {
        let mut command = cargo();
        command
            .args(["rustc", "--lib", "--features", "agent", "--crate-type", "cdylib", "--profile", profile])
            .args(["--target", triple, "--quiet", "--target-dir"])
            .arg(&out)
            .arg("--manifest-path")
            .arg(sources.join("crates/runtime/Cargo.toml"))
            .args(at.config.iter().flat_map(|config| ["--config", config]))
            .args(offline.then_some("--offline"))
            // The program waits for this: rather somewhat larger than half a minute later.
            .env("CARGO_PROFILE_AGENT_LTO", "off")
            .env("CARGO_PROFILE_AGENT_CODEGEN_UNITS", "16")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("cannot run cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(said)
    };
    // What cargo says without being offline is the better reason.
    run(true).or_else(|_| run(false)).map_err(|said| {
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).take(LINES).collect();
        lines.join("\n")
    })?;
    let agent = out.join(triple).join(profile).join("liblivepatch.so");
    agent.is_file().then_some(agent).ok_or_else(|| "cargo made no liblivepatch.so".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_a_workspace_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path()).unwrap();
        let output = cargo()
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
            .arg(dir.path().join("crates/runtime/Cargo.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let names: Vec<_> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        assert_eq!(names, ["livepatch-proto", "livepatch"]);
        assert!(packages.iter().all(|package| {
            package["dependencies"].as_array().unwrap().iter().all(|dependency| dependency["kind"] != "dev")
        }));
    }
}
