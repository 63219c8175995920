//! `cargo livepatch doctor`.

use crate::arguments::DoctorArgs;
use crate::error::Failure;
use std::process::ExitCode;

/// Checks the machine and the project.
pub fn run(_arguments: &DoctorArgs) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
