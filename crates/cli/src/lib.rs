//! `cargo livepatch`: builds a program, starts it, and makes every saved edit live in it.
//!
//! The command is several programs in one, told apart by the name it was called by: the rustc
//! wrapper and the linker shim of the captured build, the runner through which `cargo run` says what
//! it would start, and the command itself.

pub mod agent;
pub mod arguments;
pub mod art;
pub mod attach;
pub mod captured_build;
pub mod child;
pub mod contents;
pub mod control;
pub mod crash;
mod dialled;
pub mod doctor;
mod engine;
pub mod error;
pub mod events;
pub mod foreign;
pub mod keys;
pub mod launch;
pub mod loader;
pub mod lock;
pub mod patcher;
pub mod private_dir;
pub mod processes;
pub mod project;
pub mod report;
pub mod runner;
mod screen;
pub mod server;
pub mod signals;
pub mod watch;

use arguments::{Cli, Command};
use clap::Parser;
use livepatch_build::capture;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs as what the first argument says.
pub fn main(command_line: Vec<OsString>) -> ExitCode {
    let called = command_line.first().cloned().unwrap_or_default();
    let rest = || command_line.iter().skip(1).cloned().collect();
    match Role::of(Path::new(&called)) {
        Role::RustcWrapper => capture::wrapper::main(rest()),
        Role::Linker => capture::linker::main(rest()),
        Role::Runner => runner::main(rest()),
        Role::Starter => launch::main(rest()),
        Role::Command => command(command_line),
    }
}

#[derive(PartialEq, Eq, Debug)]
enum Role {
    RustcWrapper,
    Linker,
    Runner,
    Starter,
    Command,
}

impl Role {
    fn of(called: &Path) -> Self {
        let folder = called.parent().and_then(Path::file_name);
        if called.file_name().is_some_and(|name| name == "livepatch-rustc") {
            Self::RustcWrapper
        } else if called.file_name().is_some_and(|name| name == runner::NAME) {
            Self::Runner
        } else if called.file_name().is_some_and(|name| name == launch::STARTER) {
            Self::Starter
        } else if folder.is_some_and(|folder| folder == "shim") {
            Self::Linker
        } else {
            Self::Command
        }
    }
}

fn command(mut command_line: Vec<OsString>) -> ExitCode {
    // Cargo calls `cargo-livepatch livepatch …`.
    if command_line.get(1).is_some_and(|first| first == "livepatch") {
        command_line.remove(1);
    }
    let result = match Cli::parse_from(command_line).command {
        Command::Run(run) => server::run(&run),
        Command::Build(build) => captured_build::build(&build),
        Command::Attach(attach) => server::attach(&attach),
        Command::Detach(at) => control::client::detach(&at),
        Command::Status(at) => control::client::status(&at),
        Command::Rollback(rollback) => control::client::rollback(&rollback),
        Command::Restart(at) => control::client::restart(&at),
        Command::Stop(at) => control::client::stop(&at),
        Command::Doctor(at) => doctor::run(&at),
    };
    result.unwrap_or_else(|error| error.report())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        assert_eq!(Role::of(Path::new("/t/livepatch/livepatch-rustc")), Role::RustcWrapper);
        assert_eq!(Role::of(Path::new("/t/livepatch/shim/cc")), Role::Linker);
        assert_eq!(Role::of(Path::new("/run/user/0/livepatch-x/livepatch-runner")), Role::Runner);
        assert_eq!(Role::of(Path::new("cargo-livepatch")), Role::Command);
    }
}
