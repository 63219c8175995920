//! Edits and situations in which other tools do nothing, or the wrong thing.

use crate::live::{Live, functions, notes, package};
use crate::project::{Project, manifest};
use std::time::{Duration, Instant};

const CODE: &str = r#"
use std::sync::OnceLock;
static OLD: OnceLock<fn(u32) -> u32> = OnceLock::new();
pub fn start() { let _ = OLD.set(std::hint::black_box(changes)); }
fn changes(x: u32) -> u32 { x + 1 }
fn caller() -> u32 { changes(10) }
fn other_caller() -> u32 { changes(20) }
pub fn answer(_: &str) -> String { format!("{} {} {}", caller(), other_caller(), OLD.get().unwrap()(30)) }
"#;

#[test]
fn new_callers_call_the_new_signature() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("?"), "11 21 31");
    let code = CODE.replace(
        "fn changes(x: u32) -> u32 { x + 1 }",
        "fn changes(x: u32, y: u64) -> u64 { u64::from(x) * y }",
    );
    let code = code.replace("caller() -> u32", "caller() -> u64").replace("changes(10)", "changes(10, 5)");
    // Who kept the old function keeps it: nobody could give it the new arguments.
    let code =
        code.replace("changes(20)", "changes(20, 7)").replace("black_box(changes)", "black_box(|x| x)");
    live.patch(&code);
    assert_eq!(live.ask("?"), "50 140 31");
    live.edit("u64::from(x) * y", "u64::from(x) * y + 1");
    assert_eq!(live.ask("?"), "51 141 31");
    live.patch(CODE);
    assert_eq!(live.ask("?"), "11 21 31");
}

/// A program of three crates: each kind of thing that a library can give to those above it.
fn workspace(profile: &str) -> Project {
    let project = package(
        "pub fn start() {}\npub fn answer(_: &str) -> String {\n    format!(\"{} {}\", lib::all(1), mid::all(1))\n}\n",
    );
    let workspace = format!(
        "{}[workspace]\nmembers = ['lib', 'mid']\n[dependencies]\nlib = {{ path = 'lib' }}\nmid = {{ path = 'mid' }}\n{profile}",
        manifest("app", "")
    );
    project.write("Cargo.toml", &workspace);
    project.write("lib/Cargo.toml", &manifest("lib", ""));
    project.write("mid/Cargo.toml", &manifest("mid", "[dependencies]\nlib = { path = '../lib' }\n"));
    project.write("lib/src/lib.rs", LIBRARY);
    project.write("mid/src/lib.rs", MIDDLE);
    project
}

const LIBRARY: &str = r#"
pub const CONSTANT: u64 = 100;
pub trait Shape { fn sides(&self) -> u64; fn corners(&self) -> u64 { self.sides() * 1 } }
#[inline(never)] pub fn plain(x: u64) -> u64 { x + 10 }
pub fn generic<T: Into<u64>>(x: T) -> u64 { x.into() + 20 }
#[inline(always)] pub fn inlined(x: u64) -> u64 { x + 30 }
#[macro_export] macro_rules! by_macro { ($x:expr) => { $x + 40 } }
pub struct Square;
impl Shape for Square { fn sides(&self) -> u64 { 4 } }
#[inline(never)] pub fn all(x: u64) -> String { format!("{} {}", plain(x), generic(x)) }
"#;

const MIDDLE: &str = r#"
use lib::Shape;
struct Own;
impl Shape for Own { fn sides(&self) -> u64 { 7 } }
#[inline(never)] pub fn all(x: u64) -> String {
    let shapes: [&dyn Shape; 2] = [&lib::Square, &Own];
    let corners: Vec<u64> = shapes.iter().map(|shape| shape.corners()).collect();
    let text = [lib::plain(x), lib::generic(x as u32), lib::inlined(x), lib::by_macro!(x), lib::CONSTANT + x];
    format!("{text:?} {corners:?}")
}
"#;

fn edits_of_a_library(profile: &str, arguments: &[&str]) {
    let mut live = Live::start_at(workspace(profile), arguments, "lib/src/lib.rs");
    assert_eq!(live.ask("?"), "11 21 [11, 21, 31, 41, 101] [4, 7]");
    live.edit("x + 10", "x + 11");
    assert_eq!(live.ask("?"), "12 21 [12, 21, 31, 41, 101] [4, 7]");
    live.edit("x.into() + 20", "x.into() + 22");
    assert_eq!(live.ask("?"), "12 23 [12, 23, 31, 41, 101] [4, 7]");
    live.edit("x + 30", "x + 33");
    assert_eq!(live.ask("?"), "12 23 [12, 23, 34, 41, 101] [4, 7]");
    live.edit("$x + 40", "$x + 44");
    assert_eq!(live.ask("?"), "12 23 [12, 23, 34, 45, 101] [4, 7]");
    live.edit("u64 = 100", "u64 = 200");
    assert_eq!(live.ask("?"), "12 23 [12, 23, 34, 45, 201] [4, 7]");
    live.edit("self.sides() * 1", "self.sides() * 2");
    assert_eq!(live.ask("?"), "12 23 [12, 23, 34, 45, 201] [8, 14]");
    live.edit("u64 { 4 }", "u64 { 5 }");
    assert_eq!(live.ask("?"), "12 23 [12, 23, 34, 45, 201] [10, 14]");
}

#[test]
fn edits_of_a_workspace_library_reach_everybody() {
    edits_of_a_library("", &[]);
}

#[test]
fn edits_of_a_workspace_library_reach_everybody_optimised() {
    edits_of_a_library("", &["--release"]);
}

const LOOPING: &str = r#"mod code;
fn main() {
    code::start();
    let mut turns = 0u64;
    loop {
        turns += 1;
        std::fs::write("new", format!("{} {}", if turns > 3 { "on" } else { "off" }, code::answer(""))).unwrap();
        std::fs::rename("new", "now").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
}
"#;

fn wait_for(live: &Live, text: &str) {
    let since = Instant::now();
    let now = || std::fs::read_to_string(live.project.file("now")).unwrap_or_default();
    while now() != text {
        assert!(since.elapsed() < Duration::from_secs(10), "{:?} and not {text:?}\n{}", now(), live.report());
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn an_edit_of_the_running_loop_in_main_says_when_it_counts() {
    let project = package("pub fn start() {}\npub fn answer(_: &str) -> String { \"one\".into() }\n");
    project.write("src/main.rs", LOOPING);
    let mut live = Live::start_at(project, &[], "src/main.rs");
    wait_for(&live, "on one");
    let patched = live.edit("\"on\"", "\"changed\"");
    assert_eq!(functions(&patched), ["app::main"]);
    let [note] = notes(&patched)[..] else { panic!("{patched}") };
    assert!(note.contains("`main`") && note.contains("next start"), "{note}");
    // What `main` calls is patched as ever; the loop itself goes on in the old body.
    live.project
        .write("src/code.rs", "pub fn start() {}\npub fn answer(_: &str) -> String { \"two\".into() }\n");
    let patched = live.outcome();
    assert_eq!((functions(&patched), notes(&patched)), (vec!["app::code::answer"], vec![]));
    wait_for(&live, "on two");
    // No word about it where `main` is not touched, and both at once work too.
    live.project
        .write("src/code.rs", "pub fn start() {}\npub fn answer(_: &str) -> String { \"three\".into() }\n");
    live.outcome();
    wait_for(&live, "on three");
}

#[test]
fn files_saved_aside_and_moved_over() {
    let mut live = Live::new(CODE);
    live.ask("?");
    for n in 2..=4 {
        let code = CODE.replace("x + 1 ", &format!("x + {n} "));
        live.project.write_over("src/code.rs", &code);
        assert_eq!(live.outcome()["event"], "patched");
        assert_eq!(live.ask("?"), format!("{} {} {}", 10 + n, 20 + n, 30 + n));
    }
}

#[test]
fn two_projects_at_once() {
    let mut live = [Live::new(CODE), Live::new(CODE)];
    for n in 2..=4u32 {
        let code = |at: u32| CODE.replace("x + 1 ", &format!("x + {} ", n + at));
        for (at, live) in (0..).zip(&mut live) {
            live.project.write("src/code.rs", &code(10 * at));
        }
        for (at, live) in (0..).zip(&mut live) {
            assert_eq!(live.outcome()["patch"], n - 1);
            assert_eq!(live.ask("?"), [10, 20, 30].map(|x| (x + n + 10 * at).to_string()).join(" "));
        }
    }
    assert_ne!(live[0].pid(), live[1].pid());
}

#[test]
fn edits_go_live_right_after_the_start() {
    let live = Live::new(CODE);
    let at = |kind: &str| {
        let events = live.events();
        let event = events.iter().find(|event| event["event"] == kind).expect("it was told");
        event["at_ms"].as_u64().unwrap()
    };
    assert!(at("ready") - at("started") < 1000, "{}", live.report());
}
