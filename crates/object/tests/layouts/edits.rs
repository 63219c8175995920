//! Edits, the layouts that they change, and what is said about them.

use crate::sources::*;
use crate::unit::*;
use livepatch_object::layout::{TypeId, TypeKind, describe, difference, is_renaming};
use std::collections::BTreeMap;
use std::process::Command;

/// An edit of a source, and the types that it gives another layout, with what a person is told.
struct Edit {
    what: &'static str,
    source: &'static str,
    from: &'static str,
    to: &'static str,
    relaid: &'static [(&'static str, &'static str)],
}

const EDITS: &[Edit] = &[
    Edit { what: "nothing", source: PLAIN, from: "f(", to: "f(", relaid: &[] },
    Edit { what: "line moved", source: PLAIN, from: "pub enum Kind", to: "\n\n pub enum Kind", relaid: &[] },
    Edit {
        what: "field added",
        source: PLAIN,
        from: "pub y: f32,",
        to: "pub y: f32, pub name: String,",
        relaid: &[
            ("app::Point", "Point: 16 → 40 bytes, field name: String added at 0, 3 fields moved"),
            ("app::State", "State: 48 → 72 bytes, 3 fields moved"),
        ],
    },
    Edit {
        what: "field removed",
        source: PLAIN,
        from: "at: u32",
        to: "",
        relaid: &[(
            "app::Of<u8>",
            "Of<u8>: 8 → 1 bytes, alignment 4 → 1, field at: u32 removed, field value moved 4 → 0",
        )],
    },
    Edit {
        what: "field's type",
        source: PLAIN,
        from: "x: f32",
        to: "x: u32",
        relaid: &[("app::Point", "Point: field x: f32 → u32")],
    },
    Edit {
        what: "field renamed",
        source: PLAIN,
        from: "pub x:",
        to: "pub q:",
        relaid: &[("app::Point", "Point: field x renamed to q")],
    },
    Edit {
        what: "fields of one size swapped",
        source: PLAIN,
        from: "pub x: f32, pub y: f32",
        to: "pub y: f32, pub x: f32",
        relaid: &[("app::Point", "Point: fields x and y swapped")],
    },
    Edit {
        // The compiler orders fields by alignment, so nothing moves.
        what: "fields of different sizes swapped",
        source: PLAIN,
        from: "value: T, at: u32",
        to: "at: u32, value: T",
        relaid: &[],
    },
    Edit {
        what: "variant added",
        source: PLAIN,
        from: "Empty }",
        to: "Empty, Wide { bytes: [u8; 64] } }",
        relaid: &[("app::Kind", "Kind: 32 → 72 bytes, variant Wide added")],
    },
    Edit {
        what: "empty variant added",
        source: PLAIN,
        from: "Empty }",
        to: "Empty, Nothing }",
        relaid: &[("app::Kind", "Kind: variant Nothing added")],
    },
    Edit {
        what: "variant removed",
        source: PLAIN,
        from: "Square(f32), ",
        to: "",
        relaid: &[("app::Kind", "Kind: variant Square removed")],
    },
    Edit {
        what: "value added",
        source: PLAIN,
        from: "Go }",
        to: "Go, Wait }",
        relaid: &[("app::Signal", "Signal: variant Wait added")],
    },
    Edit {
        what: "values swapped",
        source: PLAIN,
        from: "Stop, Go",
        to: "Go, Stop",
        relaid: &[("app::Signal", "Signal: variants Stop and Go swapped")],
    },
    Edit {
        what: "value given",
        source: PLAIN,
        from: "Stop, Go",
        to: "Stop, Go = 7",
        relaid: &[("app::Signal", "Signal: variant Go: value 1 → 7")],
    },
    Edit {
        what: "values get data",
        source: PLAIN,
        from: "Stop, Go",
        to: "Stop, Go(u8)",
        relaid: &[("app::Signal", "Signal: 1 → 2 bytes, field Go.0: u8 added at 1")],
    },
    Edit {
        what: "field of a variant",
        source: PLAIN,
        from: "r: f64",
        to: "r: i64",
        relaid: &[("app::Kind", "Kind: field Round.r: f64 → i64")],
    },
    Edit {
        what: "field of a generic",
        source: PLAIN,
        from: "at: u32",
        to: "at: i32",
        relaid: &[("app::Of<u8>", "Of<u8>: field at: u32 → i32")],
    },
    Edit {
        what: "struct gets fields without names",
        source: PLAIN,
        from: "{ value: T, at: u32 }",
        to: "(T, u32);",
        relaid: &[("app::Of<u8>", "Of<u8>: field at renamed to 1, field value renamed to 0")],
    },
    Edit {
        what: "derive",
        source: PLAIN,
        from: "pub enum Signal",
        to: "#[derive(Clone, Debug)] pub enum Signal",
        relaid: &[],
    },
    Edit { what: "body of a closure", source: ASYNC, from: "x + by", to: "x * by", relaid: &[] },
    Edit {
        what: "closure captures another",
        source: ASYNC,
        from: "x + by",
        to: "x + more",
        relaid: &[("app::act::{closure_env#0}", "act::{closure_env#0}: field by renamed to more")],
    },
    Edit {
        what: "closure captures one more",
        source: ASYNC,
        from: "x + by",
        to: "x + by + name.len() as u64",
        relaid: &[(
            "app::act::{closure_env#0}",
            "act::{closure_env#0}: 8 → 32 bytes, field name: String added at 0, field by moved 0 → 24",
        )],
    },
    Edit { what: "async body", source: ASYNC, from: "m + 1", to: "m + 2", relaid: &[] },
];

/// Edits after which old data still mean the same.
const RENAMINGS: [&str; 2] = ["field renamed", "struct gets fields without names"];

#[test]
fn an_edit_changes_the_layouts_it_should_and_no_others() {
    let originals = [PLAIN, ASYNC].map(|source| Unit::of("edits", source, DEV));
    for Edit { what, source, from, to, relaid: expected } in EDITS {
        assert!(source.contains(from), "{what}");
        let old = &originals[usize::from(*source == ASYNC)];
        let new = Unit::of("edits", &source.replacen(from, to, 1), DEV);
        let text = |id| {
            let [old, new] = [old, &new].map(|unit| describe(&unit.image, id).expect("a description"));
            assert_eq!(is_renaming(&old, &new), RENAMINGS.contains(what), "{what}");
            (old.name.clone(), difference(&old, &new))
        };
        let found: BTreeMap<String, String> = relaid(old, &new).into_iter().map(text).collect();
        let expected = expected.iter().map(|&(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(found, expected.collect(), "{what}");
    }
}

#[test]
fn a_local_kept_across_an_await_changes_the_future_and_those_that_embed_it() {
    let old = Unit::of("await", ASYNC, DEV);
    let new = Unit::of("await", &ASYNC.replace("m + 1", "m + kept"), DEV);
    let relaid = relaid(&old, &new);
    let sizes = |source: &str| -> Vec<u64> {
        let main = "fn main() { println!(\"{} {}\", size_of_val(&work(1)), size_of_val(&outer(1))); }";
        let program = rustc("await-sizes", &(source.to_owned() + main), &[], "app");
        let output = Command::new(program).output().expect("the program");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed.split_whitespace().map(|size| size.parse().expect("a size")).collect()
    };
    let (before, after) = (sizes(ASYNC), sizes(&ASYNC.replace("m + 1", "m + kept")));
    for (at, name) in ["work", "outer"].into_iter().enumerate() {
        let id = TypeId::of(&format!("app::{name}::{{async_fn_env#0}}"));
        assert!(relaid.contains(&id));
        let [old, new] = [&old, &new].map(|unit| describe(&unit.image, id).expect("a description"));
        let text = format!("{name}::{{async_fn_env#0}}: {} → {} bytes", before[at], after[at]);
        assert!(difference(&old, &new).starts_with(&text), "{} is not {text}", difference(&old, &new));
    }
    for id in relaid {
        assert!(old.layouts.get(id).expect("old").kind().is_environment());
    }
    let kind = |name| old.get(name).kind();
    assert_eq!(kind("app::work::{async_fn_env#0}"), TypeKind::Coroutine);
    let outer = old.get("app::outer::{async_fn_env#0}");
    assert!(outer.embedded().any(|id| id == TypeId::of("app::work::{async_fn_env#0}")));
    let unresumed = describe(&old.image, TypeId::of("app::work::{async_fn_env#0}::Unresumed"));
    let captured = unresumed.expect("a state").layouts[0].fields.clone();
    assert_eq!(captured.iter().map(|field| (&*field.name, &*field.ty)).collect::<Vec<_>>(), [("n", "u64")]);
}
