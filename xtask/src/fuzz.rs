//! Fuzzing what reads bytes from outside. Needs a nightly compiler and `cargo install cargo-fuzz`.

mod seeds;

use crate::run::{Result, cargo_livepatch, root, step};
use seeds::{Seed, plant};
use std::path::Path;
use std::process::Command;

/// The targets in `fuzz/`, and what they start from.
const TARGETS: [(&str, Seed); 14] = [
    ("relocatable", Seed::Objects),
    ("layout", Seed::DebugInformation),
    ("host", Seed::Programs),
    ("archive", Seed::Archives),
    ("protocol", Seed::Nothing),
    ("entry", Seed::Nothing),
    ("gate", Seed::Edits),
    ("writer", Seed::Patches),
    ("stubs", Seed::Needs),
    ("loadable", Seed::Libraries),
    ("android", Seed::Libraries),
    ("macho", Seed::Images),
    // These two damage files of their own.
    ("dex", Seed::Nothing),
    ("apatch", Seed::Nothing),
];

/// Runs each target, or only one, for `seconds`; a finding is an error.
pub(crate) fn run(seconds: u32, only: Option<&str>) -> Result {
    let known = |name: &str| TARGETS.iter().any(|(target, _)| *target == name);
    if let Some(unknown) = only.filter(|name| !known(name)) {
        return Err(format!("there is no target {unknown}"));
    }
    let target = cargo_livepatch()?;
    let target = target.ancestors().nth(2).ok_or("no target directory")?.join("fuzz");
    for (name, seed) in TARGETS.into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        let corpus = target.join("corpus").join(name);
        std::fs::create_dir_all(&corpus).map_err(|error| error.to_string())?;
        plant(seed, &corpus)?;
        plant_committed(name, &corpus)?;
        let mut fuzz = Command::new("cargo");
        fuzz.args(["+nightly", "fuzz", "run", "--target-dir"]).arg(&target).arg(name).arg(&corpus);
        fuzz.args(["--", "-timeout=10", "-rss_limit_mb=2048", &format!("-max_total_time={seconds}")]);
        step(&format!("fuzz {name} for {seconds} s"), fuzz.current_dir(root()))?;
    }
    Ok(())
}

/// Adds what is kept of earlier runs, findings among them.
fn plant_committed(name: &str, corpus: &Path) -> Result {
    let kept = root().join("fuzz/corpus").join(name);
    let Ok(entries) = std::fs::read_dir(&kept) else { return Ok(()) };
    for entry in entries.flatten() {
        let to = corpus.join(entry.file_name());
        std::fs::copy(entry.path(), &to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}
