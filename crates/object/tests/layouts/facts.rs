//! What is read against what the program itself says, and against what its source says.

use crate::sources::*;
use crate::unit::*;
use livepatch_object::compare::Referent;
use livepatch_object::layout::{Layouts, PathId, Trait, Type, TypeId, TypeKind, describe};
use livepatch_object::relocatable::{Place, Relocatable, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

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

#[test]
fn signatures_name_parameters_results_and_generics() {
    let unit = Unit::of("functions", FUNCTIONS, DEV);
    let name = |id: &TypeId| unit.layouts.get(*id).map(|ty| (ty.kind(), ty.size()));
    let types = |function: &str| unit.function(function).signature_types();
    // `&self` is a pointer; the parameter without a name is there; the result stands at the declaration.
    let method = types("app::State::method");
    assert_eq!(method, ["&app::State", "u8", "core::option::Option<u64>"].map(TypeId::of));
    assert_eq!(name(&method[0]), Some((TypeKind::Pointer, 8)));
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
        let of = Trait { path: PathId::of("app::Acts"), declared_in: PathId::of("app") };
        assert_eq!(vtable.of, Some(of));
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
fn what_leads_to_a_type_is_found_from_it() {
    let source = "
        pub struct Wanted(u8);
        pub struct Inside { pub it: Wanted, pub more: u32 }
        pub struct Behind { pub it: *const Inside }
        pub struct Argument { pub it: Vec<Behind> }
        pub enum Maybe { Yes(Argument), No }
        pub struct Other { pub it: Vec<u8> }
        pub fn all(a: &Maybe, b: &Other) -> usize {
            let n = match a { Maybe::Yes(a) => a.it.len(), Maybe::No => 0 };
            n + b.it.len()
        }
        pub fn main() {}";
    let unit = Unit::of("leads-to", source, DEV);
    let found = unit.layouts.that_reach([TypeId::of("app::Wanted")]);
    for name in ["app::Wanted", "app::Inside", "app::Behind", "app::Argument", "app::Maybe", "&app::Maybe"] {
        assert!(found.contains(&TypeId::of(name)), "{name}");
    }
    for name in ["app::Other", "&app::Other", "u8", "usize"] {
        assert!(unit.layouts.get(TypeId::of(name)).is_some(), "{name} is described");
        assert!(!found.contains(&TypeId::of(name)), "{name}");
    }
    assert_eq!(unit.layouts.that_reach([TypeId::of("app::Nothing")]), []);
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

#[test]
fn types_of_one_name_are_told_apart_by_their_layouts() {
    // As `derive(Deserialize)` does: every type of a module gets a `__Field` in a scope without a name.
    let scope = |variants: &str| {
        format!(
            "const _: () = {{ #[unsafe(no_mangle)] pub fn {variants}(f: __Field) {{}} pub enum __Field {{ {variants} }} }};"
        )
    };
    let unit = |variants: &[&str]| {
        let scopes: String = variants.iter().map(|variants| scope(variants)).collect();
        Unit::of("ambiguous", &scopes, DEV)
    };
    let relaid = |old: &[&str], new: &[&str]| {
        let (old, new) = (unit(old), unit(new));
        let [old, new] = [&old, &new].map(|unit| unit.get("app::_::__Field"));
        assert_eq!(
            (old.is_ambiguous(), new.is_ambiguous()),
            (old.layouts().count() > 1, new.layouts().count() > 1)
        );
        old.is_relaid(&new)
    };
    assert!(!relaid(&["a"], &["a"]) && !relaid(&["a", "b"], &["b", "a"]));
    // One more type, or one less, changes none of the others.
    assert!(!relaid(&["a"], &["a", "b"]) && !relaid(&["a", "b"], &["b"]));
    assert!(relaid(&["a"], &["b"]) && relaid(&["a", "b"], &["a", "c"]));
}

#[test]
fn names_mangled_the_new_way_are_found_too() {
    let unit = Unit::of("mangled", &(FUNCTIONS.to_owned() + ASYNC), &["-Csymbol-mangling-version=v0"]);
    let closure = unit.function("app::act::{closure#0}");
    assert_eq!(closure.environment(), Some(TypeId::of("app::act::{closure_env#0}")));
    let method = unit.function("<app::State>::method").signature_types();
    assert_eq!(method, ["&app::State", "u8", "core::option::Option<u64>"].map(TypeId::of));
    let vtables: BTreeSet<_> = unit.layouts.vtables().filter_map(|it| it.concrete).collect();
    assert!(vtables.contains(&TypeId::of("app::act::{closure_env#0}")));
}

#[test]
fn functions_that_the_optimiser_calls_its_own_way_are_irregular() {
    // The argument is never used, the function is private and its callers are known.
    let source = "
        #[inline(never)] fn own(unused: u64, n: u64) -> u64 { std::hint::black_box(n) }
        #[inline(never)] pub fn open(unused: u64, n: u64) -> u64 { std::hint::black_box(n) }
        pub fn f(n: u64) -> u64 { own(n, n) + open(n, 2) }
    ";
    let unit = Unit::of("irregular", source, RELEASE);
    assert!(unit.function("app::own").is_irregular());
    assert!(!unit.function("app::open").is_irregular());
    let plain = Unit::of("irregular", source, DEV);
    assert!(plain.layouts.functions().all(|function| !function.is_irregular()));
}

#[test]
fn several_units_in_one_object_are_one() {
    let first = rustc("several", PLAIN, &["--emit=obj", "--crate-type=lib", "-Ccodegen-units=1"], "first.o");
    let arguments = ["--emit=obj", "--crate-type=lib", "-Ccodegen-units=1", "-Cdwarf-version=5"];
    let second = rustc("several", &(PLAIN.replace("f(s", "f2(s") + ASYNC), &arguments, "second.o");
    let both = folder("several").join("both.o");
    let linked =
        Command::new("ld").args(["-r", "-z", "muldefs", "-o"]).args([&both, &first, &second]).status();
    assert!(linked.expect("binutils are installed").success());
    let read = |path| {
        let image = Relocatable::parse(std::fs::read(path).expect("reading")).expect("an object");
        Layouts::read(&image).expect("readable").expect("debug information")
    };
    let [first, second, both] = [first, second, both].map(read);
    let types = |layouts: &Layouts| -> BTreeSet<_> {
        layouts.types().map(|ty| (ty.id(), ty.layouts().collect::<Vec<_>>())).collect()
    };
    let expected: BTreeSet<_> = types(&first).union(&types(&second)).cloned().collect();
    assert!(types(&first).len() > 20 && expected.len() > types(&first).len());
    assert_eq!(types(&both), expected);
    let functions = |layouts: &Layouts| layouts.functions().map(|it| it.path()).collect::<BTreeSet<_>>();
    assert_eq!(functions(&both), &functions(&first) | &functions(&second));
    let vtables =
        |layouts: &Layouts| layouts.vtables().map(|it| (it.name, it.slots.len())).collect::<BTreeSet<_>>();
    assert_eq!(vtables(&both), &vtables(&first) | &vtables(&second));
}
