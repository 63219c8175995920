//! Chores of the dynamic linker: measuring it, and trying it on more libraries than its tests do.

pub(crate) mod bench;
pub(crate) mod differential;
pub(crate) mod mutants;

use crate::run::Result;
use std::path::PathBuf;
use std::process::Command;

/// Which case of the linker's tests a process runs.
const CASE: &str = "LIVEPATCH_LINKER_TEST_CASE";

/// The program of the linker's tests, built.
fn test_program() -> Result<PathBuf> {
    crate::run::test_program("livepatch-linker", "loader")
}

/// How a case ended: well, skipped with a reason, or not well.
enum Ended {
    Well(String),
    Skipped(String),
    Badly(String),
}

/// Runs one case in a process of its own, for two minutes at most.
fn run_case(program: &PathBuf, case: &str, variables: &[(&str, &str)]) -> Result<Ended> {
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).env(CASE, case).envs(variables.iter().copied());
    let output = command.output().map_err(|error| format!("timeout: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(match (output.status.success(), said.split_once("skipped: ")) {
        (true, Some((_, why))) => Ended::Skipped(why.to_owned()),
        (true, None) => Ended::Well(said),
        (false, _) => Ended::Badly(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    })
}
