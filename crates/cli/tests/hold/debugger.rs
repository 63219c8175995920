//! A debugger sees patched code as it is.

use crate::live::Live;
use std::process::{Command, Stdio};
use std::time::Duration;

const CODE: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
static WAITING: AtomicU32 = AtomicU32::new(0);
pub fn start() {}
pub fn answer(question: &str) -> String {
    if question == "wait" {
        let before = WAITING.load(SeqCst);
        std::thread::spawn(|| outer(1));
        while WAITING.load(SeqCst) == before { std::thread::yield_now() }
    }
    wrapped();
    twice(4).to_string()
}
fn twice(x: u32) -> u32 { x * 2 }
fn nothing() -> u32 { 0 }
fn wrapped() -> u32 { nothing() }
fn outer(x: u32) -> u32 {
    inner(x) + 1
}
fn inner(x: u32) -> u32 {
    x
}
"#;

#[test]
fn gdb_names_patched_functions_and_their_new_lines() {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: there is no gdb");
        return;
    }
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("?"), "8");
    let waits = "fn inner(x: u32) -> u32 {\n    let local = x + 41;\n    WAITING.fetch_add(1, SeqCst);\n    \
        loop { std::thread::sleep(std::time::Duration::from_secs(local.into())) }\n}";
    let code =
        format!("// One more line.\n{}", live.code.replace("fn inner(x: u32) -> u32 {\n    x\n}", waits));
    live.patch(&code);
    live.ask("wait");
    let line =
        |text: &str| code[..code.find(text).unwrap()].lines().count() + usize::from(text.starts_with("    "));
    let gdb = Command::new("gdb")
        .args(["-p", &live.pid().to_string(), "-batch", "-nx", "-iex", "set debuginfod enabled off"])
        .args(["-ex", "thread apply all bt", "-ex", "info symbol app::code::inner", "-ex", "detach"])
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&gdb.stdout).into_owned();
    let frame = |function: &str| {
        let mut frames = said.lines().filter(|line| line.contains(function)).map(str::trim);
        frames.next().unwrap_or_else(|| panic!("{function} is not in\n{said}")).to_owned()
    };
    let inner = frame(" app::code::inner (x=1)");
    assert!(inner.ends_with(&format!("src/code.rs:{}", line("loop { std"))), "{inner}");
    let outer = frame(" app::code::outer (x=1)");
    assert!(outer.ends_with(&format!("src/code.rs:{}", line("inner(x) + 1"))), "{outer}");
    // The program has outlived it, and is patched on.
    assert_eq!(live.ask("?"), "8");
    live.edit("x * 2", "x * 3");
    assert_eq!(live.ask("?"), "12");
}

/// The name has two places then, and the breakpoint is set at both: over the old body's first instructions
/// there is a jump, which must lead on.
#[test]
fn a_breakpoint_by_name_stops_in_the_patched_body() {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: there is no gdb");
        return;
    }
    let mut live = Live::new(CODE);
    for (function, stops, from, to, call) in [
        ("twice", 1, "{ x * 2 }", "{\n    let y = x + 1;\n    y * 3\n}", ("answer", "twice(4).to_string()")),
        // The breakpoint is inside the jump.
        ("wrapped", 1, "{ nothing() }", "{\n    let n = nothing();\n    n + 1\n}", ("answer", "wrapped();")),
        // There is nothing before the breakpoint, so that it is where callers arrive: a stop more.
        ("nothing", 2, "{ 0 }", "{\n    let n = u32::MIN;\n    n\n}", ("wrapped", "nothing();")),
    ] {
        live.patch(&format!("// One more line.\n{}", live.code.replace(from, to)));
        let mut gdb = Command::new("gdb")
            .args(["-p", &live.pid().to_string(), "-batch", "-nx", "-iex", "set debuginfod enabled off"])
            .args(["-ex", &format!("break app::code::{function}"), "-ex", "shell echo >attached"])
            .args(["-ex", "continue"].repeat(stops))
            .args(["-ex", "bt", "-ex", "delete", "-ex", "detach"])
            .current_dir(live.project.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let attached = live.project.file("attached");
        while !attached.exists() {
            assert_eq!(gdb.try_wait().unwrap(), None, "gdb goes on until it is told");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::remove_file(attached).unwrap();
        // It stops in there, and answers when gdb lets go.
        assert_eq!(live.ask("?"), "15");
        let said = String::from_utf8_lossy(&gdb.wait_with_output().unwrap().stdout).into_owned();
        let place = |code: &str, text: &str| {
            let before = &code[..code.find(text).unwrap()];
            format!("src/code.rs:{}", before.matches('\n').count() + 1)
        };
        let frames: Vec<&str> = said.lines().filter(|line| line.starts_with('#')).collect();
        assert!(frames.len() > 2 && frames[0].contains(&format!("app::code::{function} (")), "{said}");
        assert!(frames[0].ends_with(&place(&live.code, to.lines().nth(1).unwrap())), "{said}");
        assert!(frames[1].contains(&format!("app::code::{} (", call.0)), "{said}");
        // What was not patched has the lines of before.
        let code = if call.0 == "answer" { CODE } else { &live.code };
        assert!(frames[1].ends_with(&place(code, call.1)), "{said}");
        // It lives on without the debugger.
        assert_eq!(live.ask("?"), "15");
    }
}

/// A debugger takes the traps that careful redirection needs: what cannot be done then is said, and done
/// when it is gone.
#[test]
fn under_a_debugger_edits_go_live_or_say_why_not() {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: there is no gdb");
        return;
    }
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("?"), "8");
    live.edit("x * 2", "x * 3");
    assert_eq!(live.ask("?"), "12");
    let pid = live.pid();
    let mut gdb = Command::new("gdb")
        .args([
            "-p",
            &pid.to_string(),
            "-batch",
            "-nx",
            "-iex",
            "set debuginfod enabled off",
            "-ex",
            "continue",
        ])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let since = std::time::Instant::now();
    while !(status().contains(&format!("TracerPid:\t{}", gdb.id())) && status().contains("State:\tS")) {
        assert!(since.elapsed() < Duration::from_secs(30), "{}", status());
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    // A function that was redirected before, and one that was not.
    live.edit("x * 3", "x * 4");
    assert_eq!(live.ask("?"), "16");
    let outcome = live.save(&live.code.replace("twice(4).to_string()", "twice(5).to_string()"));
    println!("{outcome}");
    match outcome["event"].as_str() {
        Some("patched") => assert_eq!(live.ask("?"), "20"),
        Some("rejected") => {
            assert!(outcome["reason"].as_str().unwrap().contains("debugger"), "{outcome}");
            assert_eq!(live.ask("?"), "16");
        }
        _ => panic!("{}", live.report()),
    }
    // Interrupted, it has no more commands, takes its breakpoints out and lets go.
    assert!(Command::new("kill").args(["-s", "INT", &gdb.id().to_string()]).status().unwrap().success());
    gdb.wait().unwrap();
    live.patch(&live.code.replace("twice(5).to_string()", "twice(6).to_string()"));
    assert_eq!(live.ask("?"), "24");
}
