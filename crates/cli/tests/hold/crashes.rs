//! Programs that crash: where is told, and nothing of it goes otherwise than ever.

use crate::live::{Live, package_with};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;

const CODE: &str = r#"
use std::hint::black_box;

#[allow(dead_code)]
extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn strlen(text: *const u8) -> usize;
    fn raise(signal: i32) -> i32;
}

pub fn start() {}

pub fn answer(question: &str) -> String {
    match question {
        "work" => outer(1).to_string(),
        "thread" => std::thread::spawn(|| outer(1)).join().map_or("panicked".into(), |x| x.to_string()),
        "child" => match unsafe { fork() } {
            0 => std::process::exit(outer(1) as i32),
            pid => {
                let mut status = 0;
                unsafe { waitpid(pid, &mut status, 0) };
                format!("{status}")
            }
        },
        "old" => old(8),
        _ => String::new(),
    }
}

#[inline(never)]
fn outer(x: u64) -> u64 { inner(x) + 1 }

#[inline(never)]
fn inner(x: u64) -> u64 { black_box(x) }

#[inline(never)]
fn old(address: usize) -> String { unsafe { *(black_box(address) as *mut u8) = 1 }; String::new() }
"#;

const INNER: &str = "{ black_box(x) }";

/// Ends the program by a question; what is told of it, how it ended, what was said.
fn ends(live: &mut Live, question: &str) -> (Value, Option<i32>, String) {
    live.tell(question);
    let crashed = live.session.wait_for("crashed");
    let signal = live.session.wait().signal();
    (crashed, signal, live.session.said())
}

/// The same, of a program whose `inner` was patched.
fn ends_patched(inner: &str, question: &str) -> (Value, Option<i32>, String) {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("work"), "2");
    live.edit(INNER, inner);
    ends(&mut live, question)
}

const INNER_1: &str = "app::code::inner";

fn from_inner() -> Value {
    json!({ "function": INNER_1, "patch": 1 })
}

#[test]
fn the_patched_function_that_faults_is_named() {
    let faults = [
        ("{ unsafe { *(black_box(8) as *mut u64) = x }; x }", "SIGSEGV", 11),
        (
            "{ unsafe { std::arch::asm!(\"xor ecx, ecx\", \"div ecx\", out(\"eax\") _, out(\"edx\") _, out(\"ecx\") _) }; x }",
            "SIGFPE",
            8,
        ),
        ("{ unsafe { std::arch::asm!(\"ud2\") }; x }", "SIGILL", 4),
        ("{ unsafe { std::arch::asm!(\"int3\") }; x }", "SIGTRAP", 5),
    ];
    for (inner, name, number) in faults {
        for question in ["work", "thread"] {
            let (crashed, signal, said) = ends_patched(inner, question);
            assert_eq!((&crashed["signal"], signal), (&json!(name), Some(number)), "{said}");
            assert_eq!((&crashed["function"], &crashed["patch"]), (&json!(INNER_1), &json!(1)), "{said}");
            assert_eq!(crashed["called_from"], Value::Null);
            assert_eq!(
                said.matches(&format!("     crashed ({name}) in `{INNER_1}`, patch 1\n")).count(),
                1,
                "{said}"
            );
            assert_eq!(said.matches("crashed").count(), 1, "{said}");
        }
    }
}

#[test]
fn the_patched_function_that_gives_up_is_named() {
    for inner in ["std::process::abort()", "{ unsafe { raise(6) }; x }"] {
        let (crashed, signal, said) = ends_patched(&format!("{{ {inner} }}"), "work");
        assert_eq!((&crashed["signal"], signal), (&json!("SIGABRT"), Some(6)), "{said}");
        assert_eq!((&crashed["function"], &crashed["called_from"]), (&Value::Null, &from_inner()), "{said}");
        assert!(said.contains(&format!("crashed (SIGABRT) called from `{INNER_1}`, patch 1")), "{said}");
    }
}

#[test]
fn a_panic_that_aborts_is_traced_to_its_patch() {
    let project = package_with("[profile.dev]\npanic = 'abort'\n", CODE);
    let mut live = Live::start(project, &[]);
    live.edit(INNER, "{ if x == 1 { panic!(\"gone wrong\") } x }");
    let (crashed, signal, said) = ends(&mut live, "work");
    assert_eq!((&crashed["called_from"], signal), (&from_inner(), Some(6)), "{said}");
    assert!(said.contains("gone wrong"), "{said}");
}

/// std's own handler knows a stack overflow by its guard page, says so, and gives up.
#[test]
fn a_stack_overflow_is_told_by_std_and_traced_to_its_patch() {
    let inner = "{ let large = black_box([x; 100]); if x == 0 { 0 } else { inner(large[5]) + large[7] } }";
    for question in ["work", "thread"] {
        let (crashed, signal, said) = ends_patched(inner, question);
        assert!(said.contains("has overflowed its stack"), "{said}");
        assert_eq!((&crashed["signal"], signal), (&json!("SIGABRT"), Some(6)), "{said}");
        assert_eq!(crashed["called_from"], from_inner(), "{said}");
    }
}

#[test]
fn what_a_patched_function_calls_is_traced_to_it() {
    let (crashed, signal, said) =
        ends_patched("{ unsafe { strlen(black_box(8) as *const u8) as u64 } }", "work");
    assert_eq!(
        (&crashed["function"], &crashed["called_from"], signal),
        (&Value::Null, &from_inner(), Some(11)),
        "{said}"
    );
    let (crashed, signal, said) = ends_patched("{ old(8); x }", "work");
    assert_eq!((&crashed["function"], &crashed["patch"]), (&json!("app::code::old"), &Value::Null), "{said}");
    assert_eq!((&crashed["called_from"], signal), (&from_inner(), Some(11)), "{said}");
}

#[test]
fn code_of_the_beginning_is_told_from_patches() {
    let mut live = Live::new(CODE);
    live.edit(INNER, "{ x + 1 }");
    let (crashed, signal, said) = ends(&mut live, "old");
    assert_eq!(
        (&crashed["function"], &crashed["patch"], signal),
        (&json!("app::code::old"), &Value::Null, Some(11)),
        "{said}"
    );
    assert_eq!(crashed["called_from"], Value::Null, "{said}");
    assert!(said.contains("crashed (SIGSEGV) in `app::code::old`\n"), "{said}");
}

#[test]
fn the_latest_body_is_the_one_that_is_told() {
    let mut live = Live::new(CODE);
    live.edit(INNER, "{ black_box(x) + 1 }");
    assert_eq!(live.ask("work"), "3");
    live.edit("{ black_box(x) + 1 }", "{ unsafe { *(black_box(8) as *mut u64) = x }; x }");
    let (crashed, ..) = ends(&mut live, "work");
    assert_eq!((&crashed["function"], &crashed["patch"]), (&json!(INNER_1), &json!(2)));
}

#[test]
fn a_forked_child_that_crashes_leaves_the_program_alone() {
    let mut live = Live::new(CODE);
    live.edit(INNER, "{ unsafe { *(black_box(8) as *mut u64) = x }; x }");
    // The child crashes before its own agent has called.
    let status: i32 = live.ask("child").parse().unwrap();
    assert_eq!(status & 0x7f, 11);
    let crashed = live.session.wait_for("crashed");
    assert_ne!(crashed["pid"], live.pid());
    assert_eq!(crashed["parent"], live.pid());
    assert_eq!((&crashed["function"], &crashed["patch"]), (&json!(INNER_1), &json!(1)));
    live.edit("{ unsafe { *(black_box(8) as *mut u64) = x }; x }", "{ x + 5 }");
    assert_eq!(live.ask("work"), "7");
}

/// A program that lives on faults: its handler maps what was missing.
#[test]
fn a_program_that_handles_its_faults_goes_on_doing_so() {
    let code = r#"
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
static FAULTS: AtomicUsize = AtomicUsize::new(0);

extern "C" {
    fn sigaction(signal: i32, new: *const [usize; 19], old: *mut [usize; 19]) -> i32;
    fn mmap(at: usize, length: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> usize;
    fn munmap(at: usize, length: usize) -> i32;
}

const AT: usize = 0x5_0000_0000;

extern "C" fn handler(_: i32, info: *const [usize; 16], _: *const u8) {
    FAULTS.fetch_add(1, SeqCst);
    // si_addr; PROT_READ | PROT_WRITE; MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    unsafe { mmap((*info)[2] & !0xfff, 4096, 3, 0x32, -1, 0) };
}

pub fn start() {
    let mut action = [0usize; 19];
    action[0] = handler as *const () as usize;
    action[17] = 4; // SA_SIGINFO
    unsafe { sigaction(11, &action, std::ptr::null_mut()) };
}

pub fn answer(_: &str) -> String {
    let before = FAULTS.load(SeqCst);
    let value = touch();
    unsafe { munmap(AT, 4096) };
    format!("{value} {}", FAULTS.load(SeqCst) - before)
}

fn touch() -> u64 {
    unsafe { *(black_box(AT) as *mut u64) += 1; *(black_box(AT) as *mut u64) }
}
"#;
    let mut live = Live::new(code);
    assert_eq!(live.ask("?"), "1 1");
    live.edit("+= 1", "+= 2");
    assert_eq!(live.ask("?"), "2 1");
    let mut query =
        "let mut now = [0usize; 19];\n    unsafe { sigaction(11, std::ptr::null(), &mut now) };\n    "
            .to_owned();
    query.push_str("if now[0] != handler as *const () as usize || now[17] & 4 == 0 { return format!(\"{now:?}\") }\n    ");
    live.edit("let before", &format!("{query}let before"));
    assert_eq!(live.ask("?"), "2 1");
    assert!(live.events().iter().all(|event| event["event"] != "crashed"));
}

#[test]
fn crashes_are_told_to_programs_that_read_events() {
    let mut live = Live::start(crate::live::package(CODE), &["--message-format", "json"]);
    live.edit(INNER, "{ std::process::abort() }");
    let (_, _, said) = ends(&mut live, "work");
    let told = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told: Vec<Value> = told.filter(|event| event["event"] == "crashed").collect();
    assert_eq!(told.len(), 1, "{said}");
    assert_eq!(told[0]["called_from"], from_inner());
}
