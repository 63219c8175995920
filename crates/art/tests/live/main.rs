//! Methods replaced in a live Android runtime, each case in a process of its own.
//!
//! A case that misses the runtime says so and is skipped.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

mod beyond;
mod checked;
mod kinds;
mod patched;
mod reported;
mod running;
mod runtime;
mod versions;
mod without;

use libtest_mimic::{Arguments, Trial};
use livepatch_art::host::{Package, Setup};
use livepatch_art::record::Way;
use runtime::Runtime;
use std::process::{Command, ExitCode};

/// Which case a process runs, with which version of Android, and how methods are replaced.
const CASE: &str = "LIVEPATCH_ART_CASE";
const VERSION: &str = "LIVEPATCH_ART_VERSION";
const WAY: &str = "LIVEPATCH_ART_WAY";

/// A case: it panics if something is not as it should be.
type Case = (&'static str, fn(&mut Runtime));

/// Cases that run in each way: by entries, and by copies where the runtime interprets everything.
fn in_each_way() -> impl Iterator<Item = &'static Case> {
    kinds::ALL.iter().chain(running::ALL).chain(patched::ALL).chain(reported::ALL)
}

/// Cases that run where calls go through entries, and choose a way if they mean one.
fn by_entries() -> impl Iterator<Item = &'static Case> {
    checked::ALL.iter().chain(without::ALL).chain(beyond::ALL)
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CASE) {
        return run_here(&name);
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for version in [11, 10] {
        let entries = in_each_way().chain(by_entries()).map(|(name, _)| (*name, Way::Entry, "entries"));
        let copies = in_each_way().map(|(name, _)| (*name, Way::Fields, "copies"));
        for (name, way, text) in entries.chain(copies) {
            let title = format!("art{version}::{text}::{name}");
            trials.push(Trial::test(title, move || run(version, way, name)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a case in a process of its own.
fn run(version: u32, way: Way, name: &str) -> Result<(), libtest_mimic::Failed> {
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
    if way == Way::Fields {
        child.env(WAY, "copies");
    }
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
    let way = if std::env::var_os(WAY).is_some() { Way::Fields } else { Way::Entry };
    let folder = std::env::var_os("ANDROID_ROOT").expect("a folder");
    let (_, case) = in_each_way().chain(by_entries()).find(|(other, _)| *other == name).expect("a case");
    case(&mut Runtime::start(version, way, folder.as_ref()));
    ExitCode::SUCCESS
}
