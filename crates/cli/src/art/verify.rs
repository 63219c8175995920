//! `livepatch art verify`.

use super::arguments::VerifyArgs;
use super::{read, refused};
use crate::error::Failure;
use crate::loader::print;
use livepatch_art::patch::{Certificate, Strictness, Unverified};
use std::process::ExitCode;

/// Runs the command.
pub(super) fn run(arguments: &VerifyArgs) -> Result<ExitCode, Failure> {
    let path = &arguments.certificate;
    let certificate = Certificate::read(&read(path)?);
    let certificate =
        certificate.map_err(|error| Failure::Refused { said: format!("{}: {error}", path.display()) })?;
    let strictness = if arguments.as_andfix { Strictness::AsAndFix } else { Strictness::Strict };
    let path = &arguments.patch;
    let verified = Unverified::read(&read(path)?).and_then(|patch| patch.verify(&certificate, strictness));
    let verified = verified.map_err(|error| refused(path, &error))?;
    let files = verified.files().len();
    let about = verified.about();
    print(&format!("{}: \"{}\" is as it was signed, {files} dex file(s)\n", path.display(), about.name));
    Ok(ExitCode::SUCCESS)
}
