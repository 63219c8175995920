//! What an edit changes, found from what rustc really emits for it.

use crate::program::Program;
use livepatch_build::diff::Diff;
use livepatch_build::session::Session;
use livepatch_object::demangle;

const BASE: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering};
static COUNT: AtomicU32 = AtomicU32::new(7);
static GREETING: &str = "hello";
static TABLE: [u32; 3] = [1, 2, 3];

trait Speak { fn speak(&self) -> String; }
struct Dog(u32);
impl Speak for Dog { fn speak(&self) -> String { format!("woof {}", self.0) } }

#[inline(never)] fn message() -> String { format!("{} {}", GREETING, COUNT.fetch_add(1, Ordering::Relaxed)) }
#[inline(never)] fn lookup(i: usize) -> u32 { TABLE[i] }
#[inline(never)] fn untouched(i: u32) -> u32 { i.checked_mul(3).expect("small") }

fn main() {
    let dog: Box<dyn Speak> = Box::new(Dog(1));
    println!("{} {} {} {}", message(), dog.speak(), lookup(1), untouched(2));
}
"#;

/// Builds `BASE`, replaces `from` by `to`, and says what changed.
fn edit(from: &str, to: &str) -> Diff {
    assert!(BASE.contains(from), "{from:?} is in the source");
    let mut program = Program::new(BASE);
    let base = program.base();
    let session = Session::open(&base, &program.path("patches")).expect("opening the session");
    program.save(&BASE.replace(from, to));
    session.diff(&[program.rebuild()]).expect("comparing")
}

fn changed(diff: &Diff) -> Vec<String> {
    let name =
        |change: &livepatch_build::diff::Change| demangle(change.new.object.image.name(change.new.symbol));
    let mut names: Vec<_> = diff.changed.iter().filter(|c| !c.lines_only).map(name).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn nothing_changes_without_an_edit() {
    let diff = edit("hello", "hello");
    assert!(diff.is_empty(), "{:?}", changed(&diff));
    assert!(diff.changed.is_empty());
}

#[test]
fn a_comment_changes_nothing_but_line_numbers() {
    let diff = edit("\n#[inline(never)] fn message", "\n// one more line\n#[inline(never)] fn message");
    assert_eq!(changed(&diff), [""; 0]);
    // `lookup` and `untouched` stand below the new line, and their panics say so.
    let lines: Vec<_> =
        diff.changed.iter().map(|c| demangle(c.new.object.image.name(c.new.symbol))).collect();
    assert!(
        lines.contains(&"program::lookup".into()) && lines.contains(&"program::untouched".into()),
        "{lines:?}"
    );
    assert!(!lines.contains(&"program::message".into()), "{lines:?}");
}

#[test]
fn one_body_is_one_function() {
    assert_eq!(changed(&edit("woof {}", "wuff {}")), ["<program::Dog as program::Speak>::speak"]);
    assert_eq!(changed(&edit("checked_mul(3)", "checked_mul(4)")), ["program::untouched"]);
}

#[test]
fn the_text_of_a_panic_changes_its_function() {
    assert_eq!(changed(&edit("\"small\"", "\"tiny!\"")), ["program::untouched"]);
}

#[test]
fn readers_of_a_constant_table_change_with_it() {
    let diff = edit("[1, 2, 3]", "[1, 9, 3]");
    assert_eq!(changed(&diff), ["program::lookup"]);
    assert_eq!(diff.replaced.len(), 1);
}

#[test]
fn a_mutable_static_keeps_its_value_and_says_so() {
    let diff = edit("AtomicU32::new(7)", "AtomicU32::new(8)");
    assert!(diff.changed.is_empty());
    assert_eq!(diff.notes, ["`program::COUNT` has a new initial value; its live value is kept"]);
}

#[test]
fn a_mutable_static_of_another_size_needs_a_restart() {
    let diff = edit(
        "static COUNT: AtomicU32 = AtomicU32::new(7);",
        "static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(7);",
    );
    assert_eq!(diff.restart.as_deref(), Some("`program::COUNT` changed its type: 4 → 8 bytes"));
}

#[test]
fn main_is_patched_and_the_user_is_told_when_it_takes_effect() {
    let diff = edit("lookup(1)", "lookup(2)");
    assert_eq!(changed(&diff), ["program::main"]);
    assert_eq!(diff.notes.len(), 1);
    assert!(diff.notes[0].contains("`main`"));
}
