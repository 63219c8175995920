//! Edits made live in a running program: what it prints afterwards, and that its state is kept.

use crate::fixture::Fixture;
use crate::program::Program;

/// A program that answers one line per line, and counts.
const BASE: &str = r#"
use std::cell::{Cell, RefCell};
use std::io::BufRead;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);
static mut RAW: u32 = 100;
static ONCE: OnceLock<String> = OnceLock::new();
thread_local! {
    static CONST: Cell<u32> = const { Cell::new(5) };
    static LAZY: RefCell<Vec<u32>> = RefCell::new(vec![1]);
}

trait Speak { fn speak(&self) -> String; }
struct Dog(u32);
impl Speak for Dog { fn speak(&self) -> String { format!("woof {}", self.0) } }

fn state() -> String {
    let raw = unsafe { RAW += 1; RAW };
    let once = ONCE.get_or_init(|| "first".to_string());
    CONST.set(CONST.get() + 1);
    LAZY.with_borrow_mut(|v| v.push(2));
    format!("{} {} {} {} {}", COUNT.fetch_add(1, Ordering::Relaxed), raw, once, CONST.get(), LAZY.with_borrow(|v| v.len()))
}

#[inline(never)] fn named(x: u32) -> u32 { x + 1 }
fn answer(x: u32) -> String { format!("old {x}") }

fn main() {
    let dog: Box<dyn Speak> = Box::new(Dog(1));
    let pointer: fn(u32) -> u32 = std::hint::black_box(named);
    let closure: Box<dyn Fn(u32) -> u32> = Box::new(|x| named(x) * 10);
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let reply = match line.as_str() {
            "state" => state(),
            "dyn" => dog.speak(),
            "pointer" => pointer(1).to_string(),
            "closure" => closure(1).to_string(),
            other => answer(other.len() as u32),
        };
        println!("{reply}");
    }
}
"#;

#[test]
fn a_body_changes_and_statics_keep_their_values() {
    let mut f = Fixture::new(BASE);
    assert_eq!(f.line("state"), "0 101 first 6 2");
    assert_eq!(f.edit("\"{} {} {} {} {}\"", "\"now {} {} {} {} {}\""), ["program::state"]);
    assert_eq!(f.line("state"), "now 1 102 first 7 3");
    assert_eq!(f.edit("fetch_add(1", "fetch_add(10"), ["program::state"]);
    assert_eq!(f.line("state"), "now 2 103 first 8 4");
    assert_eq!(f.line("state"), "now 12 104 first 9 5");
}

#[test]
fn every_kind_of_call_arrives_at_the_new_body() {
    let mut f = Fixture::new(BASE);
    assert_eq!(f.line("xyz"), "old 3");
    assert_eq!([f.line("pointer"), f.line("closure"), f.line("dyn")], ["2", "20", "woof 1"]);
    assert_eq!(f.edit("x + 1 }", "x + 2 }"), ["program::named"]);
    assert_eq!([f.line("pointer"), f.line("closure")], ["3", "30"]);
    f.edit("woof", "wuff");
    assert_eq!(f.line("dyn"), "wuff 1");
    f.edit("old {x}", "new {x}");
    assert_eq!(f.line("xyz"), "new 3");
}

#[test]
fn what_the_program_never_had_is_brought() {
    let mut f = Fixture::new(BASE);
    f.edit(
        "fn answer(x: u32) -> String { format!(\"old {x}\") }",
        r#"
static CALLS: AtomicU32 = AtomicU32::new(40);
thread_local! {
    static MINE: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    static NAMED: Cell<(u32, &'static str)> = const { Cell::new((7, "seven")) };
}
fn helper(x: u32) -> String { let mut v: std::collections::BTreeMap<u32, String> = Default::default(); v.insert(x, format!("{x:#x}")); format!("{v:?}") }
fn answer(x: u32) -> String {
    MINE.with_borrow_mut(|v| v.push(x));
    match x {
        1 => { let (n, name) = NAMED.get(); NAMED.set((n + 1, name)); format!("{n} {name}") }
        3 => format!("{} {} {:?}", helper(x), CALLS.fetch_add(1, Ordering::Relaxed), MINE.with_borrow(|v| v.clone())),
        _ => std::panic::catch_unwind(|| -> u32 { panic!("no {x}") }).map_or("caught".into(), |n| n.to_string()),
    }
}"#,
    );
    assert_eq!(f.line("abc"), "{3: \"0x3\"} 40 [3]");
    assert_eq!(f.line("ab"), "caught");
    assert_eq!([f.line("a"), f.line("a")], ["7 seven", "8 seven"]);
    f.edit("{} {} {:?}", "again {} {} {:?}");
    assert_eq!(f.line("abc"), "again {3: \"0x3\"} 41 [3, 2, 1, 1, 3]");
}

#[test]
fn rolling_back_is_the_original_and_the_next_patch_goes_on_from_there() {
    let mut f = Fixture::new(BASE);
    f.edit("old {x}", "one {x}");
    f.edit("one {x}", "two {x}");
    assert_eq!(f.line("x"), "two 1");
    f.running.roll_back(&mut f.session, 1);
    assert_eq!(f.line("x"), "one 1");
    f.running.roll_back(&mut f.session, 0);
    assert_eq!(f.line("x"), "old 1");
    assert_eq!(f.edit("two {x}", "six {x}"), ["program::answer"]);
    assert_eq!(f.line("x"), "six 1");
    assert_eq!(f.edit("six {x}", "old {x}"), ["program::answer"]);
    assert_eq!(f.line("x"), "old 1");
}

#[test]
fn an_edit_taken_back_needs_no_new_code() {
    let mut f = Fixture::new(BASE);
    f.edit("old {x}", "new {x}");
    let images = || std::fs::read_dir(f.program.path("patches")).unwrap().count();
    assert_eq!(images(), 1);
    for _ in 0..10 {
        assert_eq!(f.edit("new {x}", "old {x}"), ["program::answer"]);
        assert_eq!(f.line("x"), "old 1");
        assert_eq!(f.edit("old {x}", "new {x}"), ["program::answer"]);
        assert_eq!(f.line("x"), "new 1");
    }
    assert_eq!(std::fs::read_dir(f.program.path("patches")).unwrap().count(), 1);
}

#[test]
fn a_hundred_patches_keep_the_state() {
    let mut f = Fixture::new(BASE);
    assert_eq!(f.line("state"), "0 101 first 6 2");
    let mut before = "\"{} {} {} {} {}\"".to_owned();
    for n in 1..=100 {
        let after = format!("\"{n}: {{}} {{}} {{}} {{}} {{}}\"");
        f.edit(&before, &after);
        before = after;
        assert_eq!(f.line("state"), format!("{n}: {n} {} first {} {}", 101 + n, 6 + n, 2 + n));
    }
}

#[test]
fn a_panic_in_patched_code_unwinds_and_says_where() {
    let source = r#"
use std::io::BufRead;
struct Noisy;
impl Drop for Noisy { fn drop(&mut self) { print!("dropped "); } }
fn fails(x: u32) -> u32 { let _n = Noisy; x }
fn main() {
    std::panic::set_hook(Box::new(|info| {
        let trace = std::backtrace::Backtrace::force_capture().to_string();
        let mut lines = trace.lines().skip_while(|l| !l.contains("program::fails"));
        print!("{} | {} | {} | ", info.location().unwrap().line(), lines.next().unwrap_or("no name").trim(), lines.next().unwrap_or("no line").trim());
    }));
    for line in std::io::stdin().lock().lines() {
        let n = line.unwrap().len() as u32;
        match std::panic::catch_unwind(|| fails(n)) { Ok(n) => println!("{n}"), Err(_) => println!("caught") }
    }
}
"#;
    let mut f = Fixture::new(source);
    assert_eq!(f.line("ab"), "dropped 2");
    f.edit(
        "{ let _n = Noisy; x }",
        "{\n    let _n = Noisy;\n    if x > 1 { panic!(\"too many\") }\n    x\n}",
    );
    let said = f.line("ab");
    assert!(said.starts_with("7 | ") && said.ends_with("dropped caught"), "{said}");
    assert!(said.contains(": program::fails | at ") && said.contains("/main.rs:7:16 | "), "{said}");
}

#[test]
fn release_functions_that_are_not_inlined_are_patched() {
    let source = BASE
        .replace("fn answer", "#[inline(never)] fn answer")
        .replace("fn state", "#[inline(never)] fn state");
    let mut f = Fixture::of(Program::new(&source).release(), &source);
    assert_eq!(f.line("abc"), "old 3");
    assert_eq!(f.line("state"), "0 101 first 6 2");
    f.edit("old {x}", "new {x}");
    assert_eq!(f.line("abc"), "new 3");
    f.edit("fetch_add(1", "fetch_add(5");
    assert_eq!(f.line("state"), "1 102 first 7 3");
    assert_eq!(f.line("state"), "6 103 first 8 4");
}
