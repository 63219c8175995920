//! What the debug information of freshly compiled sources says, against the compiler's own answers and
//! against what an edit is known to change.

#![expect(clippy::expect_used, reason = "a test stops at what it cannot do without")]

use livepatch_object::compare::Referent;
use livepatch_object::layout::{
    Function, Layouts, PathId, Type, TypeId, TypeKind, describe, difference, is_renaming,
};
use livepatch_object::relocatable::{Place, Relocatable, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for one test.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layouts").join(test);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Runs rustc on a source of the crate `app`.
fn rustc(test: &str, source: &str, arguments: &[&str], output: &str) -> PathBuf {
    let folder = folder(test);
    let (source_file, output) = (folder.join("app.rs"), folder.join(output));
    std::fs::write(&source_file, source).expect("writing");
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition=2024", "--crate-name=app", "--cap-lints=allow", "-g"])
        .args(arguments)
        .arg("-o")
        .arg(&output)
        .arg(&source_file)
        .status();
    assert!(status.expect("rustc").success(), "{test}: {source}");
    output
}

const DEV: &[&str] = &[];
const DWARF_5: &[&str] = &["-Cdwarf-version=5"];
const RELEASE: &[&str] = &["-O"];

fn object(test: &str, source: &str, arguments: &[&str]) -> Relocatable {
    let arguments = [&["--emit=obj", "--crate-type=lib", "-Ccodegen-units=1"], arguments].concat();
    let path = rustc(test, source, &arguments, "app.o");
    Relocatable::parse(std::fs::read(path).expect("reading")).expect("an object")
}

/// An object and what it says.
struct Unit {
    image: Relocatable,
    layouts: Layouts,
}

impl Unit {
    fn of(test: &str, source: &str, arguments: &[&str]) -> Self {
        let image = object(test, source, arguments);
        let layouts = Layouts::read(&image).expect("readable").expect("debug information");
        Self { image, layouts }
    }

    fn get(&self, name: &str) -> Type<'_> {
        self.layouts.get(TypeId::of(name)).expect(name)
    }

    /// The function whose demangled symbol is `name`.
    fn function(&self, name: &str) -> Function<'_> {
        let mut all = self.layouts.functions();
        all.find(|it| livepatch_object::demangle(self.image.name(it.symbol())) == name).expect(name)
    }
}

const SHAPES: &str = r#"
use std::fmt::Display;
pub struct State { pub a: u64, pub b: u32, pub name: Option<String>, pub d: Box<dyn Display> }
pub struct Packed(u8, u32, u16);
#[repr(C)] pub struct Foreign { pub a: u8, pub b: u64, pub c: [u16; 5] }
pub enum Kind { Square(f32), Circle { r: f64, name: String }, Empty }
pub enum Signal { Stop = 1, Go = -5, Wait = 7 }
#[repr(u128)] pub enum Wide { A(u8) = 1, B = u128::MAX }
pub union Either { a: u32, b: [u8; 9] }
pub struct Of<T>(T, Vec<T>);
pub type Niche = Option<std::num::NonZeroU16>;
pub mod inner { #[repr(align(64))] pub struct Aligned(pub u8); }
pub fn use_all(s: State, p: Packed, f: Foreign, k: Kind, g: Signal, w: Wide, e: Either, o: Of<u16>, n: Niche,
    i: inner::Aligned, j: Of<State>) {}
"#;

const SHAPE_NAMES: [&str; 11] = [
    "app::State",
    "app::Packed",
    "app::Foreign",
    "app::Kind",
    "app::Signal",
    "app::Wide",
    "app::Either",
    "app::Of<u16>",
    "core::option::Option<core::num::nonzero::NonZero<u16>>",
    "app::inner::Aligned",
    "app::Of<app::State>",
];

#[test]
fn sizes_and_alignments_are_those_that_the_program_computes() {
    // Each type under a name that resolves at the root of the crate.
    let mut program = SHAPES.to_owned() + "mod app { pub use super::*; }\nfn main() {\n";
    for name in SHAPE_NAMES {
        let name = name.replace("core::num::nonzero::NonZero", "std::num::NonZero");
        let name = name.replace("core::option", "std::option");
        program += &format!("println!(\"{{}} {{}}\", size_of::<{name}>(), align_of::<{name}>());\n");
    }
    program += "}";
    let executable = rustc("sizes", &program, &[], "app");
    let output = Command::new(executable).output().expect("the program");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(printed.lines().count(), SHAPE_NAMES.len());
    for arguments in [DEV, DWARF_5, RELEASE] {
        let unit = Unit::of("sizes", SHAPES, arguments);
        for (name, line) in SHAPE_NAMES.iter().zip(printed.lines()) {
            let ty = unit.get(name);
            assert_eq!(format!("{} {}", ty.size(), ty.align()), line, "{name} with {arguments:?}");
        }
    }
}

#[test]
fn offsets_are_those_that_the_program_computes() {
    let fields = [
        ("State", "a"),
        ("State", "b"),
        ("State", "name"),
        ("State", "d"),
        ("Packed", "0"),
        ("Packed", "1"),
        ("Packed", "2"),
        ("Foreign", "a"),
        ("Foreign", "b"),
        ("Foreign", "c"),
        ("Of<u16>", "0"),
        ("Of<u16>", "1"),
    ];
    let print = |(ty, field)| format!("println!(\"{{}}\", std::mem::offset_of!({ty}, {field}));\n");
    let main = format!("fn main() {{\n{}}}", fields.map(print).concat());
    let program = rustc("offsets", &(SHAPES.to_owned() + &main), &[], "app");
    let output = Command::new(program).output().expect("the program");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let unit = Unit::of("offsets", SHAPES, DEV);
    let offset = |(ty, field): (&str, &str)| {
        let text = describe(&unit.image, TypeId::of(&format!("app::{ty}"))).expect(ty);
        let is_it = |name: &str| name == field || name.strip_prefix("__") == Some(field);
        text.layouts[0].fields.iter().find(|it| is_it(&it.name)).expect(field).offset.to_string()
    };
    assert_eq!(printed.lines().collect::<Vec<_>>(), fields.map(offset));
}

/// The types of `old` that have another layout in `new`.
fn relaid(old: &Unit, new: &Unit) -> BTreeSet<TypeId> {
    let changed = |ty: &Type<'_>| new.layouts.get(ty.id()).is_some_and(|other| ty.is_relaid(&other));
    old.layouts.types().filter(changed).map(|ty| ty.id()).collect()
}

/// An edit of a source, and the types that it gives another layout, with what a person is told.
struct Edit {
    what: &'static str,
    source: &'static str,
    from: &'static str,
    to: &'static str,
    relaid: &'static [(&'static str, &'static str)],
}

const PLAIN: &str = "
pub struct Point { pub x: f32, pub y: f32, pub z: u64 }
pub struct State { pub count: u64, pub at: Point, pub list: Vec<Point> }
pub enum Kind { Square(f32), Round { r: f64, name: String }, Empty }
pub enum Signal { Stop, Go }
pub struct Of<T> { value: T, at: u32 }
pub fn f(s: State, k: Kind, g: Signal, o: Of<u8>, n: Option<Box<Kind>>, p: [Point; 3]) {}
";

const ASYNC: &str = "
pub fn act(by: u64, name: String) -> Box<dyn Fn(u64) -> u64> {
    let more = by + 1;
    Box::new(move |x| x + by)
}
pub async fn other(n: u64) -> u64 { n }
pub async fn work(n: u64) -> u64 {
    let kept = n + 1;
    let m = other(n).await;
    m + 1
}
pub async fn outer(n: u64) -> u64 { work(n).await + 1 }
pub fn start() -> Box<dyn Future<Output = u64>> { Box::new(outer(3)) }
";

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

#[test]
fn what_a_type_reaches() {
    let unit = Unit::of("reach", PLAIN, DEV);
    let point = TypeId::of("app::Point");
    let state = unit.get("app::State");
    assert!(state.embedded().any(|id| id == point));
    // `Vec<Point>` points to bytes; that it holds points only its generic argument says.
    let vec = unit.get("alloc::vec::Vec<app::Point, alloc::alloc::Global>");
    assert!(state.embedded().any(|id| id == vec.id()));
    assert!(vec.generics().any(|id| id == point) && vec.embedded().all(|id| id != point));
    // Option<Box<Kind>> → variant → box → unique → non-null → pointer → Kind
    let mut reached =
        vec![TypeId::of("core::option::Option<alloc::boxed::Box<app::Kind, alloc::alloc::Global>>")];
    let mut at = 0;
    while let Some(&id) = reached.get(at) {
        let ty = unit.layouts.get(id).expect("described");
        let new: Vec<_> = ty.embedded().chain(ty.pointed_to()).filter(|id| !reached.contains(id)).collect();
        reached.extend(new);
        at += 1;
    }
    assert!(reached.contains(&TypeId::of("app::Kind")));
    // [Point; 3] is the only array of points.
    let array = |ty: &Type<'_>| ty.kind() == TypeKind::Array && ty.embedded().eq([point]);
    assert_eq!(unit.layouts.types().filter(array).count(), 1);
}

const FUNCTIONS: &str = r#"
pub struct State { pub a: u64 }
pub struct Of<T>(T);
impl State {
    #[inline(never)] pub fn method(&self, _: u8) -> Option<u64> { Some(self.a) }
    pub fn nothing(&self) {}
}
impl<T: Clone> Of<T> { pub fn get(&self) -> T { self.0.clone() } }
pub fn unnamed(_: u64, (a, b): (u8, u16)) -> u32 { a as u32 }
pub fn instance() -> String { generic(3u8) + &Of(String::new()).get() }
fn generic<T: std::fmt::Debug>(x: T) -> String { let f = |y: &T| format!("{y:?}"); f(&x) }
pub fn drops(s: Vec<Of<String>>) {}
"#;

#[test]
fn signatures_name_parameters_results_and_generics() {
    let unit = Unit::of("functions", FUNCTIONS, DEV);
    let name = |id: &TypeId| unit.layouts.get(*id).map(|ty| (ty.kind(), ty.size()));
    let types = |function: &str| unit.function(function).signature_types();
    // `&self` is a pointer; the parameter without a name is there; the result stands at the declaration.
    let method = types("app::State::method");
    assert_eq!(method[1..], [TypeId::of("u8"), TypeId::of("core::option::Option<u64>")]);
    assert_eq!(name(&method[0]), Some((TypeKind::Pointer, 0)));
    assert_eq!(types("app::State::nothing").len(), 1);
    assert_eq!(types("app::unnamed"), ["u64", "(u8, u16)", "u32"].map(TypeId::of));
    let generic = unit.function("app::generic");
    assert_eq!(generic.signature_types(), ["u8", "alloc::string::String"].map(TypeId::of));
    assert_eq!(generic.generics(), ["u8"].map(TypeId::of));
    assert_eq!(generic.path(), PathId::of("app::generic"));
    let get = unit.function("app::Of<T>::get");
    assert_eq!(get.generics(), ["alloc::string::String"].map(TypeId::of));
    let closure = unit.function("app::generic::{{closure}}");
    assert_eq!(closure.owner(), generic.path());
    let environment = TypeId::of("app::generic::{closure_env#0}<u8>");
    assert_eq!(closure.environment(), Some(environment));
    assert_eq!(unit.layouts.get(environment).map(|ty| ty.kind()), Some(TypeKind::Closure));
    let dropped: BTreeSet<_> = unit.layouts.functions().filter_map(|it| it.drops()).collect();
    for name in [
        "app::Of<alloc::string::String>",
        "alloc::vec::Vec<app::Of<alloc::string::String>, alloc::alloc::Global>",
    ] {
        assert!(dropped.contains(&TypeId::of(name)), "{name}");
    }
    assert!(!dropped.contains(&TypeId::of("app::State")));
}

#[test]
fn every_function_with_code_is_there() {
    for arguments in [DEV, DWARF_5, RELEASE] {
        let unit = Unit::of("all-functions", &(FUNCTIONS.to_owned() + ASYNC), arguments);
        let described: BTreeSet<_> = unit.layouts.functions().map(|it| it.symbol()).collect();
        let defined: BTreeSet<_> = unit
            .image
            .symbols()
            .filter(|(_, symbol)| symbol.kind == SymbolKind::Function && symbol.place != Place::Undefined)
            .map(|(id, _)| id)
            .collect();
        assert!(defined.len() > 10);
        assert_eq!(described, defined, "{arguments:?}");
    }
}

#[test]
fn signatures_differ_when_callers_would_call_differently() {
    let edits = [
        ("app::State::method", "_: u8) -> Option<u64>", "_: u16) -> Option<u64>", true),
        ("app::State::method", "_: u8) -> Option<u64>", "_: u8) -> Option<u64> ", false),
        ("app::unnamed", "_: u64, (a, b): (u8, u16)", "_: i64, (a, b): (u8, u16)", true),
        ("app::unnamed", "_: u64, (a, b): (u8, u16)", "(a, b): (u8, u16), _: u64", true),
        ("app::unnamed", "-> u32 { a as u32 }", "-> u64 { a as u64 }", true),
        ("app::unnamed", "-> u32 { a as u32 }", "-> u32 { a as u32 + 1 }", false),
        ("app::State::nothing", "nothing(&self) {}", "nothing(&mut self) {}", true),
        ("app::drops", "(s: Vec", "(other: Vec", false),
    ];
    let old = Unit::of("signatures", FUNCTIONS, DEV);
    for (function, from, to, differs) in edits {
        let new = Unit::of("signatures", &FUNCTIONS.replacen(from, to, 1), DEV);
        let (a, b) = (old.function(function).signature(), new.function(function).signature());
        assert_eq!(a != b, differs, "{function}: {from} → {to}");
    }
    // The result of a method, which only its declaration says.
    let source =
        FUNCTIONS.replace("_: u8) -> Option<u64> { Some(self.a) }", "_: u8) -> Option<i64> { None }");
    let new = Unit::of("signatures", &source, DEV);
    let method = "app::State::method";
    assert_ne!(old.function(method).signature(), new.function(method).signature());
}

const TRAIT: &str = "
pub struct State { pub a: u64, pub s: String }
pub trait Acts { fn first(&self) -> u64; fn second(&self) -> u64; }
impl Acts for State { fn first(&self) -> u64 { self.a } fn second(&self) -> u64 { 2 } }
impl Acts for u64 { fn first(&self) -> u64 { 5 } fn second(&self) -> u64 { 6 } }
pub fn of(s: Box<State>) -> Box<dyn Acts> { s }
pub fn small(s: Box<u64>) -> Box<dyn Acts> { s }
";

/// The slots of a vtable: offset and demangled name.
fn slots(unit: &Unit, name: &str) -> Vec<(u64, String)> {
    let vtable = unit.layouts.vtables().find(|it| it.name == PathId::of(name)).expect(name);
    let slot = |referent| match referent {
        Referent::Named { symbol, offset: 0 } => livepatch_object::demangle(unit.image.name(symbol)),
        other => panic!("{other:?}"),
    };
    vtable.slots.iter().map(|it| (it.offset, slot(it.referent))).collect()
}

#[test]
fn vtables_have_their_methods_in_order() {
    let name = "<app::State as app::Acts>::{vtable}";
    let methods = |first: &str, second: &str| {
        let method = |name: &str| format!("<app::State as app::Acts>::{name}");
        vec![
            (0, "core::ptr::drop_in_place<app::State>".to_owned()),
            (24, method(first)),
            (32, method(second)),
        ]
    };
    for arguments in [DEV, DWARF_5] {
        let old = Unit::of("vtables", TRAIT, arguments);
        assert_eq!(slots(&old, name), methods("first", "second"));
        let vtable = old.layouts.vtables().find(|it| it.name == PathId::of(name)).expect("the vtable");
        assert_eq!((vtable.size, vtable.concrete), (40, Some(TypeId::of("app::State"))));
        // Nothing to drop: no address there.
        assert_eq!(
            slots(&old, "<u64 as app::Acts>::{vtable}").iter().map(|it| it.0).collect::<Vec<_>>(),
            [24, 32]
        );
        let reordered = TRAIT.replacen(
            "fn first(&self) -> u64; fn second(&self) -> u64;",
            "fn second(&self) -> u64; fn first(&self) -> u64;",
            1,
        );
        let new = Unit::of("vtables", &reordered, arguments);
        assert_eq!(slots(&new, name), methods("second", "first"));
        assert!(relaid(&old, &new).is_empty(), "the types do not tell");
    }
}

#[test]
fn closures_are_known_by_the_function_around_them() {
    let source = "
        pub fn act(by: u64) -> u64 {
            let f = |x: u64| x + by;
            let g = |x: u64| { let h = |y: u64| y * by; h(x) };
            f(1) + g(2)
        }
        pub struct Of(u64);
        impl Of { pub fn m(&self) -> u64 { (|| self.0)() } }
        pub async fn wait(n: u64) -> u64 { async { n }.await }
        pub fn poll() -> Box<dyn Future<Output = u64>> { Box::new(wait(1)) }
    ";
    let unit = Unit::of("closures", source, DEV);
    let mut found = Vec::new();
    for (owner, family) in unit.layouts.closure_families() {
        for closure in family {
            let function = closure.symbol.and_then(|symbol| unit.layouts.function(symbol)).expect("its body");
            assert_eq!((function.owner(), function.environment()), (owner, Some(closure.environment)));
            found.push((owner, closure.index, closure.environment));
        }
    }
    let mut expected = [
        ("app::act", 0, "{closure_env#0}"),
        ("app::act", 1, "{closure_env#1}"),
        ("app::act::{closure#1}", 0, "{closure_env#0}"),
        ("app::{impl#0}::m", 0, "{closure_env#0}"),
        ("app::wait", 0, "{async_fn_env#0}"),
        ("app::wait::{async_fn#0}", 0, "{async_block_env#0}"),
    ]
    .map(|(owner, index, name)| (PathId::of(owner), index, TypeId::of(&format!("{owner}::{name}"))));
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn statics_and_thread_locals_have_types() {
    let source = "
        use std::{cell::Cell, sync::atomic::AtomicU32};
        pub static COUNT: AtomicU32 = AtomicU32::new(0);
        thread_local! { pub static HERE: Cell<u16> = const { Cell::new(3) }; }
        pub fn f() -> u32 { HERE.set(1); static INNER: AtomicU32 = AtomicU32::new(0); INNER.as_ptr() as u32 }
    ";
    for arguments in [DEV, DWARF_5] {
        let unit = Unit::of("statics", source, arguments);
        let name = |symbol| livepatch_object::demangle(unit.image.name(symbol));
        let found: BTreeMap<_, _> = unit.layouts.statics().map(|it| (name(it.symbol), it.ty)).collect();
        let count = TypeId::of("core::sync::atomic::AtomicU32");
        assert_eq!(found["app::COUNT"], count);
        assert_eq!(found["app::f::INNER"], count);
        let (_, here) =
            found.iter().find(|(name, _)| name.starts_with("app::HERE")).expect("the thread-local");
        assert_eq!(*here, TypeId::of("core::cell::Cell<u16>"));
        let defined = unit.image.symbols().filter(|(_, symbol)| {
            matches!(symbol.kind, SymbolKind::Data | SymbolKind::ThreadLocal) && symbol.size > 0
        });
        let named = defined.filter(|(id, _)| unit.image.name(*id).starts_with("_ZN")).count();
        assert_eq!(unit.layouts.statics().count(), named);
    }
}

#[test]
fn without_debug_information_there_is_nothing_and_with_lines_only_no_types() {
    let bare = object("bare", PLAIN, &["-Cdebuginfo=0"]);
    assert!(Layouts::read(&bare).expect("readable").is_none());
    let lines = Unit::of("lines", PLAIN, &["-Cdebuginfo=1"]);
    assert!(!lines.layouts.has_types());
    assert!(Unit::of("full", PLAIN, DEV).layouts.has_types());
}
