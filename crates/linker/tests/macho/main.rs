//! Mach-O images loaded and run in this process: built here for each case with clang and `ld64.lld`, against a `.tbd`
//! that is written here.
//!
//! Each case is a process of its own: this program again, with the case's name. Without these tools, cases are skipped
//! and say so.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod binding;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod build;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[path = "../loader/cases.rs"]
mod cases;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod images;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod malformed;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod rebinding;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod shim;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod symbols;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod unwinding;

/// Environment variable: what this program is run by, if this machine cannot run it.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
const RUNNER: &str = "TEST_RUNNER";

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn main() -> std::process::ExitCode {
    let all: Vec<cases::Case> = [
        images::CASES,
        binding::CASES,
        symbols::CASES,
        rebinding::CASES,
        shim::CASES,
        unwinding::CASES,
        malformed::CASES,
    ]
    .concat();
    let all = if build::missing_tools().is_some() { build::skipped(&all) } else { all };
    cases::main(&all)
}

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
fn main() {
    println!("skipped: Mach-O images are run on x86-64 with glibc only");
}
