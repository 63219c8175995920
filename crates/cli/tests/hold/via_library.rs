//! Patches as patch libraries, which the program's own linker makes: what holds of images holds of them.

use crate::live::{Live, MAIN, functions, package, package_with};
use crate::project::{Project, manifest};
use crate::session::livepatch;
use livepatch_proto::PATCH_ANCHOR;

/// Each holds with the system's dynamic linker and with livepatch's own.
macro_rules! hold {
    ($($name:ident)*) => {
        mod by_the_systems_linker {
            $(#[test] fn $name() { super::$name("library") })*
        }
        mod by_the_own_linker {
            $(#[test] fn $name() { super::$name("linker") })*
        }
    };
}

hold! {
    edits_go_live_there_and_back_again_with_all_state
    what_patches_bring_is_changed_and_kept_by_later_ones
    a_dependencys_function_that_was_never_linked_is_found
    an_edited_library_crate_with_a_thread_local_goes_live
    the_gate_is_the_same
    optimised_code_uses_the_programs_variables
}

const CODE: &str = r#"
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
static N: AtomicU32 = AtomicU32::new(100);
static NAMES: [&str; 3] = ["a", "b", "c"];
thread_local! { static TURNS: Cell<u32> = const { Cell::new(50) }; }
static GREETER: fn(u32) -> String = greet;
pub fn start() {}
struct Odd;
impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "odd") }
}
fn generic<T: std::fmt::Display>(x: T) -> String { format!("<{x}>") }
fn greet(n: u32) -> String { format!("hello {n}") }
pub fn answer(question: &str) -> String {
    let n = N.fetch_add(1, Relaxed);
    TURNS.set(TURNS.get() + 1);
    let shown: Box<dyn std::fmt::Display> = Box::new(Odd);
    let (name, turn, greeting) = (NAMES[n as usize % 3], TURNS.get(), GREETER(turn()));
    format!("{n} {turn} {} {} {name} {greeting} {}", generic(question), generic(shown), sum(question.len()))
}
fn turn() -> u32 { TURNS.get() }
fn sum(x: usize) -> usize { [1, 2, 4].iter().map(|y| x * y).sum() }
"#;

/// What the base build answers as its `n`th answer.
fn base(n: usize, question: &str) -> String {
    let name = ["a", "b", "c"][(100 + n) % 3];
    let (turn, sum) = (51 + n, question.len() * 7);
    format!("{} {turn} <{question}> <odd> {name} hello {turn} {sum}", 100 + n)
}

/// The same after [`edit_all`].
fn edited(n: usize, question: &str) -> String {
    let name = ["a", "b", "c"][(100 + n) % 3];
    let (turn, sum) = (51 + n, question.len() * 16);
    format!("{} {turn} [{question}] [even 2] {name} servus {turn} {sum}", 100 + n)
}

fn edit_all(live: &mut Live) {
    let code = live.code.replace("\"odd\")", "\"even {}\", 2)").replace("<{x}>", "[{x}]");
    let code = code.replace("hello {n}", "servus {n}").replace("[1, 2, 4]", "[1, 2, 5, 8]");
    live.patch(&code);
}

fn roll_back(live: &Live, to: &str) {
    let output = livepatch(&live.project, &["rollback", "--to", to]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The files of patches that the program has loaded.
fn loaded(live: &Live) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", live.pid())).unwrap();
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    let mut paths: Vec<&str> = paths.filter(|path| path.contains("/livepatch/patches/")).collect();
    paths.dedup();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn edits_go_live_there_and_back_again_with_all_state(via: &str) {
    let mut live = Live::start(package(CODE), &["--via", via]);
    assert_eq!(live.ask("hey"), base(0, "hey"));
    edit_all(&mut live);
    assert_eq!(live.ask("hey"), edited(1, "hey"));
    let libraries = loaded(&live);
    assert_eq!(libraries.len(), 1);
    let anchor = PATCH_ANCHOR.as_bytes();
    assert!(libraries[0].windows(anchor.len()).any(|name| name == anchor), "a linker made it");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", live.pid())).unwrap();
    assert_eq!(maps.contains("/livepatch/linker-"), via == "linker");

    live.patch(CODE);
    assert_eq!(live.ask("hey"), base(2, "hey"));
    edit_all(&mut live);
    assert_eq!(live.ask("hey"), edited(3, "hey"));
    roll_back(&live, "0");
    assert_eq!(live.ask("hey"), base(4, "hey"));
    // On from there, as if nothing had been.
    let patched = live.edit("[1, 2, 5, 8]", "[1, 1]");
    assert!(functions(&patched).contains(&"app::code::sum"), "{patched}");
    assert!(live.ask("hey").ends_with(" servus 56 6"));
    roll_back(&live, "0");
    assert_eq!(live.ask("hey"), base(6, "hey"));
}

fn what_patches_bring_is_changed_and_kept_by_later_ones(via: &str) {
    let code = "use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
pub fn start() {}
pub fn answer(_: &str) -> String { String::from(\"base\") }
";
    let mut live = Live::start(package(code), &["--via", via]);
    // A new function with a new static, a new thread-local whose first value is not zero, and a panic that is caught.
    let more = "
static BROUGHT: AtomicU32 = AtomicU32::new(7);
thread_local! { static MINE: std::cell::Cell<u32> = const { std::cell::Cell::new(30) }; }
fn brought() -> String {
    MINE.set(MINE.get() + 1);
    let caught = std::panic::catch_unwind(|| if BROUGHT.fetch_add(1, Relaxed) > 0 { panic!(\"no\") });
    format!(\"first {} {} {}\", BROUGHT.load(Relaxed), MINE.get(), caught.is_err())
}
";
    live.patch(&(code.replace("String::from(\"base\")", "brought()") + more));
    assert_eq!(live.ask(""), "first 8 31 true");
    // The function that the first patch brought is redirected there; its state stays.
    live.edit("first", "second");
    assert_eq!(live.ask(""), "second 9 32 true");
    for n in 0..3 {
        let from = if n == 0 { "second".to_owned() } else { format!("number{n}") };
        live.edit(&from, &format!("number{}", n + 1));
        assert_eq!(live.ask(""), format!("number{} {} {} true", n + 1, 10 + n, 33 + n));
    }
    roll_back(&live, "1");
    assert_eq!(live.ask(""), "first 13 36 true");
}

fn a_dependencys_function_that_was_never_linked_is_found(via: &str) {
    let code = "pub fn start() {}
pub fn answer(question: &str) -> String { format!(\"{}\", dependency::used(question.len())) }
";
    let project = package_with("[dependencies]\ndependency = { path = 'dependency' }\n", code);
    project.write("dependency/Cargo.toml", &manifest("dependency", "[workspace]\n"));
    project.write(
        "dependency/src/lib.rs",
        "pub fn used(n: usize) -> usize { n + 1 }
static SEEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(5);
pub fn unused(n: usize) -> String {
    let all: std::collections::BTreeMap<usize, usize> = (0..n).map(|i| (i, i * i)).collect();
    format!(\"{all:?} {}\", SEEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}
",
    );
    let mut live = Live::start(project, &["--via", via]);
    assert_eq!(live.ask("abc"), "4");
    live.edit("dependency::used(", "dependency::unused(");
    assert_eq!(live.ask("abc"), "{0: 0, 1: 1, 2: 4} 5");
    live.edit("\"{}\"", "\"again {}\"");
    assert_eq!(live.ask("ab"), "again {0: 0, 1: 1} 6");
}

fn an_edited_library_crate_with_a_thread_local_goes_live(via: &str) {
    let project = Project::empty();
    project.write("Cargo.toml", "[workspace]\nresolver = '2'\nmembers = ['app', 'lib']\n");
    project.write("app/Cargo.toml", &manifest("app", "[dependencies]\nlib = { path = '../lib' }\n"));
    project.write("app/src/main.rs", MAIN);
    project.write("app/src/code.rs", "pub fn start() {}\npub use lib::answer;\n");
    project.write("lib/Cargo.toml", &manifest("lib", ""));
    let lib = "use std::cell::{Cell, RefCell};
thread_local! {
    static PLAIN: Cell<u32> = const { Cell::new(3) };
    static LIST: RefCell<Vec<u32>> = RefCell::new(vec![1]);
}
pub fn answer(_: &str) -> String {
    PLAIN.set(PLAIN.get() + 1);
    LIST.with(|list| list.borrow_mut().push(PLAIN.get()));
    format!(\"{} {:?}\", PLAIN.get(), LIST.with(|list| list.borrow().clone()))
}
";
    project.write("lib/src/lib.rs", lib);
    let mut live = Live::start_at(project, &["--via", via], "lib/src/lib.rs");
    assert_eq!(live.ask(""), "4 [1, 4]");
    live.edit("\"{} {:?}\"", "\"edited {} {:?}\"");
    assert_eq!(live.ask(""), "edited 5 [1, 4, 5]");
}

fn the_gate_is_the_same(via: &str) {
    let code = "pub fn start() {}
struct State { n: u32 }
static STATE: std::sync::Mutex<State> = std::sync::Mutex::new(State { n: 1 });
pub fn answer(_: &str) -> String { let mut state = STATE.lock().unwrap(); state.n += 1; format!(\"{}\", state.n) }
";
    let mut live = Live::start(package(code), &["--via", via, "--on-unsound", "refuse"]);
    assert_eq!(live.ask(""), "2");
    let other = code.replace("struct State { n: u32 }", "struct State { m: u64, n: u32 }");
    let other = other.replace("State { n: 1 }", "State { m: 0, n: 1 }");
    let rejected = live.save(&other);
    assert_eq!(rejected["event"], "rejected", "{rejected}");
    assert_eq!(live.ask(""), "3");
    live.patch(&code.replace("n += 1", "n += 10"));
    assert_eq!(live.ask(""), "13");
    live.patch(code);
    assert_eq!(live.ask(""), "14");
}

/// Optimised code loads, stores and changes variables by their distance, which is too far from a library.
fn optimised_code_uses_the_programs_variables(via: &str) {
    let code = "use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
static N: AtomicU32 = AtomicU32::new(10);
static FLAG: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
static mut PLAIN: u64 = 20;
static mut REAL: f64 = 0.5;
pub fn start() {}
#[inline(never)]
pub fn answer(_: &str) -> String {
    unsafe { PLAIN += 1; REAL *= 2.0; }
    let before = FLAG.swap(true, Relaxed);
    format!(\"base {} {} {} {before}\", N.fetch_add(3, Relaxed), unsafe { PLAIN }, unsafe { REAL })
}
";
    let mut live = Live::start(package(code), &["--via", via, "--release"]);
    assert_eq!(live.ask(""), "base 10 21 1 false");
    live.edit("base", "edited");
    assert_eq!(live.ask(""), "edited 13 22 2 true");
    live.edit("PLAIN += 1", "PLAIN += 100");
    assert_eq!(live.ask(""), "edited 16 122 4 true");
    roll_back(&live, "0");
    assert_eq!(live.ask(""), "base 19 123 8 true");
}
