//! `livepatch load`.

use super::apart;
use super::arguments::{LoadArgs, Returns};
use super::message::Message;
use crate::error::Failure;
use std::process::ExitCode;

/// Runs the command: standard output has what the library prints, and then what the function returned.
pub(super) fn run(arguments: &LoadArgs) -> Result<ExitCode, Failure> {
    let load = apart::load(arguments, false, None, |_| ())?;
    for message in &load.messages {
        match message {
            Message::Loaded { path, nanoseconds } => {
                eprintln!("{path}: loaded in {:.3} ms", *nanoseconds as f64 / 1e6);
            }
            Message::Returned { number, text, .. } => {
                super::print(&returned(*number, text.as_deref(), arguments.returns))
            }
            _ => {}
        }
    }
    if let Some(trouble) = load.trouble() {
        eprintln!("error: {}: {trouble}", arguments.path.display());
    }
    Ok(ExitCode::from(load.code()))
}

/// What a function returned, on a line.
fn returned(number: Option<i64>, text: Option<&str>, returns: Returns) -> String {
    match (returns, number, text) {
        (Returns::Nothing, ..) => String::new(),
        (Returns::Text, _, Some(text)) => format!("{text}\n"),
        (Returns::Text, _, None) => "(null)\n".to_owned(),
        (Returns::Number, number, _) => format!("{}\n", number.unwrap_or_default()),
    }
}
