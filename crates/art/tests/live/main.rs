//! Methods replaced in a live Android runtime, each case in a process of its own.
//!
//! A case that misses the runtime says so and is skipped.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

mod kinds;
mod newer;
mod patched;
mod running;
mod runtime;
mod without;

use libtest_mimic::{Arguments, Trial};
use livepatch_art::host::{BootError, Package, Setup};
use runtime::Runtime;
use std::error::Error as _;
use std::process::{Command, ExitCode};

/// Which case a process runs, and with which version of Android.
const CASE: &str = "LIVEPATCH_ART_CASE";
const VERSION: &str = "LIVEPATCH_ART_VERSION";

/// A case: it panics if something is not as it should be.
type Case = (&'static str, fn(&mut Runtime));

/// What is otherwise in a version.
enum Otherwise {
    /// The process ends by a signal.
    Dies,
    /// There is nothing to see there, for this reason.
    Skipped(&'static str),
}

const OTHERWISE: &[(u32, &str, Otherwise)] = &[
    // A native method has no body there, whatever else its record says.
    (14, "without::native_method", Otherwise::Dies),
    // By its record the method is not one of an interface any more: its place is looked up in a vtable.
    (14, "without::default_method", Otherwise::Dies),
    (
        14,
        "without::virtual_for_static",
        Otherwise::Skipped(
            "nterp takes what is in a register for the object: the process ends, or goes on with that",
        ),
    ),
    (14, "records_as_the_table_says", Otherwise::Skipped("bodies are where newer::bodies_are_in_data looks")),
    (14, "patched::through_the_exports", Otherwise::Skipped("it compares with the size of older records")),
];

/// Cases of a version.
fn cases(version: u32) -> impl Iterator<Item = &'static Case> {
    let newer = if version >= 12 { newer::ALL } else { &[] };
    all().chain(newer)
}

fn all() -> impl Iterator<Item = &'static Case> {
    kinds::ALL.iter().chain(running::ALL).chain(without::ALL).chain(patched::ALL)
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CASE) {
        return run_here(&name);
    }
    let arguments = Arguments::from_args();
    let trials = [11, 10, 14].into_iter().flat_map(|version| {
        cases(version)
            .map(move |(name, _)| Trial::test(format!("art{version}::{name}"), move || run(version, name)))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Runs a case in a process of its own.
fn run(version: u32, name: &str) -> Result<(), libtest_mimic::Failed> {
    let package = match Package::of(version) {
        Ok(package) => package,
        Err(why) => {
            println!("art{version}::{name} skipped: {why}");
            return Ok(());
        }
    };
    let otherwise = OTHERWISE.iter().find(|(of, case, _)| *of == version && *case == name).map(|it| &it.2);
    if let Some(Otherwise::Skipped(why)) = otherwise {
        println!("art{version}::{name} skipped: {why}");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let setup = match Setup::write(package, folder.path()) {
        // Debian may build it anew.
        Err(error @ BootError::Build { .. }) => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            println!("art{version}::{name} skipped: {error}: {why}");
            return Ok(());
        }
        setup => setup?,
    };
    let mut child = Command::new("timeout");
    let hosted = setup.command(&std::env::current_exe()?);
    child.arg("120").arg(hosted.get_program()).args(hosted.get_args());
    child.envs(hosted.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = child.env(CASE, name).env(VERSION, version.to_string()).output()?;
    // Some are there to show how a process ends: by a signal, or by the runtime's own check.
    let should_die = name.contains("::dies::") || matches!(otherwise, Some(Otherwise::Dies));
    let died = output.status.code().is_none_or(|code| code >= 128);
    match if should_die { died } else { output.status.success() } {
        true => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if let Some(why) = said.lines().find_map(|line| line.strip_prefix("skipped: ")) {
                println!("art{version}::{name} skipped: {why}");
            }
            Ok(())
        }
        false => {
            let (said, errors) = (&output.stdout, &output.stderr);
            let text = [String::from_utf8_lossy(said), String::from_utf8_lossy(errors)].join("\n");
            Err(format!("{}\n{text}", output.status).into())
        }
    }
}

fn run_here(name: &str) -> ExitCode {
    let version = std::env::var(VERSION).expect("a version").parse().expect("a version");
    let folder = std::env::var_os("ANDROID_ROOT").expect("a folder");
    let (_, case) = cases(version).find(|(other, _)| *other == name).expect("a case");
    case(&mut Runtime::start(version, folder.as_ref()));
    ExitCode::SUCCESS
}
