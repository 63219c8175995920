//! Methods replaced in a live Android runtime, each case in a process of its own.
//!
//! A case that misses the runtime says so and is skipped.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

mod kinds;
mod patched;
mod running;
mod runtime;
mod without;

use libtest_mimic::{Arguments, Trial};
use livepatch_art::host::{Package, Setup};
use runtime::Runtime;
use std::process::{Command, ExitCode};

/// Which case a process runs, and with which version of Android.
const CASE: &str = "LIVEPATCH_ART_CASE";
const VERSION: &str = "LIVEPATCH_ART_VERSION";

/// A case: it panics if something is not as it should be.
type Case = (&'static str, fn(&mut Runtime));

fn all() -> impl Iterator<Item = &'static Case> {
    kinds::ALL.iter().chain(running::ALL).chain(without::ALL).chain(patched::ALL)
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CASE) {
        return run_here(&name);
    }
    let arguments = Arguments::from_args();
    let trials = [11, 10].into_iter().flat_map(|version| {
        all().map(move |(name, _)| Trial::test(format!("art{version}::{name}"), move || run(version, name)))
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
    let folder = tempfile::tempdir()?;
    let setup = Setup::write(package, folder.path())?;
    let mut child = Command::new("timeout");
    child.arg("120").arg(std::env::current_exe()?).env(CASE, name).env(VERSION, version.to_string());
    let output = child.envs(setup.environment()).output()?;
    // Some are there to show how a process ends: by a signal, or by the runtime's own check.
    let dies = name.contains("::dies::") && (output.status.code().is_none_or(|code| code >= 128));
    match output.status.success() && !name.contains("::dies::") || dies {
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
    let (_, case) = all().find(|(other, _)| *other == name).expect("a case");
    case(&mut Runtime::start(version, folder.as_ref()));
    ExitCode::SUCCESS
}
