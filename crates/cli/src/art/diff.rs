//! `livepatch art diff`.

use super::arguments::DiffArgs;
use super::{read, refused};
use crate::error::Failure;
use crate::loader::print;
use livepatch_art::dex;
use livepatch_art::diff::{Difference, diff};
use livepatch_art::patch::{self, About, Created, Key};
use livepatch_art::program;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command.
pub(super) fn run(arguments: &DiffArgs) -> Result<ExitCode, Failure> {
    let program = |path: &Path| program::read(&read(path)?).map_err(|error| refused(path, &error));
    let difference = diff(&program(&arguments.old)?, &program(&arguments.new)?);
    print(&text(&difference));
    if !difference.refused.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let Some(output) = &arguments.output else {
        return Ok(ExitCode::from(if difference.patch.is_some() { 0 } else { 3 }));
    };
    let Some(patch) = &difference.patch else { return Ok(ExitCode::from(3)) };
    let failed = |said: String| Failure::Refused { said };
    let bytes = dex::write(patch).map_err(|error| failed(error.to_string()))?;
    let about = about(arguments, &difference, output);
    let archive =
        patch::write(&about, &[bytes], &key(arguments)?).map_err(|error| refused(output, &error))?;
    std::fs::write(output, archive).map_err(Failure::file("write", output))?;
    print(&format!("wrote {}\n", output.display()));
    Ok(ExitCode::SUCCESS)
}

fn key(arguments: &DiffArgs) -> Result<Key, Failure> {
    let (Some(key), Some(certificate)) = (&arguments.key, &arguments.certificate) else {
        return Err(Failure::Refused { said: "a patch is signed: --key and --certificate".to_owned() });
    };
    let private = std::fs::read_to_string(key).map_err(Failure::file("read", key))?;
    let read = Key::read(&private, &read(certificate)?);
    read.map_err(|error| Failure::Refused { said: format!("{}: {error}", key.display()) })
}

fn about(arguments: &DiffArgs, difference: &Difference, output: &Path) -> About {
    let file = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    About {
        name: arguments.name.clone().unwrap_or(name),
        created: Created::now(),
        // As AndFix has it: from the new version, to patch the old one.
        from: file(&arguments.new),
        to: file(&arguments.old),
        by: concat!("livepatch ", env!("CARGO_PKG_VERSION")).to_owned(),
        classes: difference.fixes.clone(),
    }
}

/// Everything that was found, a line each. Writing to a string cannot fail.
fn text(difference: &Difference) -> String {
    let mut text = String::new();
    let (changed, added) = (&difference.changed, &difference.added);
    changed.iter().for_each(|method| text.push_str(&format!("changed  {method}\n")));
    added.iter().for_each(|class| text.push_str(&format!("added    {class}\n")));
    difference.notes.iter().for_each(|finding| text.push_str(&format!("note     {finding}\n")));
    difference.refused.iter().for_each(|finding| text.push_str(&format!("refused  {finding}\n")));
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let summary = match (difference.refused.len(), &difference.patch) {
        (0, None) => "nothing changed".to_owned(),
        (0, Some(_)) => format!(
            "{} and {}",
            count(changed.len(), "changed method"),
            count(added.len(), "added class").replace("classs", "classes")
        ),
        (refused, _) => format!("no patch: {}", count(refused, "change") + " that cannot be patched"),
    };
    let _ = writeln!(text, "{summary}");
    text
}
