//! `livepatch art`: patches for Java programs on Android. What is decided about them is decided in `livepatch_art`.

pub mod arguments;
mod demo;
mod diff;
mod show;
mod verify;

use crate::error::Failure;
use arguments::{ArtArgs, Command};
use bytes::Bytes;
use livepatch_art::patch::PatchError;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command.
pub fn run(arguments: &ArtArgs) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Command::Diff(diff) => diff::run(diff),
        Command::Show(show) => show::run(show),
        Command::Verify(verify) => verify::run(verify),
        Command::Demo(demo) => demo::run(demo),
        Command::DemoHere(demo) => demo::run_here(demo),
    }
}

fn read(path: &Path) -> Result<Bytes, Failure> {
    std::fs::read(path).map(Bytes::from).map_err(Failure::file("read", path))
}

/// What is wrong with a file, with all causes.
fn refused(path: &Path, error: &PatchError) -> Failure {
    Failure::Refused { said: format!("{}: {}", path.display(), crate::error::text(error)) }
}
