//! Workspaces of several crates: an edit anywhere arrives wherever its code was compiled to.

use crate::live::{Live, MAIN};
use crate::project::{Project, manifest};
use serde_json::Value;
use std::collections::BTreeMap;

const LEAF: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering};
pub static CALLS: AtomicU32 = AtomicU32::new(0);
pub const FACTOR: u32 = 10;
pub fn plain(x: u32) -> u32 { CALLS.fetch_add(1, Ordering::Relaxed); x + 1 }
#[inline] pub fn inlined(x: u32) -> u32 { plain(x) + 2 }
pub fn generic<T: Into<u32>>(x: T) -> u32 { inlined(x.into()) * FACTOR }
pub trait Shape { fn sides(&self) -> u32; fn name(&self) -> String { format!("shape {}", self.sides()) } }
#[macro_export] macro_rules! doubled { ($x:expr) => { $x * 2 } }
"#;

const APP: &str = r#"
pub fn start() {}
struct Square;
impl leaf::Shape for Square { fn sides(&self) -> u32 { 4 } }
pub fn answer(question: &str) -> String {
    let shape: Box<dyn leaf::Shape> = Box::new(Square);
    match question {
        "left" => left::left(1).to_string(),
        "right" => right::right(1).to_string(),
        "top" => top::top(1),
        "shape" => shape.name(),
        "calls" => leaf::CALLS.load(std::sync::atomic::Ordering::Relaxed).to_string(),
        _ => format!("app {}", leaf::generic(1u8)),
    }
}
"#;

fn project() -> Project {
    let project = Project::empty();
    let members = "[workspace]\nresolver = '2'\nmembers = ['app', 'top', 'left', 'right', 'leaf']\n";
    project.write("Cargo.toml", members);
    let crates: [(&str, &[&str], &str); 4] = [
        ("leaf", &[], LEAF),
        (
            "left",
            &["leaf"],
            "pub fn left(x: u32) -> u32 { leaf::generic(x) + leaf::doubled!(leaf::plain(x)) }\n",
        ),
        ("right", &["leaf"], "pub fn right(x: u32) -> u32 { leaf::generic(x as u16) + leaf::FACTOR }\n"),
        (
            "top",
            &["left", "right"],
            "pub fn top(x: u32) -> String {\n    let both = || left::left(x) + right::right(x);\n    format!(\"top {}\", both())\n}\n",
        ),
    ];
    for (name, on, source) in crates {
        project.write(&format!("{name}/Cargo.toml"), &manifest(name, &dependencies(on)));
        project.write(&format!("{name}/src/lib.rs"), source);
    }
    project.write("app/Cargo.toml", &manifest("app", &dependencies(&["top", "left", "right", "leaf"])));
    project.write("app/src/lib.rs", "pub mod code;\n");
    project.write("app/src/code.rs", APP);
    // The same program in three places of its package.
    let main = MAIN.replace("mod code;", "use app::code;");
    for place in ["src/main.rs", "src/bin/other.rs", "examples/shown.rs"] {
        project.write(&format!("app/{place}"), &main);
    }
    project
}

fn dependencies(on: &[&str]) -> String {
    let lines = on.iter().map(|name| format!("{name} = {{ path = '../{name}' }}\n"));
    format!("[dependencies]\n{}", lines.collect::<String>())
}

/// Replaces pieces of files, in one save, which must be one edit.
fn patch(live: &mut Live, edits: &[(&str, &str, &str)]) -> Value {
    let before = live.events().iter().filter(|event| event["event"] == "patched").count() as u64;
    let mut new = BTreeMap::new();
    for (file, from, to) in edits {
        let text =
            new.entry(*file).or_insert_with(|| std::fs::read_to_string(live.project.file(file)).unwrap());
        assert!(text.contains(from), "{from:?} is in {file}");
        *text = text.replace(from, to);
    }
    new.iter().for_each(|(file, text)| live.project.write(file, text));
    let event = live.outcome();
    assert_eq!(
        (&event["event"], &event["edit"]),
        (&"patched".into(), &(before + 1).into()),
        "{}",
        live.report()
    );
    event
}

fn answers(live: &mut Live) -> Vec<String> {
    ["left", "right", "top", "shape", ""].iter().map(|question| live.ask(question)).collect()
}

/// What the program answers, from the meaning of its source: `plain` adds one number, `inlined` another,
/// `generic` multiplies; `left` doubles, the trait names.
struct Meaning {
    plain: u32,
    inlined: u32,
    factor: u32,
    double: u32,
    left: u32,
    right: u32,
    words: [&'static str; 3],
}

impl Meaning {
    fn answers(&self) -> Vec<String> {
        let generic = (1 + self.plain + self.inlined) * self.factor;
        let left = generic + (1 + self.plain) * self.double + self.left;
        let right = generic + self.factor + self.right;
        let [top, shape, app] = self.words;
        vec![
            left.to_string(),
            right.to_string(),
            format!("{top} {}", left + right),
            format!("{shape} 4"),
            format!("{app} {generic}"),
        ]
    }
}

#[test]
fn edits_at_every_level_in_one_run() {
    let mut live = Live::start_at(project(), &["-p", "app", "--bin", "app"], "app/src/code.rs");
    let mut meaning = Meaning {
        plain: 1,
        inlined: 2,
        factor: 10,
        double: 2,
        left: 0,
        right: 0,
        words: ["top", "shape", "app"],
    };
    assert_eq!(answers(&mut live), meaning.answers());
    let calls: u32 = live.ask("calls").parse().unwrap();

    patch(&mut live, &[("leaf/src/lib.rs", "x + 1 }", "x + 5 }")]);
    meaning.plain = 5;
    assert_eq!(answers(&mut live), meaning.answers());
    patch(&mut live, &[("leaf/src/lib.rs", "plain(x) + 2", "plain(x) + 3")]);
    meaning.inlined = 3;
    assert_eq!(answers(&mut live), meaning.answers());
    // Of a constant, what it was computed into is what changes: in four crates.
    patch(&mut live, &[("leaf/src/lib.rs", "FACTOR: u32 = 10", "FACTOR: u32 = 7")]);
    meaning.factor = 7;
    assert_eq!(answers(&mut live), meaning.answers());
    patch(&mut live, &[("leaf/src/lib.rs", "{ $x * 2 }", "{ $x * 3 }")]);
    meaning.double = 3;
    assert_eq!(answers(&mut live), meaning.answers());
    patch(&mut live, &[("leaf/src/lib.rs", "\"shape {}\"", "\"Shape {}\"")]);
    meaning.words[1] = "Shape";
    assert_eq!(answers(&mut live), meaning.answers());
    patch(&mut live, &[("left/src/lib.rs", "leaf::generic(x) +", "leaf::generic(x) + 1000 +")]);
    meaning.left = 1000;
    assert_eq!(answers(&mut live), meaning.answers());
    patch(&mut live, &[("right/src/lib.rs", "leaf::FACTOR", "leaf::FACTOR + 2000")]);
    meaning.right = 2000;
    assert_eq!(answers(&mut live), meaning.answers());
    patch(&mut live, &[("top/src/lib.rs", "\"top {}\"", "\"Top {}\"")]);
    meaning.words[0] = "Top";
    assert_eq!(answers(&mut live), meaning.answers());
    patch(&mut live, &[("app/src/code.rs", "\"app {}\"", "\"App {}\"")]);
    meaning.words[2] = "App";
    assert_eq!(answers(&mut live), meaning.answers());

    // Four crates at once are one patch, and are taken back as one.
    patch(
        &mut live,
        &[
            ("leaf/src/lib.rs", "x + 5 }", "x + 6 }"),
            ("leaf/src/lib.rs", "plain(x) + 3", "plain(x) + 4"),
            ("right/src/lib.rs", "+ 2000", "+ 3000"),
            ("top/src/lib.rs", "\"Top {}\"", "\"TOP {}\""),
            ("app/src/code.rs", "\"App {}\"", "\"APP {}\""),
        ],
    );
    let before = Meaning { ..meaning };
    let now = Meaning { plain: 6, inlined: 4, right: 3000, words: ["TOP", "Shape", "APP"], ..meaning };
    assert_eq!(answers(&mut live), now.answers());
    assert!(crate::session::livepatch(&live.project, &["rollback"]).status.success());
    assert_eq!(answers(&mut live), before.answers());
    // The next edit makes live what the sources say, in crates too that it does not touch.
    patch(&mut live, &[("right/src/lib.rs", "+ 3000", "+ 4000")]);
    assert_eq!(answers(&mut live), Meaning { right: 4000, ..now }.answers());
    // The static has counted on. Each round calls `plain` seven times: twice in `left`, once in `right`, three
    // times in `top`, once for the last answer.
    let rounds = 12;
    assert_eq!(live.ask("calls").parse::<u32>().unwrap(), calls + rounds * 7);
}

#[test]
fn other_programs_of_a_package() {
    let mut last = None;
    for arguments in [["-p", "app", "--bin", "other"], ["-p", "app", "--example", "shown"]] {
        // One project: what one session has left does not disturb the next.
        let project = last.take().unwrap_or_else(project);
        let mut live = Live::start_at(project, &arguments, "app/src/code.rs");
        assert_eq!(live.ask(""), "app 40");
        patch(&mut live, &[("leaf/src/lib.rs", "plain(x) + 2", "plain(x) + 5")]);
        assert_eq!(live.ask(""), "app 70");
        patch(&mut live, &[("app/src/code.rs", "\"app {}\"", "\"App {}\"")]);
        assert_eq!(live.ask(""), "App 70");
        patch(&mut live, &[("leaf/src/lib.rs", "plain(x) + 5", "plain(x) + 2")]);
        patch(&mut live, &[("app/src/code.rs", "\"App {}\"", "\"app {}\"")]);
        last = Some(live.project);
    }
}
