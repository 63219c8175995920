//! An edit of a library goes live before the crates that depend on it are compiled, and never stays live by
//! half.

use crate::live::{Live, MAIN, functions};
use crate::project::{Project, manifest};
use crate::session::livepatch;
use serde_json::Value;

const LEAF: &str = r#"
use std::any::Any;
pub fn plain(x: u32) -> u32 { x + 1 }
pub fn generic<T: Into<u32>>(x: T) -> u32 { plain(x.into()) * 10 }
pub fn named(x: u32) -> u32 { x }

/// Only dependents make one: no object of this crate knows what it looks like.
pub struct Kept<T> { pub first: T, pub second: u32 }
pub const fn kept<T: Copy>(first: T) -> Kept<T> { Kept { first, second: 8 } }

/// Only dependents implement it.
pub trait Shape { fn sides(&self) -> u32; fn corners(&self) -> u32; }
pub fn shape(shape: &dyn Shape) -> u32 { shape.sides() * 100 + shape.corners() }

/// This crate has objects of it as well.
pub trait Known { fn one(&self) -> u32; fn two(&self) -> u32; }
pub struct Own;
impl Known for Own { fn one(&self) -> u32 { 1 } fn two(&self) -> u32 { 2 } }
pub fn own() -> Box<dyn Known> { Box::new(Own) }
pub fn known(known: &dyn Known) -> u32 { known.one() * 10 + known.two() }

/// What `look` is given is a `Plain`, but nothing that is compiled here says so.
pub struct Plain { pub number: u32 }
#[inline] pub const fn plain_of(number: u32) -> Plain { Plain { number } }
pub fn look(value: &dyn Any) -> u32 { u32::from(value.is::<u64>()) }
"#;

const APP: &str = r#"
static KEPT: std::sync::Mutex<leaf::Kept<u32>> = std::sync::Mutex::new(leaf::kept(7));
static PLAIN: leaf::Plain = leaf::plain_of(5);
static SHAPES: std::sync::Mutex<Vec<Box<dyn leaf::Shape + Send>>> = std::sync::Mutex::new(Vec::new());
struct Square;
impl leaf::Shape for Square { fn sides(&self) -> u32 { 4 } fn corners(&self) -> u32 { 5 } }
struct Other;
impl leaf::Known for Other { fn one(&self) -> u32 { 3 } fn two(&self) -> u32 { 4 } }
pub fn start() { SHAPES.lock().unwrap().push(Box::new(Square)); }
pub fn answer(question: &str) -> String {
    match question {
        "shape" => leaf::shape(&*SHAPES.lock().unwrap()[0]).to_string(),
        "known" => format!("{} {}", leaf::known(&*leaf::own()), leaf::known(&Other)),
        "kept" => { let kept = KEPT.lock().unwrap(); format!("{} {}", kept.first, kept.second) }
        "look" => leaf::look(&PLAIN).to_string(),
        "named" => leaf::named(1).to_string(),
        _ => format!("{} {} {}", leaf::plain(1), leaf::generic(2u8), middle::middle(3)),
    }
}
"#;

/// `app` on `middle` on `leaf`.
fn project() -> Project {
    let project = Project::empty();
    project.write("Cargo.toml", "[workspace]\nresolver = '2'\nmembers = ['app', 'middle', 'leaf']\n");
    let on = |names: &[&str]| {
        let lines = names.iter().map(|name| format!("{name} = {{ path = '../{name}' }}\n"));
        format!("[dependencies]\n{}", lines.collect::<String>())
    };
    project.write("leaf/Cargo.toml", &manifest("leaf", ""));
    project.write("leaf/src/lib.rs", LEAF);
    project.write("middle/Cargo.toml", &manifest("middle", &on(&["leaf"])));
    project
        .write("middle/src/lib.rs", "pub fn middle(x: u32) -> u32 { leaf::generic(x) + leaf::plain(x) }\n");
    project.write("app/Cargo.toml", &manifest("app", &on(&["middle", "leaf"])));
    project.write("app/src/main.rs", MAIN);
    project.write("app/src/code.rs", APP);
    project
}

fn start(arguments: &[&str]) -> Live {
    let mut live = Live::start_at(project(), &[&["-p", "app"], arguments].concat(), "leaf/src/lib.rs");
    // Until the base build is read, nothing goes live in parts: on a busy machine that can take a while.
    let event = live.save(&(LEAF.to_owned() + "// read\n"));
    assert_eq!(event["event"], "unchanged", "{}", live.report());
    live
}

/// Saves the library with these pieces replaced. Returns the events up to the outcome, that included.
fn save(live: &mut Live, edits: &[(&str, &str)]) -> Vec<Value> {
    let before = live.events().len();
    let mut code = live.code.clone();
    for (from, to) in edits {
        assert!(code.contains(from), "{from:?} is in the library");
        code = code.replace(from, to);
    }
    live.save(&code);
    live.events()[before..].to_vec()
}

/// The events, each as its kind; a patch with whether more is to come.
fn kinds(events: &[Value]) -> Vec<&str> {
    let each = events.iter().map(|event| match event["event"].as_str().unwrap_or_default() {
        "patched" if event["more"] == true => "part",
        "unchanged" if event["edit"].is_u64() => "complete",
        other => other,
    });
    each.filter(|kind| *kind != "edit").collect()
}

fn roll_back(live: &Live, arguments: &[&str]) -> (bool, String) {
    let output = livepatch(&live.project, &[&["rollback"], arguments].concat());
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_library_first_and_what_depends_on_it_after() {
    let mut live = start(&[]);
    assert_eq!(live.ask("?"), "2 30 44");

    // Dependents only call it.
    let events = save(&mut live, &[("x + 1 }", "x + 2 }")]);
    assert_eq!(kinds(&events), ["part", "complete"], "{}", live.report());
    let part = events.iter().find(|event| event["event"] == "patched").unwrap();
    assert_eq!((functions(part), &part["edit"]), (vec!["leaf::plain"], &1.into()));
    assert_eq!(events.last().unwrap()["edit"], 1);
    assert_eq!(live.ask("?"), "3 40 55");
    // It is a whole edit: one goes back to it.
    save(&mut live, &[("{ x }", "{ x + 10 }")]);
    assert_eq!(live.ask("named"), "11");
    assert!(roll_back(&live, &["--to", "1"]).0);
    assert_eq!((live.ask("named"), live.ask("?")), ("1".into(), "3 40 55".into()));

    // And some have it compiled into them.
    let events = save(&mut live, &[("x + 2 }", "x + 3 }"), ("into()) * 10", "into()) * 100")]);
    assert_eq!(kinds(&events), ["part", "patched"], "{}", live.report());
    let patches: Vec<&Value> = events.iter().filter(|event| event["event"] == "patched").collect();
    assert_eq!(patches[0]["edit"], patches[1]["edit"]);
    assert!(functions(patches[0]).contains(&"leaf::plain"), "{}", patches[0]);
    assert!(functions(patches[1]).contains(&"leaf::generic"), "{}", patches[1]);
    assert_eq!(live.ask("?"), "4 500 606");
    // Half of it is nothing to go back to; one step back is before all of it.
    let (first, last) = (patches[0]["patch"].to_string(), patches[1]["patch"].to_string());
    save(&mut live, &[("{ x + 10 }", "{ x + 20 }")]);
    let (done, said) = roll_back(&live, &["--to", &first]);
    assert!(!done && said.contains("part of an edit"), "{said}");
    assert!(roll_back(&live, &["--to", &last]).0);
    assert_eq!(live.ask("?"), "4 500 606");
    assert!(roll_back(&live, &[]).0);
    assert_eq!(live.ask("?"), "3 40 55");
}

#[test]
fn a_dependent_that_does_not_compile_takes_all_of_it_back() {
    let mut live = start(&[]);
    let events = save(&mut live, &[("x + 1 }", "x + 2 }"), ("fn named", "fn renamed")]);
    assert_eq!(kinds(&events), ["part", "rolled_back", "rejected"], "{}", live.report());
    assert_eq!(live.ask("?"), "2 30 44");
    let events = save(&mut live, &[("fn renamed", "fn named")]);
    assert_eq!(kinds(&events), ["part", "complete"], "{}", live.report());
    assert_eq!(live.ask("?"), "3 40 55");
}

#[test]
fn a_dependent_that_is_unsound_takes_all_of_it_back() {
    let mut live = start(&["--on-unsound", "refuse"]);
    let more = [
        ("Kept<T> { pub first", "Kept<T> { pub more: u64, pub first"),
        ("Kept { first, second: 8 }", "Kept { more: 1, first, second: 9 }"),
    ];
    let events = save(&mut live, &[&[("x + 1 }", "x + 2 }")][..], &more].concat());
    assert_eq!(kinds(&events), ["part", "rolled_back", "rejected"], "{}", live.report());
    assert!(events.last().unwrap()["reason"].to_string().contains("Kept"), "{}", live.report());
    assert_eq!((live.ask("?"), live.ask("kept")), ("2 30 44".into(), "7 8".into()));
    // What is not live yet goes live with what makes it sound, as one.
    let back = more.map(|(from, to)| (to, from));
    let events = save(&mut live, &back);
    assert_eq!(kinds(&events), ["patched"], "{}", live.report());
    assert_eq!((live.ask("?"), live.ask("kept")), ("3 40 55".into(), "7 8".into()));
}

/// What only objects of dependents tell keeps the library's own part waiting for them.
#[test]
fn what_the_library_does_not_know_by_itself_waits() {
    let mut live = start(&["--on-unsound", "refuse"]);
    let swapped = [(
        "fn sides(&self) -> u32; fn corners(&self) -> u32;",
        "fn corners(&self) -> u32; fn sides(&self) -> u32;",
    )];
    let read = [
        ("struct Plain { pub number", "struct Plain { pub more: u64, pub number"),
        ("Plain { number }", "Plain { more: 77, number }"),
        ("u32::from(value.is::<u64>())", "value.downcast_ref::<Plain>().map_or(1, |plain| plain.number)"),
    ];
    for edits in [&swapped[..], &read[..]] {
        let events = save(&mut live, edits);
        assert_eq!(kinds(&events), ["rejected"], "{edits:?}: {}", live.report());
        let back: Vec<_> = edits.iter().map(|&(from, to)| (to, from)).collect();
        save(&mut live, &back);
    }
    assert_eq!(
        (live.ask("shape"), live.ask("known"), live.ask("look")),
        ("405".into(), "12 34".into(), "0".into())
    );
    // Its own objects of a trait tell.
    let events = save(&mut live, &[("known.one() * 10", "known.one() * 1000")]);
    assert_eq!(kinds(&events), ["patched"], "another trait's objects are not known: {}", live.report());
    assert_eq!(live.ask("known"), "1002 3004");
}

/// However far the dependents are when the next save comes: what is live is one of the three texts, whole.
#[test]
fn an_edit_that_comes_meanwhile_and_does_not_compile() {
    let mut live = start(&[]);
    let code = live.code.replace("x + 1 }", "x + 2 }").replace("into()) * 10", "into()) * 100");
    live.project.write("leaf/src/lib.rs", &code);
    live.session.wait_for("patched");
    live.project.write("leaf/src/lib.rs", &(code.clone() + "fn unfinished( {"));
    live.session.wait_for("rejected");
    let answer = live.ask("?");
    assert!(["2 30 44", "3 400 505"].contains(&&*answer), "{answer}: {}", live.report());
    live.project.write("leaf/src/lib.rs", &code.replace("x + 2 }", "x + 3 }"));
    while live.ask("?") != "4 500 606" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
