//! Methods replaced in a live Android runtime, each case in a process of its own.
//!
//! A case that misses the runtime says so and is skipped.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

mod beyond;
mod checked;
mod kinds;
mod limits;
mod names;
mod newer;
mod patched;
mod reported;
mod running;
mod runtime;
mod versions;
mod without;

use libtest_mimic::{Arguments, Trial};
use livepatch_art::host::{BootError, Package, Setup};
use livepatch_art::record::Way;
use runtime::Runtime;
use std::error::Error as _;
use std::process::{Command, ExitCode};

/// Which case a process runs, with which version of Android, and how methods are replaced.
const CASE: &str = "LIVEPATCH_ART_CASE";
const VERSION: &str = "LIVEPATCH_ART_VERSION";
const WAY: &str = "LIVEPATCH_ART_WAY";
/// Environment variable: what this program is run by, if this machine cannot run it: an emulator, with its
/// arguments.
const RUNNER: &str = "TEST_RUNNER";

/// What other threads run is for the kernel to say, and an emulator's speaks of the emulator's threads: these cases
/// ask for it where records are copied. The others say that there is no other thread, where they are emulated.
const OF_THREADS: [&str; 4] =
    ["on_the_stack", "under_three_threads", "busy_native_thread", "patched::through_the_exports"];

/// This one sets the process a limit, which an emulator does not heed: it would be its own.
const OF_MEMORY: &str = "limits::memory_for_code";

/// A case: it panics if something is not as it should be.
type Case = (&'static str, fn(&mut Runtime));

/// Cases that a version has nothing to show for.
const SKIPPED: &[(u32, &str, &str)] =
    &[(14, "records_as_the_table_says", "bodies are where newer::bodies_are_in_data looks")];

/// Cases that run in each way: by entries, and by copies.
fn in_each_way() -> impl Iterator<Item = &'static Case> {
    kinds::ALL
        .iter()
        .chain(running::ALL)
        .chain(patched::ALL)
        .chain(reported::ALL)
        .chain(names::ALL)
        .chain(limits::ALL)
}

/// Cases that run where calls go through entries, and choose a way if they mean one.
fn by_entries(version: u32) -> impl Iterator<Item = &'static Case> {
    let newer = if version >= 12 { newer::ALL } else { &[] };
    checked::ALL.iter().chain(without::ALL).chain(beyond::ALL).chain(newer)
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CASE) {
        return run_here(&name);
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for version in [11, 10, 14] {
        let entries =
            in_each_way().chain(by_entries(version)).map(|(name, _)| (*name, Way::Entry, "entries"));
        let copies = in_each_way().map(|(name, _)| (*name, Way::Fields, "copies"));
        for (name, way, text) in entries.chain(copies) {
            let title = format!("art{version}::{text}::{name}");
            trials.push(Trial::test(title, move || run(version, way, name)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether the kernel that this program asks is another machine's.
fn is_emulated() -> bool {
    std::env::var_os(RUNNER).is_some()
}

/// Runs a case in a process of its own.
fn run(version: u32, way: Way, name: &str) -> Result<(), libtest_mimic::Failed> {
    if is_emulated() && way == Way::Fields && OF_THREADS.contains(&name) {
        println!("art{version}::{name} skipped: an emulator does not say where threads have their stacks");
        return Ok(());
    }
    if is_emulated() && name == OF_MEMORY {
        println!("art{version}::{name} skipped: an emulator has no limit of memory");
        return Ok(());
    }
    let package = match Package::of(version) {
        Ok(package) => package,
        Err(why) => {
            println!("art{version}::{name} skipped: {why}");
            return Ok(());
        }
    };
    if let Some((.., why)) = SKIPPED.iter().find(|(of, case, _)| *of == version && *case == name) {
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
    let runner = std::env::var(RUNNER).unwrap_or_default();
    child.arg("120").args(runner.split_whitespace()).arg(hosted.get_program()).args(hosted.get_args());
    child.envs(hosted.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if way == Way::Fields {
        child.env(WAY, "copies");
    }
    let output = child.env(CASE, name).env(VERSION, version.to_string()).output()?;
    // Some are there to show how a process ends: by a signal, or by the runtime's own check. (Its handler of signals
    // ends it with 1 if it meets another one.)
    let should_die = name.contains("::dies::");
    let is_fatal = String::from_utf8_lossy(&output.stderr).contains("Fatal signal");
    let died = is_fatal || output.status.code().is_none_or(|code| code >= 128);
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
    let way = if std::env::var_os(WAY).is_some() { Way::Fields } else { Way::Entry };
    let folder = std::env::var_os("ANDROID_ROOT").expect("a folder");
    let (_, case) =
        in_each_way().chain(by_entries(version)).find(|(other, _)| *other == name).expect("a case");
    case(&mut Runtime::start(version, way, folder.as_ref()));
    ExitCode::SUCCESS
}
