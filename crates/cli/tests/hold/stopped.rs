//! Programs that do not answer for a while.

use crate::live::Live;
use std::process::Command;

const CODE: &str = "pub fn start() {}\npub fn answer(x: &str) -> String { format!(\"{} {}\", 1, x.len()) }\n";

#[test]
fn what_does_not_compile_leaves_the_program_alone() {
    let mut live = Live::new(CODE);
    let rejected = live.save(&CODE.replace("x.len()", "x.length()"));
    assert_eq!(rejected["event"], "rejected");
    assert!(rejected["diagnostics"][0]["message"].as_str().unwrap().contains("length"), "{rejected}");
    assert_eq!(live.ask("abc"), "1 3");
    live.patch(&CODE.replace("x.len()", "x.len() * 2"));
    assert_eq!(live.ask("abc"), "1 6");
}

/// Longer than the server waits for an answer.
#[test]
fn a_program_that_was_stopped_for_long_is_patched_afterwards() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("abc"), "1 3");
    let signal = |live: &Live, name: &str| {
        assert!(Command::new("kill").args(["-s", name, &live.pid().to_string()]).status().unwrap().success());
    };
    signal(&live, "STOP");
    let rejected = live.save(&CODE.replace("1, x", "2, x"));
    assert_eq!(rejected["event"], "rejected", "{}", live.report());
    assert!(rejected["reason"].as_str().unwrap().contains("is it stopped?"), "{rejected}");
    signal(&live, "CONT");
    let answer = live.ask("abc");
    assert!(["1 3", "2 3"].contains(&&*answer), "{answer}");
    std::thread::sleep(std::time::Duration::from_millis(300));
    live.patch(&CODE.replace("1, x", "3, x"));
    assert_eq!(live.ask("abc"), "3 3");
}
