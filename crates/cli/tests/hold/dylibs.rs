//! Rust libraries that the program is linked against as shared objects.

use crate::live::{Live, MAIN, functions};
use crate::project::{Project, manifest};
use serde_json::Value;
use std::collections::BTreeMap;

const CODE: &str = r#"
pub fn start() {}
struct Own;
impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("own") }
}
pub fn answer(question: &str) -> String {
    match question {
        "dynamic" => dynamic::dynamic(1),
        "there" => std::thread::spawn(|| dynamic::dynamic(1)).join().unwrap(),
        "mid" => mid::mid(1),
        "generic" => dynamic::generic(Own),
        "inlined" => dynamic::inlined(10).to_string(),
        "static" => format!("{} {:p}", dynamic::CALLS.load(std::sync::atomic::Ordering::Relaxed), &dynamic::CALLS),
        _ => format!("base {}", base::base(1)),
    }
}
"#;

const DYNAMIC: &str = r#"
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
thread_local! { pub static SEEN: Cell<u32> = const { Cell::new(5) }; }
pub static CALLS: AtomicU32 = AtomicU32::new(0);
pub fn dynamic(x: u32) -> String {
    SEEN.set(SEEN.get() + 1);
    format!("dynamic {} {} {}", base::base(x), CALLS.fetch_add(1, Ordering::Relaxed), SEEN.get())
}
pub fn generic<X: std::fmt::Debug>(x: X) -> String { format!("generic {x:?}") }
#[inline]
pub fn inlined(x: u32) -> u32 { x * 2 }
"#;

const BASE: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering};
static COUNT: AtomicU32 = AtomicU32::new(100);
pub fn base(x: u32) -> u32 { COUNT.fetch_add(x, Ordering::Relaxed) }
"#;

/// `base` is in `dynamic`, a shared object; `mid` is in the program.
fn project() -> Project {
    let project = Project::empty();
    let members = "[workspace]\nresolver = '2'\nmembers = ['app', 'mid', 'dynamic', 'base']\n";
    project.write("Cargo.toml", members);
    let on = |names: &[&str]| {
        let lines = names.iter().map(|name| format!("{name} = {{ path = '../{name}' }}\n"));
        format!("[dependencies]\n{}", lines.collect::<String>())
    };
    project.write("app/Cargo.toml", &manifest("app", &on(&["mid", "dynamic", "base"])));
    project.write("app/src/main.rs", MAIN);
    project.write("app/src/code.rs", CODE);
    project.write("mid/Cargo.toml", &manifest("mid", &on(&["dynamic"])));
    project.write(
        "mid/src/lib.rs",
        "pub fn mid(x: u32) -> String { format!(\"mid {}\", dynamic::dynamic(x)) }\n",
    );
    let dylib = format!("[lib]\ncrate-type = ['dylib']\n{}", on(&["base"]));
    project.write("dynamic/Cargo.toml", &manifest("dynamic", &dylib));
    project.write("dynamic/src/lib.rs", DYNAMIC);
    project.write("base/Cargo.toml", &manifest("base", ""));
    project.write("base/src/lib.rs", BASE);
    project
}

/// Replaces pieces of files, in one save; it must go live.
fn patch(live: &mut Live, edits: &[(&str, &str, &str)]) -> Value {
    let mut new = BTreeMap::new();
    for (file, from, to) in edits {
        let text =
            new.entry(*file).or_insert_with(|| std::fs::read_to_string(live.project.file(file)).unwrap());
        assert!(text.contains(from), "{from:?} is in {file}");
        *text = text.replace(from, to);
    }
    new.iter().for_each(|(file, text)| live.project.write(file, text));
    let event = live.outcome();
    assert_eq!(event["event"], "patched", "{event}\n{}", live.report());
    event
}

#[test]
fn a_library_that_is_linked_at_the_start() {
    const LIBRARY: &str = "dynamic/src/lib.rs";
    const APP: &str = "app/src/code.rs";
    let mut live = Live::start_at(project(), &["-p", "app"], APP);
    assert_eq!(live.ask("dynamic"), "dynamic 100 0 6");
    assert_eq!(live.ask("mid"), "mid dynamic 101 1 7");
    assert_eq!(live.ask("generic"), "generic own");
    assert_eq!(live.ask("inlined"), "20");
    let place = live.ask("static");
    assert!(place.starts_with("2 "), "{place}");

    let patched = patch(&mut live, &[(LIBRARY, "\"dynamic {}", "\"Dynamic {}")]);
    assert_eq!(functions(&patched), ["dynamic::dynamic"]);
    assert_eq!(live.ask("dynamic"), "Dynamic 102 2 8");
    assert_eq!(live.ask("there"), "Dynamic 103 3 6");
    assert_eq!(live.ask("mid"), "mid Dynamic 104 4 9");
    assert_eq!(live.ask("static"), place.replacen('2', "5", 1));

    // In the shared object, which the program has not got.
    let patched = patch(&mut live, &[("base/src/lib.rs", "fetch_add(x,", "fetch_add(x + 9,")]);
    assert_eq!(functions(&patched), ["base::base"]);
    assert_eq!(live.ask("dynamic"), "Dynamic 105 5 10");
    assert_eq!(live.ask("base"), "base 115");

    // Instances of them are in the program.
    patch(&mut live, &[(LIBRARY, "\"generic {x", "\"Generic {x")]);
    assert_eq!(live.ask("generic"), "Generic own");
    patch(&mut live, &[(LIBRARY, "x * 2", "x * 3")]);
    assert_eq!(live.ask("inlined"), "30");
    patch(&mut live, &[("mid/src/lib.rs", "\"mid {}", "\"Mid {}")]);
    assert_eq!(live.ask("mid"), "Mid Dynamic 125 6 11");

    // A function that the library did not have, called from the program; then another body for it.
    let new = "pub fn brought(x: u32) -> String {\n    SEEN.set(SEEN.get() + x);\n    format!(\"brought {}\", SEEN.get())\n}\npub fn dynamic";
    patch(
        &mut live,
        &[
            (LIBRARY, "pub fn dynamic", new),
            (APP, "\"there\" =>", "\"brought\" => dynamic::brought(5),\n        \"there\" =>"),
        ],
    );
    assert_eq!(live.ask("brought"), "brought 16");
    let patched = patch(&mut live, &[(LIBRARY, "\"brought {}\"", "\"Brought {}\"")]);
    assert_eq!(functions(&patched), ["dynamic::brought"]);
    assert_eq!(live.ask("brought"), "Brought 21");
    patch(&mut live, &[(APP, "dynamic::brought(5)", "format!(\"{}!\", dynamic::brought(1))")]);
    assert_eq!(live.ask("brought"), "Brought 22!");

    // Another signature, in three crates at once.
    patch(
        &mut live,
        &[
            (LIBRARY, "dynamic(x: u32)", "dynamic(x: u32, more: &str)"),
            (LIBRARY, "\"Dynamic {}", "\"{more} {}"),
            ("mid/src/lib.rs", "dynamic(x)", "dynamic(x, \"m\")"),
            (APP, "dynamic(1)", "dynamic(1, \"a\")"),
        ],
    );
    assert_eq!(live.ask("dynamic"), "a 135 7 23");
    assert_eq!(live.ask("mid"), "Mid m 145 8 24");
    assert_eq!(live.ask("static"), place.replacen('2', "9", 1));
}

#[test]
fn thread_locals_of_the_library() {
    use_thread_locals(&[]);
}

/// Optimised, the program finds them by itself, and so does the patch.
#[test]
fn thread_locals_of_the_library_inlined() {
    use_thread_locals(&["--release"]);
}

/// Code of the program that uses thread-locals of the shared object by name.
fn use_thread_locals(arguments: &[&str]) {
    const LIBRARY: &str = "dynamic/src/lib.rs";
    const APP: &str = "app/src/code.rs";
    let mut live = Live::start_at(project(), &[&["-p", "app"], arguments].concat(), APP);
    assert_eq!(live.ask("dynamic"), "dynamic 100 0 6");
    // The program has not used it so far.
    let used = "\"seen\" => seen().to_string(),
        \"seen there\" => std::thread::spawn(seen).join().unwrap().to_string(),
        \"there\" =>";
    let seen =
        "fn seen() -> u32 { dynamic::SEEN.set(dynamic::SEEN.get() + 10); dynamic::SEEN.get() }\nstruct Own;";
    patch(&mut live, &[(APP, "\"there\" =>", used), (APP, "struct Own;", seen)]);
    assert_eq!(live.ask("seen"), "16");
    assert_eq!(live.ask("dynamic"), "dynamic 101 1 17");
    assert_eq!(live.ask("seen there"), "15");
    assert_eq!(live.ask("seen"), "27");

    // One that the library did not have, in one edit with its use: with a value that every thread makes.
    let fresh =
        "thread_local! { pub static FRESH: std::cell::RefCell<Vec<u32>> = std::cell::RefCell::new(vec![7]); }
pub fn fresh() -> usize { FRESH.with_borrow_mut(|all| { all.push(1); all.len() }) }
pub fn dynamic";
    let both = "{ dynamic::FRESH.with_borrow_mut(|all| all.push(2)); dynamic::fresh() as u32 }";
    let all = "dynamic::SEEN.set(dynamic::SEEN.get() + 10); dynamic::SEEN.get()";
    patch(&mut live, &[(LIBRARY, "pub fn dynamic", fresh), (APP, all, both)]);
    assert_eq!(live.ask("seen"), "3");
    assert_eq!(live.ask("seen"), "5");
    assert_eq!(live.ask("seen there"), "3");
}
