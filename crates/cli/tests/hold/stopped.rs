//! Programs that do not answer for a while.

use crate::live::Live;
use crate::session::livepatch;
use std::process::Command;
use std::time::Duration;

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

#[test]
fn edits_of_a_stopped_program_go_live_when_it_goes_on() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("abc"), "1 3");
    let signal = |live: &Live, name: &str| {
        assert!(Command::new("kill").args(["-s", name, &live.pid().to_string()]).status().unwrap().success());
    };
    signal(&live, "STOP");
    live.project.write("src/code.rs", &CODE.replace("1, x", "2, x"));
    live.session.wait_until_said("is stopped: edits go live when it goes on");
    let refused = livepatch(&live.project, &["rollback"]);
    assert_eq!(refused.status.code(), Some(1));
    live.project.write("src/code.rs", &CODE.replace("1, x", "3, x"));
    // Longer than an answer may take.
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(live.events().iter().filter(|event| event["event"] == "edit").count(), 2);
    signal(&live, "CONT");
    assert_eq!(live.outcome()["event"], "patched");
    assert_eq!(live.ask("abc"), "3 3");
    live.patch(&CODE.replace("1, x", "4, x"));
    assert_eq!(live.ask("abc"), "4 3");
    assert_eq!(live.session.said().matches("is stopped").count(), 1);
}

#[test]
fn a_program_that_gave_up_its_connection_starts_anew_at_the_next_edit() {
    let code = r#"
pub fn start() {}
extern "C" { fn shutdown(fd: i32, how: i32) -> i32; }
pub fn answer(x: &str) -> String {
    if x == "cut" {
        // Where the agent keeps its own.
        let _ = (200..1024).all(|fd| unsafe { shutdown(fd, 2) } != 0);
    }
    format!("{} {}", 1, x.len())
}
"#;
    let mut live = Live::new(code);
    assert_eq!(live.ask("cut"), "1 3");
    live.session.wait_until_said("it is not patched any more");
    let restarted = live.save(&code.replace("\", 1,", "\", 2,"));
    assert_eq!(restarted["event"], "restarted", "{}", live.report());
    assert!(restarted["reason"].as_str().unwrap().contains("ended its connection"), "{restarted}");
    live.hang_up();
    assert_eq!(live.ask("abc"), "2 3");
    live.edit("\", 2,", "\", 3,");
    assert_eq!(live.ask("abc"), "3 3");
}
