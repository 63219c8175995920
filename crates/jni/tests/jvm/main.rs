//! `livepatch.Loader` in a Java virtual machine: semantics with libraries that are built here, and real Android
//! libraries with the Java classes that they come with.
//!
//! Each trial is a virtual machine that runs one `main`; it fails if that throws.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

mod build;
mod trials;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = |(name, run): &trials::Trial| {
        let (name, run) = (*name, *run);
        Trial::test(name, move || match run() {
            build::Outcome::Passed => Ok(()),
            build::Outcome::Skipped(why) => {
                println!("{name} skipped: {why}");
                Ok(())
            }
            build::Outcome::Failed(said) => Err(said.into()),
        })
    };
    libtest_mimic::run(&arguments, trials::ALL.iter().map(trial).collect()).exit_code()
}
