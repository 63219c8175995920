//! The linker against libraries that are built here for each case, by what they do and by what glibc makes of
//! the same ones.
//!
//! Each case is a process of its own: this program again, with the case's name.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod build;
mod cases;
mod differential;
mod dlext;
mod dlfcn;
mod lazy;
mod malformed;
mod namespaces;
mod rebinding;
mod relocations;
mod system;
mod thread_locals;
mod unwinding;

use cases::{Case, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::{Command, ExitCode};

/// Environment variable: which case this process is.
const CASE: &str = "LIVEPATCH_LINKER_TEST_CASE";

/// Environment variable: what this program is run by, if this machine cannot run it: an emulator, with its
/// arguments.
const RUNNER: &str = "TEST_RUNNER";

fn main() -> ExitCode {
    let all: Vec<Case> = [
        system::CASES,
        dlfcn::CASES,
        dlext::CASES,
        namespaces::CASES,
        unwinding::CASES,
        relocations::CASES,
        lazy::CASES,
        rebinding::CASES,
        thread_locals::CASES,
        malformed::CASES,
        differential::CASES,
    ]
    .concat();
    if let Ok(name) = std::env::var(CASE) {
        return run_case(&all, &name);
    }
    let trial = |case: &Case| {
        let name = case.name;
        Trial::test(name, move || run_apart(name))
    };
    libtest_mimic::run(&Arguments::from_args(), all.iter().map(trial).collect()).exit_code()
}

fn run_case(all: &[Case], name: &str) -> ExitCode {
    let Some(case) = all.iter().find(|case| case.name == name) else {
        eprintln!("no case is called {name}");
        return ExitCode::FAILURE;
    };
    match (case.run)() {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Skipped(why) => {
            println!("skipped: {why}");
            ExitCode::SUCCESS
        }
    }
}

fn run_apart(name: &str) -> Result<(), Failed> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let runner = std::env::var(RUNNER).unwrap_or_default();
    let mut words = runner.split_whitespace();
    let mut command = match words.next() {
        Some(program) => Command::new(program),
        None => Command::new(&own),
    };
    if !runner.is_empty() {
        command.args(words).arg(&own);
    }
    let output = command.env(CASE, name).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    if let Some(why) = said.strip_prefix("skipped: ") {
        println!("{name} skipped: {}", why.trim());
    }
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}
