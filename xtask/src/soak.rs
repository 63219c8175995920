//! Thousands of patches of one process: what it answers, and what they leave behind.

mod looks;
mod pieces;
mod program;

use crate::report::{self, Verdict, table, verdict_table};
use crate::run::{Result, cargo_livepatch, target};
use looks::{COLUMNS, Look};
use pieces::Pieces;
use program::Program;
use serde_json::json;

/// `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many patches go live
    #[arg(long, default_value_t = WHOLE)]
    patches: u32,
}

const WHOLE: u32 = 10_000;

/// Up to this patch it is seen what each edit of a function's body takes.
const FIRST: u32 = 1_000;

/// What is done, over and over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The function's body changes.
    Body,
    /// A function comes, another goes.
    Added,
    /// A static comes, another goes.
    Static,
    /// A closure captures something else: it is versioned.
    Closure,
    /// A future keeps something else: it is versioned, and those that were not begun move.
    Future,
    /// The edit before is taken back in the source.
    TakeBack,
    /// `cargo livepatch rollback`.
    RollBack,
}

/// A rollback takes back a body only: futures that were begun in a patch keep their code alive.
const CYCLE: [Step; 12] = [
    Step::Body,
    Step::Added,
    Step::Body,
    Step::TakeBack,
    Step::Static,
    Step::TakeBack,
    Step::Closure,
    Step::Body,
    Step::RollBack,
    Step::Future,
    Step::Body,
    Step::Static,
];

/// Runs the program, patches it, looks at it.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let command = cargo_livepatch()?;
    let machine = report::machine();
    let mut program = Program::start(&command, &target()?.join("soak"))?;
    let mut looks = vec![Look::at(&program)?];
    let mut bodies = Vec::new();
    let error = steps(&mut program, arguments.patches, &mut looks, &mut bodies).err();
    if let Some(error) = &error {
        eprintln!("after {} patches: {error}", program.patches());
    } else {
        program.stop()?;
    }
    let verdicts = verdicts(&looks, &bodies);
    let data = json!({
        "date": report::date(),
        "machine": machine,
        "error": error,
        "looks": looks.iter().map(Look::to_json).collect::<Vec<_>>(),
        "resident bytes of each edit of a body": bodies,
    });
    let mut text = format!(
        "# Thousands of patches of one process\n\n`cargo xtask soak`, {}. {}\n\nOne program under `cargo livepatch \
         run`: bodies, new functions, new statics, versioned closures and futures, edits taken back and rollbacks, \
         in turn; after each, all answers of the program are checked, its state included. Bytes and counts of the \
         program, and of the command.\n\n",
        report::date(),
        report::machine_line(&machine)
    );
    if let Some(error) = &error {
        text += &format!("**Ended early:** {error}\n\n");
    }
    text += &verdict_table(&verdicts);
    text += "\n";
    text += &table(&COLUMNS, &looks.iter().map(Look::row).collect::<Vec<_>>());
    let name = if arguments.patches < WHOLE { format!("soak-{}", arguments.patches) } else { "soak".into() };
    report::save(&name, &data, &text)?;
    match error {
        None if verdicts.iter().all(Verdict::is_met) => Ok(()),
        None => Err("a number is not reached".into()),
        Some(error) => Err(error),
    }
}

/// Goes through the steps until enough patches are live.
fn steps(program: &mut Program, patches: u32, looks: &mut Vec<Look>, bodies: &mut Vec<i64>) -> Result {
    let mut when =
        [10, 100, 1_000, 10_000].into_iter().chain([patches]).filter(|&at| at <= patches).peekable();
    let mut number = 0;
    for step in CYCLE.into_iter().cycle() {
        number += 1;
        let before = (step == Step::Body && program.patches() < FIRST).then(|| program.resident());
        take(step, program, number).map_err(|error| format!("step {number}: {error}"))?;
        if let Some(before) = before {
            bodies.push(program.resident()?.cast_signed() - before?.cast_signed());
        }
        while when.next_if(|&at| at <= program.patches()).is_some() {
            if looks.last().is_none_or(|look| look.patches < program.patches()) {
                looks.push(Look::at(program)?);
                eprintln!("   {} patches", program.patches());
            }
        }
        if program.patches() >= patches {
            return Ok(());
        }
    }
    Ok(())
}

fn take(step: Step, program: &mut Program, number: u64) -> Result {
    let now = program.source();
    match step {
        Step::Body => program.edit(Pieces { body: number, ..now })?,
        Step::Added => program.edit(Pieces { added: number, ..now })?,
        Step::Static => program.edit(Pieces { count: number, ..now })?,
        // Whatever the length of the cycle, the next one is of another form.
        Step::Closure => program.edit(Pieces { closure: now.closure + 1, ..now })?,
        Step::Future => {
            program.begin()?;
            program.edit(Pieces { work: now.work + 1, ..now })?;
            program.finish()?;
        }
        Step::TakeBack => program.take_back()?,
        Step::RollBack => program.roll_back()?,
    }
    program.check()
}

fn verdicts(looks: &[Look], bodies: &[i64]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mean = bodies.iter().sum::<i64>() as f64 / bodies.len().max(1) as f64;
    verdicts.push(Verdict {
        measure: format!(
            "resident for an edit of one function's body, mean of the first {}, KiB",
            bodies.len()
        ),
        reach: "≤ 64 KiB",
        limit: 64.0,
        seen: mean / 1024.0,
    });
    let (Some(first), Some(last)) = (looks.get(1), looks.last()) else { return verdicts };
    let patches = f64::from(last.patches - first.patches).max(1.0);
    let each = |of: fn(&Look) -> u64| (of(last) as f64 - of(first) as f64) / patches;
    verdicts.push(Verdict {
        measure: format!(
            "resident for each patch, from the {}th to the {}th, KiB",
            first.patches, last.patches
        ),
        reach: "≤ 64 KiB",
        limit: 64.0,
        seen: each(|look| look.program.resident) / 1024.0,
    });
    for (what, of) in [
        (
            "files that the program has open, more than after the first",
            (|look| look.program.files) as fn(&Look) -> u64,
        ),
        ("threads of the program, more than after the first", |look| look.program.threads),
        ("files that the command has open, more than after the first", |look| look.server.files),
        ("threads of the command, more than after the first", |look| look.server.threads),
    ] {
        let seen = of(last) as f64 - of(first) as f64;
        verdicts.push(Verdict { measure: what.into(), reach: "0", limit: 0.0, seen });
    }
    verdicts
}
