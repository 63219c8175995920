//! `livepatch`: shared objects. How one of macOS calls what it imports, whether Android would load one, and loading one
//! here with every step shown; and patches for Java programs.

mod apart;
pub mod arguments;
mod call;
pub mod check;
pub mod explain;
mod here;
mod load;
mod message;
mod page;
mod trace;

use arguments::{Cli, Command};
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs what the command line says.
pub fn main(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = match Cli::parse_from(command_line).command {
        Command::Check(check) => check::run(&check),
        Command::Explain(explain) => explain::run(&explain),
        Command::Load(load) => load::run(&load),
        Command::Trace(trace) => trace::run(&trace),
        Command::LoadHere(here) => here::run(&here),
        Command::Art(art) => crate::art::run(&art),
    };
    result.unwrap_or_else(|error| error.report())
}

/// Prints data. Whoever reads it may have gone: that is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
