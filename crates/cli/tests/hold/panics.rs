//! Panics in code that a patch brought.

use crate::live::Live;

const CODE: &str = r#"
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static DROPPED: AtomicU32 = AtomicU32::new(0);
static SEEN: Mutex<String> = Mutex::new(String::new());
struct Noisy;
impl Drop for Noisy { fn drop(&mut self) { DROPPED.fetch_add(1, Relaxed); } }

pub fn start() {
    std::env::set_var("RUST_BACKTRACE", "1");
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        *SEEN.lock().unwrap() = format!("{}\n{}", info.location().unwrap(), std::backtrace::Backtrace::force_capture());
        standard(info);
    }));
}

pub fn answer(question: &str) -> String {
    match question {
        "guarded" => match std::panic::catch_unwind(|| outer(3)) {
            Ok(n) => format!("returned {n}, dropped {}", DROPPED.load(Relaxed)),
            Err(_) => format!("caught, dropped {}", DROPPED.load(Relaxed)),
        },
        "thread" => match std::thread::spawn(|| outer(3)).join() {
            Ok(n) => format!("returned {n}"),
            Err(payload) => format!("joined {}", payload.downcast_ref::<String>().unwrap()),
        },
        "seen" => SEEN.lock().unwrap().clone(),
        _ => outer(3).to_string(),
    }
}

fn outer(x: u32) -> u32 {
    let _noisy = Noisy;
    inner(x) + 1
}

fn inner(x: u32) -> u32 {
    x
}
"#;

/// The body of `inner`, and one that panics.
const BODY: &str = "{\n    x\n}";
const PANICKING: &str = "{\n    let _noisy = Noisy;\n    let _another = [Noisy, Noisy];\n    if x == 3 {\n        panic!(\"inner got {x}\");\n    }\n    x\n}";

/// Where a text is in the source: its line, as compilers count.
fn line(code: &str, text: &str) -> usize {
    code[..code.find(text).expect("it is there")].lines().count()
}

/// The frame of a function in a backtrace: the line after its name.
fn frame<'t>(trace: &'t str, function: &str) -> &'t str {
    let mut lines = trace.lines().skip_while(|line| !line.ends_with(function));
    lines.nth(1).unwrap_or_else(|| panic!("{function} is not in\n{trace}")).trim()
}

/// A backtrace must name the patched function and those between it and old code.
fn check_trace(trace: &str, code: &str) {
    let at = line(code, "panic!(\"inner");
    assert!(frame(trace, ": app::code::inner").ends_with(&format!("src/code.rs:{at}:9")), "{trace}");
    let at = line(code, "inner(x) + 1");
    assert!(frame(trace, ": app::code::outer").ends_with(&format!("src/code.rs:{at}:5")), "{trace}");
    assert!(trace.contains(": app::code::answer") && trace.contains(": app::main"), "{trace}");
}

#[test]
fn caught_by_old_code_with_destructors_and_a_backtrace() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("guarded"), "returned 4, dropped 1");
    // The new body is longer, and stands further down: what is old of the file has moved too.
    let code = format!("\n\n// Three more lines.{}", live.code.replace(BODY, PANICKING));
    live.patch(&code);
    assert_eq!(live.ask("guarded"), "caught, dropped 5");
    let seen = live.ask("seen");
    let at = line(&code, "panic!(\"inner");
    assert_eq!(seen.lines().next(), Some(&*format!("src/code.rs:{at}:9")));
    check_trace(&seen, &code);
    // Once more, from another thread, and the program goes on.
    assert_eq!(live.ask("thread"), "joined inner got 3");
    assert!(frame(&live.ask("seen"), ": app::code::inner").ends_with(&format!("src/code.rs:{at}:9")));
    live.edit("if x == 3", "if x == 4");
    assert_eq!(live.ask("guarded"), "returned 4, dropped 13");
}

#[test]
fn unguarded_ends_the_program_as_ever() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("?"), "4");
    let code = live.code.replace(BODY, PANICKING);
    live.patch(&code);
    live.tell("?");
    assert_eq!(live.session.wait().code(), Some(101));
    let at = line(&code, "panic!(\"inner");
    let said = live.session.said();
    let place = format!("thread 'main' ({}) panicked at src/code.rs:{at}:9:\ninner got 3\n", live.pid());
    assert!(said.contains(&place), "{said}");
    check_trace(&said[said.find(&place).unwrap()..], &code);
    assert_eq!(live.outcome()["status"], 101);
}

#[test]
fn old_code_that_patched_code_calls_panics_through_it() {
    let mut live = Live::new(CODE);
    let code = live.code.replace(BODY, PANICKING);
    live.patch(&code);
    // The callee goes back to its first body, which is in the program's own file; the caller is new.
    let code =
        live.code.replace(PANICKING, BODY).replace("inner(x) + 1", "inner(x).checked_sub(10).unwrap()");
    live.patch(&code);
    assert_eq!(live.ask("guarded"), "caught, dropped 1");
    let seen = live.ask("seen");
    let at = line(&code, "inner(x).checked_sub");
    assert!(frame(&seen, ": app::code::outer").ends_with(&format!("src/code.rs:{at}:30")), "{seen}");
}
