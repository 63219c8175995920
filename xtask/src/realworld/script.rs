//! What is done to every program.

use super::program::{Edit, Program};
use super::stage::Stage;
use super::story::{Step, Story};
use crate::run::Result;
use std::path::Path;

/// Builds and starts a program, and plays the script on it.
pub(super) fn run(program: &Program, command: &Path, work: &Path, keep: bool) -> Story {
    eprintln!("══ {}: {}", program.title(), program.kind);
    let mut story = Story {
        name: program.name.clone(),
        version: program.version.clone(),
        kind: program.kind.clone(),
        ..Story::default()
    };
    story.error = play(program, command, work, keep, &mut story).err();
    story
}

fn play(program: &Program, command: &Path, work: &Path, keep: bool, story: &mut Story) -> Result {
    let mut stage = Stage::open(program, command, work, keep, story)?;
    let result = patches(&mut stage, &mut story.steps);
    story.kept = stage.kept();
    let result = result.and_then(|()| restarts(&mut stage, &mut story.steps));
    // What went wrong before says more than that there is nothing left to stop.
    result.and(stage.close())
}

/// The process goes on through all of this: each edit, the last one back, rollback, an error, its cure,
/// all back.
fn patches(stage: &mut Stage<'_>, steps: &mut Vec<Step>) -> Result {
    let edits = &stage.program.edits;
    let none = vec![false; edits.len()];
    stage.look_first()?;
    let mut on = none.clone();
    for (at, edit) in edits.iter().enumerate().filter(|(_, edit)| edit.keeps_process()) {
        on[at] = true;
        let step = stage.edit(&title(at, edit), &on, Some(edit))?;
        if step.wrong.is_some() && edit.not_yet.is_some() {
            on[at] = false;
            stage.withdraw(&on)?;
        }
        steps.push(step);
    }
    let all = on.clone();
    if let Some(last) = on.iter().rposition(|on| *on) {
        on[last] = false;
    }
    steps.push(stage.edit("the last edit taken back", &on, None)?);
    steps.push(stage.roll_back()?);
    steps.push(stage.compile_error()?);
    steps.push(stage.edit("the error's cure, all edits with it", &all, None)?);
    steps.push(stage.edit("all edits taken back", &none, None)?);
    Ok(())
}

/// What no process can go on through, and an ordinary edit of the process that comes of it.
fn restarts(stage: &mut Stage<'_>, steps: &mut Vec<Step>) -> Result {
    let edits = &stage.program.edits;
    let mut on = vec![false; edits.len()];
    for (at, edit) in edits.iter().enumerate().filter(|(_, edit)| !edit.keeps_process()) {
        on[at] = true;
        steps.push(stage.edit(&title(at, edit), &on, Some(edit))?);
    }
    if on.contains(&true) {
        on[0] = true;
        steps.push(stage.edit("edit 1 once more, in the new process", &on, None)?);
    }
    Ok(())
}

fn title(at: usize, edit: &Edit) -> String {
    format!("edit {}: {}", at + 1, edit.what)
}
