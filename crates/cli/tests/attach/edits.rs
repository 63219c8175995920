//! Edits of a program that was started without livepatch.

use crate::live::{Live, functions, package};
use crate::session::livepatch;
use crate::started::{Started, build};
use serde_json::Value;

const CODE: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
static ASKED: AtomicU32 = AtomicU32::new(0);

pub struct State { pub total: u64 }
static STATE: std::sync::Mutex<State> = std::sync::Mutex::new(State { total: 0 });

pub fn start() {}

pub fn answer(question: &str) -> String {
    let asked = ASKED.fetch_add(1, SeqCst) + 1;
    let mut state = STATE.lock().unwrap();
    state.total += question.len() as u64;
    match question {
        "block" => blocked(|| value(1)).to_string(),
        "environment" => std::env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(" "),
        _ => format!("{asked} {} {}", state.total, value(1)),
    }
}

#[inline(never)]
fn value(x: u32) -> u32 { std::hint::black_box(x) + 10 }

#[allow(unused)]
fn blocked(work: impl FnOnce() -> u32) -> u32 {
    extern "C" { fn pthread_sigmask(how: i32, set: *const [u64; 16], old: *mut [u64; 16]) -> i32; }
    let (all, mut old) = ([u64::MAX; 16], [0; 16]);
    unsafe { pthread_sigmask(0, &all, &mut old) };
    let result = work();
    unsafe { pthread_sigmask(2, &old, std::ptr::null_mut()) };
    result
}
"#;

fn patch_number(event: &Value) -> u64 {
    event["patch"].as_u64().expect("patches have numbers")
}

#[test]
fn state_is_kept_edits_go_live_and_stay() {
    let mut program = Started::new(CODE);
    let mut live = program.attach();
    let attached = live.events()[0].clone();
    assert_eq!((&attached["event"], &attached["pid"]), (&"attached".into(), &program.pid().into()));
    assert_eq!(attached["loaded"], true);
    let said = live.session.said();
    assert!(said.contains(&format!("process {} runs target/debug/app", program.pid())), "{said}");
    assert!(said.contains("which waits in `accept"), "it waits for a connection: {said}");
    assert_eq!(live.ask("abc"), "1 3 11");
    let patched = live.edit("+ 10", "+ 20");
    assert_eq!((patch_number(&patched), functions(&patched)), (1, vec!["app::code::value"]));
    assert_eq!(live.ask("abc"), "2 6 21");
    live.edit("+ 20", "+ 30");
    // Blocking all signals is the program's right, once its functions were changed.
    assert_eq!(live.ask("block"), "31");
    assert!(livepatch(&live.project, &["rollback"]).status.success());
    assert_eq!(live.ask("abc"), "4 14 21");
    live.edit("+ 30", "+ 40");
    let names = live.ask("environment");
    assert!(names.contains("PATH") && !names.contains("LIVEPATCH") && !names.contains("LD_PRELOAD"));
    program.detach(live);
    assert!(program.runs());

    // It goes on with what was live, until another session has something else.
    let mut live = program.attach();
    assert_eq!(live.events()[0]["loaded"], false);
    assert_eq!(live.outcome()["event"], "patched");
    assert_eq!(live.ask("abc"), "6 28 41");
    let said = live.session.said();
    assert!(said.contains("what patch 3 of an earlier session left live is taken back"), "{said}");
    live.edit("+ 40", "+ 50");
    assert_eq!(live.ask("abc"), "7 31 51");
    assert!(livepatch(&live.project, &["rollback", "--to", "0"]).status.success());
    assert_eq!(live.ask("abc"), "8 34 11");
    program.detach(live);
    assert!(program.runs());
}

#[test]
fn edits_from_before_go_live_at_once() {
    let mut program = Started::new(CODE);
    program.project().write("src/code.rs", &CODE.replace("+ 10", "+ 20"));
    let mut live = program.attach();
    assert_eq!(live.outcome()["event"], "patched");
    assert_eq!(live.ask("abc"), "1 3 21");
}

#[test]
fn what_was_taken_back_is_live_no_more() {
    let mut program = Started::new(CODE);
    let source = program.project().file("src/code.rs");
    let before = std::fs::metadata(&source).unwrap().modified().unwrap();
    let mut live = program.attach();
    live.edit("+ 10", "+ 20");
    program.detach(live);
    // The source as it was built, its time included: there is nothing to compile.
    program.project().write("src/code.rs", CODE);
    std::fs::File::open(&source).unwrap().set_modified(before).unwrap();
    let mut live = program.attach();
    live.session.wait_for("rolled_back");
    assert_eq!(live.ask("abc"), "1 3 11");
    program.detach(live);
    // And with a time that makes it look like an edit.
    let mut live = program.attach();
    live.edit("+ 10", "+ 20");
    program.detach(live);
    program.project().write("src/code.rs", CODE);
    let mut live = program.attach();
    live.session.wait_for("rolled_back");
    assert_eq!(live.ask("abc"), "2 6 11");
}

/// An edit that does not compile leaves everything as the earlier session left it.
#[test]
fn what_is_live_stays_until_something_else_compiles() {
    let mut program = Started::new(CODE);
    let mut live = program.attach();
    live.edit("+ 10", "+ 20");
    program.detach(live);
    program.project().write("src/code.rs", &CODE.replace("+ 10", "+ ten"));
    let mut live = program.attach();
    assert_eq!(live.outcome()["event"], "rejected");
    assert_eq!(live.ask("abc"), "1 3 21");
    live.patch(&CODE.replace("+ 10", "+ 30"));
    assert_eq!(live.ask("abc"), "2 6 31");
}

fn reason(rejected: &Value) -> &str {
    assert_eq!(rejected["event"], "rejected", "{rejected}");
    rejected["reason"].as_str().unwrap()
}

#[test]
fn what_needs_a_restart_is_refused_with_the_reason() {
    let mut program = Started::new(CODE);
    let mut live = program.attach();
    assert_eq!(live.ask("abc"), "1 3 11");
    let wider = CODE
        .replace("pub struct State { pub total: u64 }", "pub struct State { pub total: u64, pub more: u64 }");
    let wider = wider.replace("State { total: 0 }", "State { total: 0, more: 0 }");
    let rejected = live.save(&wider);
    assert!(reason(&rejected).contains("State") && reason(&rejected).contains("restart"), "{rejected}");
    assert_eq!(live.ask("abc"), "2 6 11");
    // It stays refused with whatever comes along, until it is gone.
    let rejected = live.save(&wider.replace("+ 10", "+ 20"));
    assert!(reason(&rejected).contains("State"), "{rejected}");
    assert_eq!(live.ask("abc"), "3 9 11");
    live.patch(&CODE.replace("+ 10", "+ 30"));
    assert_eq!(live.ask("abc"), "4 12 31");

    let manifest = std::fs::read_to_string(live.project.file("Cargo.toml")).unwrap();
    live.project.write("Cargo.toml", &format!("{manifest}\n[features]\nmore = []\n"));
    assert!(reason(&live.outcome()).contains("did not start this program"));
    live.edit("+ 30", "+ 40");
    assert_eq!(live.ask("abc"), "5 15 41");
    for command in ["restart", "stop"] {
        let refused = livepatch(&live.project, &[command]);
        assert_eq!(refused.status.code(), Some(1), "{command}");
    }
    assert!(program.runs());
    let session = livepatch(&live.project, &["attach", &program.pid().to_string()]);
    assert!(
        String::from_utf8_lossy(&session.stderr).contains("already"),
        "one session for a target directory"
    );
}

/// The agent came too late to keep a place for them in every thread.
#[test]
fn new_thread_locals_are_refused_with_the_reason() {
    let mut program = Started::new(CODE);
    let mut live = program.attach();
    let local = "thread_local! { static NEW: std::cell::Cell<u32> = const { std::cell::Cell::new(5) }; }\n\
        #[inline(never)]\nfn value(x: u32) -> u32 { NEW.set(NEW.get() + x); NEW.get() }";
    let code =
        CODE.replace("#[inline(never)]\nfn value(x: u32) -> u32 { std::hint::black_box(x) + 10 }", local);
    let rejected = live.save(&code);
    println!("{rejected}");
    assert!(reason(&rejected).contains("thread-local"), "{rejected}");
    assert_eq!(live.ask("abc"), "1 3 11");
    live.patch(&CODE.replace("+ 10", "+ 20"));
    assert_eq!(live.ask("abc"), "2 6 21");
}

const AWKWARD: &str = r#"
use std::arch::naked_asm;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
static END: AtomicBool = AtomicBool::new(false);

#[unsafe(naked)]
extern "C" fn tiny(_: u64) -> u64 {
    naked_asm!("mov rax, rdi", "ret")
}

#[unsafe(naked)]
extern "C" fn loops(_: u64) -> u64 {
    naked_asm!("2: dec rdi", "jnz 2b", "mov eax, 1", "ret")
}

#[inline(never)]
fn common(x: u64) -> u64 { std::hint::black_box(x) + 1 }

pub fn start() {}

pub fn answer(question: &str) -> String {
    match question {
        // A thread that takes no signals, as programs have them that wait for signals elsewhere.
        "deaf" => {
            std::thread::spawn(|| {
                extern "C" { fn pthread_sigmask(how: i32, set: *const [u64; 16], old: *mut [u64; 16]) -> i32; }
                unsafe { pthread_sigmask(0, &[u64::MAX; 16], std::ptr::null_mut()) };
                while !END.load(SeqCst) { std::thread::sleep(std::time::Duration::from_millis(2)) }
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            String::new()
        }
        "end" => {
            END.store(true, SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(100));
            String::new()
        }
        _ => format!("{} {} {}", tiny(7), loops(3), common(1)),
    }
}
"#;

/// Nothing keeps the program from blocking traps, so whatever would go on trapping is left alone.
#[test]
fn functions_that_would_go_on_trapping_are_refused() {
    let mut program = Started::new(AWKWARD);
    let mut live = program.attach();
    assert_eq!(live.ask("?"), "7 1 2");
    for (from, to, name) in [
        ("\"mov rax, rdi\"", "\"lea rax, [rdi + 1]\"", "tiny"),
        ("\"mov eax, 1\"", "\"mov eax, 2\"", "loops"),
    ] {
        let rejected = live.save(&AWKWARD.replace(from, to));
        assert!(reason(&rejected).contains(&format!("code::{name}` would trap")), "{rejected}");
        assert_eq!(live.ask("?"), "7 1 2");
    }
    live.patch(&AWKWARD.replace("black_box(x) + 1", "black_box(x) + 2"));
    assert_eq!(live.ask("?"), "7 1 3");
}

#[test]
fn a_thread_that_blocks_traps_holds_patches_up() {
    let mut program = Started::new(AWKWARD);
    let mut live = program.attach();
    live.ask("deaf");
    let rejected = live.save(&AWKWARD.replace("black_box(x) + 1", "black_box(x) + 2"));
    assert!(reason(&rejected).contains("blocks SIGTRAP"), "{rejected}");
    assert_eq!(live.ask("?"), "7 1 2");
    live.ask("end");
    live.patch(&AWKWARD.replace("black_box(x) + 1", "black_box(x) + 3"));
    assert_eq!(live.ask("?"), "7 1 4");
}

/// A program that never waits is entered where it computes.
#[test]
fn a_program_that_computes_all_the_time_is_entered_too() {
    let code = r#"
use std::hint::black_box;
use std::time::Instant;
pub fn start() {
    std::fs::write("talk", "").unwrap();
    loop {
        let (before, since) = (step(0.5), Instant::now());
        let mut sum = 0.0;
        while since.elapsed().as_millis() < 20 { sum += turn(black_box(before)); }
        std::fs::write("said.new", format!("{before} {}", sum > 0.0)).unwrap();
        std::fs::rename("said.new", "said").unwrap();
    }
}
pub fn answer(_: &str) -> String { String::new() }
#[inline(never)]
fn step(x: f64) -> f64 { black_box(x) * 2.0 }
#[inline(never)]
fn turn(x: f64) -> f64 { (0..2_000_000).fold(black_box(x), |x, _| x * 1.000001) }
"#;
    let project = package(code);
    build(&project);
    let mut program = Started::start(project, |_| {});
    let mut live = program.attach();
    assert_eq!(live.events()[0]["place"], "runs", "{}", live.report());
    live.edit("* 2.0", "* 4.0");
    let since = std::time::Instant::now();
    while std::fs::read_to_string(live.project.file("said")).unwrap_or_default() != "2 true" {
        assert!(since.elapsed().as_secs() < 30, "{}", live.report());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    program.take_back(live_end(live));
    assert!(program.runs());
}

/// Ends a session as Ctrl-C does.
fn live_end(mut live: Live) -> Live {
    live.session.signal("INT");
    assert!(live.session.wait().success());
    live.session.wait_for("detached");
    live
}
