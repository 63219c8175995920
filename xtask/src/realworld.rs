//! Whole programs, most of them published ones, unmodified, edited while they run.

mod exchange;
mod program;
mod script;
mod source;
mod stage;
mod story;
mod terminal;
mod view;

use crate::report;
use crate::run::{Result, cargo_livepatch, target};
use serde_json::{Value, json};
use story::Story;

/// `cargo xtask realworld`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these programs
    #[arg(value_name = "NAME")]
    only: Vec<String>,
    /// Keep what was built before: quicker, but the first build is not measured then
    #[arg(long)]
    keep: bool,
}

/// Runs the programs, one after the other.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let programs = program::load(&arguments.only)?;
    let machine = report::machine();
    let command = cargo_livepatch()?;
    let work = target()?.join("realworld");
    let mut stories = Vec::new();
    for program in &programs {
        let story = script::run(program, &command, &work, arguments.keep);
        if let Some(error) = &story.error {
            eprintln!("{}: {error}", program.name);
        }
        stories.push(story);
    }
    let data = json!({
        "date": report::date(),
        "machine": machine,
        "programs": stories.iter().map(Story::to_json).collect::<Vec<_>>(),
    });
    let name = [&["realworld".to_owned()], arguments.only.as_slice()].concat().join("-");
    report::save(&name, &data, &markdown(&machine, &stories))?;
    let failed: Vec<&str> =
        stories.iter().filter(|story| !story.is_good()).map(|story| story.name.as_str()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("not all went well with {}", failed.join(", "))) }
}

fn markdown(machine: &Value, stories: &[Story]) -> String {
    let mut text = format!(
        "# Whole programs under edit\n\n`cargo xtask realworld`, {}. {}\n\nms from the save; \
         `seen` is what the user sees, looked at without pause from outside.\n",
        report::date(),
        report::machine_line(machine)
    );
    for story in stories {
        text += &story.markdown();
    }
    text
}
