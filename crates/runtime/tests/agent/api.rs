//! What a program may ask (`examples/told.rs`), with and without an agent.

use crate::support::Program;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Examples are built together with tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.parent().and_then(|deps| deps.parent()).expect("a target folder").join("examples/told")
}

#[test]
fn without_an_agent_nothing_happens() {
    let output = Command::new(example()).output().expect("the example runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "false\n");
}

/// Also: an unmodified Rust program starts, runs and panics as ever with the agent inside.
#[test]
fn a_program_is_told_of_its_patches() {
    let mut program = Program::start_with(&example(), |command| {
        command.stderr(std::process::Stdio::null()).env("RUST_BACKTRACE", "0");
    })
    .expect("an example needs no compiler");
    assert_eq!(program.line(), "true");
    assert_eq!(program.ask(""), "at 0, told 0");
    for number in 1..=14 {
        let patch = program.server.patch(number);
        program.server.apply(patch).expect("an empty patch applies");
    }
    // Callbacks run after the answer, and one of them takes its time to panic.
    let begun = Instant::now();
    while program.ask("") != "at 14, told 14" {
        assert!(begun.elapsed() < Duration::from_secs(20), "the program was not told");
    }
    assert!(program.finish().success());
}
