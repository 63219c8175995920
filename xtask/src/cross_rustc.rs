//! A rustc with a std for AArch64: the user's own, or Debian's, unpacked under the target directory.

use crate::apt::Apt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells tests which rustc it is.
pub(crate) const VARIABLE: &str = "TEST_AARCH64_RUSTC";
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// A std takes the very rustc that it was built with, so both are Debian's.
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev:arm64"];
/// What of those that they depend on may not be there already: this machine's.
const PARTS: [&str; 2] = ["libstd-rust-web-", "libllvm"];

/// Finds one, or unpacks it where that is possible.
pub(crate) fn find() -> Result<PathBuf, String> {
    let given = std::env::var_os(VARIABLE).map(PathBuf::from);
    for rustc in given.into_iter().chain([PathBuf::from("rustc")]) {
        if has(&rustc, TARGET) {
            return Ok(rustc);
        }
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = std::path::absolute(target.join("cross")).map_err(|error| error.to_string())?;
    let rustc = folder.join("rustc");
    if has(&rustc, TARGET) {
        return Ok(rustc);
    }
    eprintln!("── unpack {}", PACKAGES.join(", "));
    unpack(&folder).map_err(|error| format!("no rustc for {TARGET} can be had: {error}"))?;
    has(&rustc, TARGET).then_some(rustc).ok_or_else(|| format!("Debian's rustc for {TARGET} does not work"))
}

/// Whether a rustc has a std for a target.
pub(crate) fn has(rustc: &Path, target: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn unpack(folder: &Path) -> Result<(), String> {
    let apt = Apt::of_machines(folder, &["amd64", "arm64"])?;
    apt.run("apt-get", &["update", "--quiet"])?;
    let root = folder.join("root");
    apt.unpack(packages(&apt)?.iter().map(String::as_str), &root)?;
    write_rustc(folder, &root).map_err(|error| error.to_string())
}

/// What is to be unpacked. Of the target's packages only the std: its compiler is this machine's.
fn packages(apt: &Apt) -> Result<Vec<String>, String> {
    let kinds = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
    let without: Vec<String> = kinds.iter().map(|kind| format!("--no-{kind}")).collect();
    let mut words = vec!["depends", "--recurse"];
    words.extend(without.iter().map(String::as_str));
    words.extend(PACKAGES);
    let all = apt.run("apt-cache", &words)?;
    let is_part = |name: &&str| PARTS.iter().any(|part| name.starts_with(part)) && !name.contains(':');
    let mut names: Vec<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
    names.extend(all.split_whitespace().filter(is_part).map(str::to_owned));
    names.sort();
    names.dedup();
    Ok(names)
}

/// The unpacked compiler, told where its libraries are.
fn write_rustc(folder: &Path, root: &Path) -> std::io::Result<()> {
    let rustc = folder.join("rustc");
    let (libraries, program) = (root.join("usr/lib/x86_64-linux-gnu"), root.join("usr/bin/rustc"));
    let (libraries, program) = (libraries.display(), program.display());
    let script = format!("#!/bin/sh\nexport LD_LIBRARY_PATH='{libraries}'\nexec '{program}' \"$@\"\n");
    std::fs::write(&rustc, script)?;
    std::fs::set_permissions(&rustc, PermissionsExt::from_mode(0o755))
}
