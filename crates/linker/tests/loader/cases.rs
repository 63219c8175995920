//! What a case is, and running each in a process of its own: this program again, with the case's name.

use crate::RUNNER;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::{Command, ExitCode};

/// Environment variable: which case this process is.
pub(crate) const CASE: &str = "LIVEPATCH_LINKER_TEST_CASE";

/// How a case went, if it did not fail.
pub(crate) enum Outcome {
    Passed,
    /// Something is not there that it takes.
    Skipped(String),
}

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> Outcome,
}

/// Lists functions of a module as cases. They return nothing, or an [`Outcome`].
macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$(crate::cases::Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: || crate::cases::Into::outcome($name()),
        }),*]
    };
}
pub(crate) use cases;

/// What case functions return.
pub(crate) trait Into {
    fn outcome(self) -> Outcome;
}

impl Into for () {
    fn outcome(self) -> Outcome {
        Outcome::Passed
    }
}

impl Into for Outcome {
    fn outcome(self) -> Outcome {
        self
    }
}

/// Runs all cases, or the one that this process is.
pub(crate) fn main(all: &[Case]) -> ExitCode {
    if let Ok(name) = std::env::var(CASE) {
        return run_case(all, &name);
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
