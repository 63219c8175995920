//! How programs end, what they turn into, and their children.

use crate::live::{Live, notes};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

const CODE: &str = r#"
use std::os::unix::process::CommandExt;
use std::process::Command;

#[allow(dead_code)]
extern "C" {
    fn fork() -> i32;
    fn _exit(status: i32) -> !;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn raise(signal: i32) -> i32;
}

pub fn start() {}

pub fn answer(question: &str) -> String {
    let (what, rest) = question.split_once(' ').unwrap_or((question, ""));
    match what {
        "value" => value().to_string(),
        "fork" => match unsafe { fork() } {
            0 => child(rest),
            pid => pid.to_string(),
        },
        "wait" => {
            let mut status = 0;
            let pid = unsafe { waitpid(rest.parse().unwrap(), &mut status, 0) };
            format!("{} {status:#x}", pid == rest.parse().unwrap())
        }
        "env" => String::from_utf8(Command::new("env").output().unwrap().stdout).unwrap(),
        "exec" => panic!("{}", Command::new("sh").args(["-c", "env; sleep 0.5; exit 5"]).exec()),
        "end" => end(),
        _ => String::new(),
    }
}

/// Says what it gets, until it is told to end.
fn child(name: &str) -> ! {
    while std::fs::metadata(format!("{name}.end")).is_err() {
        std::fs::write(format!("{name}.new"), value().to_string()).unwrap();
        std::fs::rename(format!("{name}.new"), name).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    unsafe { _exit(3) }
}

fn value() -> u32 { 1 }

fn end() -> String { "goes on".into() }
"#;

/// Waits until a file says something.
fn wait_for(live: &Live, file: &str, text: &str) {
    let since = Instant::now();
    while std::fs::read_to_string(live.project.file(file)).ok().as_deref() != Some(text) {
        assert!(since.elapsed() < Duration::from_secs(20), "{file} never says {text}:\n{}", live.report());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ours(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains("LIVEPATCH") || line.starts_with("LD_PRELOAD")).collect()
}

#[test]
fn forked_children_live_on_and_are_patched_too() {
    let mut live = Live::new(CODE);
    let first = live.ask("fork one");
    wait_for(&live, "one", "1");
    live.edit("-> u32 { 1 }", "-> u32 { 2 }");
    assert_eq!(live.ask("value"), "2");
    wait_for(&live, "one", "2");
    // A child of patched code, which has the patch from the start.
    let second = live.ask("fork two");
    wait_for(&live, "two", "2");
    live.edit("-> u32 { 2 }", "-> u32 { 3 }");
    wait_for(&live, "two", "3");
    wait_for(&live, "one", "3");
    for (name, pid) in [("one", first), ("two", second)] {
        live.project.write(&format!("{name}.end"), "");
        assert_eq!(live.ask(&format!("wait {pid}")), "true 0x300");
    }
    live.edit("-> u32 { 3 }", "-> u32 { 4 }");
    assert_eq!(live.ask("value"), "4");
    let said = live.session.said();
    assert!(!said.contains("warning"), "{said}");
}

fn signal(pid: &str, name: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
}

#[test]
fn children_that_call_late_get_what_their_parents_got_meanwhile() {
    let mut live = Live::new(CODE);
    live.edit("-> u32 { 1 }", "-> u32 { 2 }");
    let pid = live.ask("fork one");
    signal(&pid, "-STOP");
    live.edit("-> u32 { 2 }", "-> u32 { 3 }");
    live.edit("-> u32 { 3 }", "-> u32 { 4 }");
    assert_eq!(live.ask("value"), "4");
    signal(&pid, "-CONT");
    wait_for(&live, "one", "4");
    live.edit("-> u32 { 4 }", "-> u32 { 5 }");
    wait_for(&live, "one", "5");
    live.project.write("one.end", "");
    assert_eq!(live.ask(&format!("wait {pid}")), "true 0x300");
    let said = live.session.said();
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn children_find_nothing_of_ours() {
    let mut live = Live::new(CODE);
    let env = live.ask("env");
    assert!(env.contains("PATH=") && ours(&env).is_empty(), "{:?}", ours(&env));
    live.edit("-> u32 { 1 }", "-> u32 { 2 }");
    let env = live.ask("env");
    assert!(env.contains("PATH=") && ours(&env).is_empty(), "{:?}", ours(&env));
    live.tell("exec");
    assert_eq!(live.session.wait().code(), Some(5));
    let said = live.session.said();
    let env = &said[said.find("patched").unwrap()..];
    assert!(env.contains("PATH=") && env.contains("replaced itself (exec)"), "{said}");
    assert_eq!(ours(env), [""; 0]);
}

/// Ends the program by patched code, and says how the session ended.
fn ends(body: &str) -> (Option<i32>, Option<i32>, i64, String) {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("end"), "goes on");
    let patched = live.edit("\"goes on\".into()", body);
    assert_eq!(notes(&patched), [""; 0]);
    live.tell("end");
    let status = live.session.wait();
    let exited = live.outcome();
    (status.code(), status.signal(), exited["status"].as_i64().unwrap(), live.session.said())
}

#[test]
fn every_end_is_passed_on() {
    let end = |body: &str| {
        let (code, signal, told, said) = ends(body);
        assert!(!said.contains("warning") && !said.contains("panicked"), "{said}");
        (code, signal, told)
    };
    assert_eq!(end("std::process::exit(42)"), (Some(42), None, 42));
    assert_eq!(end("std::process::abort()"), (None, Some(6), 134));
    assert_eq!(end("{ unsafe { raise(15) }; String::new() }"), (None, Some(15), 143));
    // Faults and traps that are the program's own.
    assert_eq!(
        end("{ unsafe { *std::hint::black_box(8 as *mut u8) = 1 }; String::new() }"),
        (None, Some(11), 139)
    );
    assert_eq!(end("{ unsafe { std::arch::asm!(\"int3\") }; String::new() }"), (None, Some(5), 133));
    assert_eq!(end("{ unsafe { std::arch::asm!(\"ud2\") }; String::new() }"), (None, Some(4), 132));
}
