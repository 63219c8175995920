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

use cases::Case;
use std::process::ExitCode;

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
    cases::main(&all)
}
