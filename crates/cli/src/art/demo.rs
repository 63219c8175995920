//! `livepatch art demo`: in a process of its own, because a runtime stays in the process that it is in.

use super::arguments::{DemoArgs, DemoHereArgs};
use crate::error::Failure;
use crate::private_dir::PrivateDir;
use livepatch_art::host::demo::{self, DemoError};
use livepatch_art::host::{Package, Setup};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{ExitCode, Stdio};

/// Runs the command.
pub(super) fn run(arguments: &DemoArgs) -> Result<ExitCode, Failure> {
    let folder = PrivateDir::create().map_err(Failure::system("cannot make a folder"))?;
    let setup = setup(arguments.android, folder.path())?;
    let own = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
    let mut command = setup.command(&own);
    command.args(["art", "demo-here", "--android", &arguments.android.to_string()]);
    command.arg("--folder").arg(folder.path());
    if !arguments.verbose {
        command.stderr(Stdio::null());
    }
    let status = command.status().map_err(Failure::system("cannot start a process for the runtime"))?;
    match status.success() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(Failure::Unsupported {
            what: format!("the demonstration ended with {status}"),
            hint: "--verbose shows what the runtime says".to_owned(),
        }),
    }
}

/// The other process.
pub(super) fn run_here(arguments: &DemoHereArgs) -> Result<ExitCode, Failure> {
    let setup = setup(arguments.android, &arguments.folder)?;
    let run = demo::run(&setup, &arguments.folder, &mut std::io::stdout().lock());
    match run {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever read it may have gone.
        Err(DemoError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::Refused { said: crate::error::text(&error) }),
    }
}

fn setup(version: u32, folder: &Path) -> Result<Setup, Failure> {
    let package = Package::of(version).map_err(|said| match said.split_once("; ") {
        Some((what, hint)) => Failure::Unsupported { what: what.to_owned(), hint: hint.to_owned() },
        None => Failure::Refused { said },
    })?;
    Setup::write(package, folder).map_err(|error| Failure::Refused { said: crate::error::text(&error) })
}
