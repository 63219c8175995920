//! Random programs with random edits: a patched process must say what a fresh build of the same source says
//! that starts from the same state.
//!
//! | variable | |
//! | --- | --- |
//! | `LIVEPATCH_PROPERTY_CASES` | how many programs; 8 if it is not set |
//! | `LIVEPATCH_PROPERTY_EDITS` | how many edits of each; 6 |
//! | `LIVEPATCH_PROPERTY_PENDING` | set: edits that are known to go wrong take the place of those of layouts |
//! | `LIVEPATCH_PROPERTY_SEED` | the seed of the first; the others follow it |
//!
//! Each seed is a test of its own name, and makes the same program and edits every time.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at what it cannot do without")]

#[path = "../hold/live.rs"]
#[expect(dead_code, reason = "shared with the tests of what holds, which use more of it")]
mod live;
#[path = "../sessions/project.rs"]
#[expect(dead_code, reason = "shared with the tests of sessions, which use more of it")]
mod project;
#[path = "../sessions/session.rs"]
#[expect(dead_code, reason = "shared with the tests of sessions, which use more of it")]
mod session;

mod case;
mod edits;
mod fresh;
mod generate;
mod program;
mod render;

use case::Story;
use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Edits of layouts are made as well.
const LAYOUTS: bool = true;

fn main() {
    // A failing test has its own report.
    std::panic::set_hook(Box::new(|_| {}));
    let first = variable("LIVEPATCH_PROPERTY_SEED", 1);
    let cases = variable("LIVEPATCH_PROPERTY_CASES", 8);
    let edits = variable("LIVEPATCH_PROPERTY_EDITS", 6).try_into().expect("edits can be counted");
    let trial = |seed| Trial::test(format!("seed_{seed}"), move || run(seed, edits));
    libtest_mimic::run(&Arguments::from_args(), (first..first + cases).map(trial).collect()).exit();
}

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("it is a number"))
}

fn run(seed: u64, edits: u32) -> Result<(), Failed> {
    let story = Story::default();
    let done = catch_unwind(AssertUnwindSafe(|| case::run(seed, edits, LAYOUTS, &story)));
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        let again = format!("LIVEPATCH_PROPERTY_SEED={seed} LIVEPATCH_PROPERTY_CASES=1");
        format!("seed {seed} ({again})\n{}\n{}", story.tell(), text.unwrap_or_default()).into()
    })
}
