//! Whose symbol an import means.

use crate::build::{Folder, builder, call_named, load};
use crate::cases::{Case, cases};
use livepatch_linker::macho::{Error, Mode};
use livepatch_linker::trace::{Detail, Event, Trace};
use livepatch_linker::{ExplicitMap, Precedence};
use livepatch_object::address::RuntimeAddress;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) const CASES: &[Case] = cases![
    symbols::two_levels_keep_names_apart,
    symbols::flat_is_the_first_that_was_loaded,
    symbols::a_library_that_is_re_exported,
    symbols::data_of_another_image,
    symbols::weak_ones_are_one,
    symbols::a_strong_one_is_for_all,
    symbols::missing_weakly_is_nothing,
    symbols::a_library_that_is_missing_weakly,
    symbols::a_library_that_is_missing,
    symbols::run_paths_of_those_before,
    symbols::search_paths_come_first,
    symbols::cycles,
    symbols::given_by_the_program,
    symbols::a_name_that_is_another_library_s,
];

/// Two libraries with the same name, and one that uses each.
fn rivals(folder: &Folder) -> [PathBuf; 2] {
    let one = folder.dylib("libone.dylib", "long which(void) { return 1; }", &[]);
    let two = folder.dylib("libtwo.dylib", "long which(void) { return 2; }", &[]);
    [one, two]
}

const ASK: &str = "long which(void); long ask(void) { return which(); }";

fn two_levels_keep_names_apart() {
    let folder = Folder::new();
    rivals(&folder);
    let a = folder.dylib("liba.dylib", ASK, &["-lone"]);
    let b = folder.dylib("libb.dylib", ASK, &["-ltwo"]);
    let linker = builder(&Trace::new(Detail::Phases)).build();
    for mode in [Mode::Lazy, Mode::Now] {
        let (a, b) = (linker.dlopen(&a, mode).unwrap(), linker.dlopen(&b, mode).unwrap());
        assert_eq!((call_named(&a, "ask"), call_named(&b, "ask")), (1, 2));
    }
}

fn flat_is_the_first_that_was_loaded() {
    let folder = Folder::new();
    let [one, two] = rivals(&folder);
    let root = folder.path().display().to_string();
    let flat = folder.dylib("liba.dylib", ASK, &["-lone", "-flat_namespace", "-syslibroot", &root]);
    for mode in [Mode::Lazy, Mode::Now] {
        let linker = builder(&Trace::new(Detail::Phases)).build();
        let two = linker.dlopen(&two, mode).unwrap();
        let (flat, _one) = (linker.dlopen(&flat, mode).unwrap(), linker.dlopen(&one, mode).unwrap());
        assert_eq!(call_named(&flat, "ask"), 2);
        // It is bound to it: closing it does not unload it.
        drop(two);
        assert_eq!(call_named(&flat, "ask"), 2);
        assert!(linker.images().iter().any(|image| image.ends_with("/libtwo.dylib")));
    }
}

fn a_library_that_is_re_exported() {
    let folder = Folder::new();
    folder.dylib("libone.dylib", "long which(void) { return 1; } long value = 5;", &[]);
    folder.dylib("libfacade.dylib", "long own(void) { return 3; }", &["-reexport-lone"]);
    let source = "long which(void); long own(void); extern long value;
        long ask(void) { return which() + 10 * own() + 100 * value; }";
    let path = folder.dylib("liba.dylib", source, &["-lfacade"]);
    for mode in [Mode::Lazy, Mode::Now] {
        let (library, trace) = load(&path, mode);
        assert_eq!(call_named(&library, "ask"), 531, "{trace}");
        let facade = builder(&trace).build().dlopen(folder.file("libfacade.dylib"), mode).unwrap();
        assert_eq!(call_named(&facade, "which"), 1);
    }
}

fn data_of_another_image() {
    let folder = Folder::new();
    folder.dylib(
        "libdep.dylib",
        "long values[4] = { 1, 2, 3, 4 }; long get_value(void) { return values[2]; }",
        &[],
    );
    let source = "extern long values[4]; long get_value(void); static long *third = &values[2];
        long set(void) { *third = 30; values[3] = 40; return get_value() + values[3]; }";
    let (library, _) = load(&folder.dylib("liba.dylib", source, &["-ldep"]), Mode::Lazy);
    assert_eq!(call_named(&library, "set"), 70);
}

const WEAK: &str = "__attribute__((weak)) long shared_value = VALUE; __attribute__((weak)) long which(void) { return VALUE; }
    long *at(void) { return &shared_value; } long ask(void) { return which(); }";

/// As C++ has it for inline variables and templates: all images use the first one's.
fn weak_ones_are_one() {
    let folder = Folder::new();
    let path = |name: &str, value: &str| folder.dylib(name, &WEAK.replace("VALUE", value), &[]);
    let (a, b) = (path("liba.dylib", "1"), path("libb.dylib", "2"));
    for mode in [Mode::Lazy, Mode::Now] {
        let trace = Trace::new(Detail::Bindings);
        let linker = builder(&trace).build();
        let (a, b) = (linker.dlopen(&a, mode).unwrap(), linker.dlopen(&b, mode).unwrap());
        assert_eq!(call_named(&a, "at"), call_named(&b, "at"), "{trace}");
        assert_eq!((call_named(&a, "ask"), call_named(&b, "ask")), (1, 1));
    }
}

fn a_strong_one_is_for_all() {
    let folder = Folder::new();
    folder.dylib("libstrong.dylib", "long shared_value = 7; long which(void) { return 7; }", &[]);
    let weak = folder.dylib("liba.dylib", &WEAK.replace("VALUE", "1"), &[]);
    let linker = builder(&Trace::new(Detail::Phases)).build();
    let _strong = linker.dlopen(folder.file("libstrong.dylib"), Mode::Now).unwrap();
    let weak = linker.dlopen(&weak, Mode::Now).unwrap();
    assert_eq!(call_named(&weak, "ask"), 7);
}

fn missing_weakly_is_nothing() {
    let folder = Folder::new();
    folder.dylib(
        "libdep.dylib",
        "long sometimes(void) { return 1; } long variable = 2; long always(void) { return 3; }",
        &[],
    );
    let source = "__attribute__((weak_import)) long sometimes(void); __attribute__((weak_import)) extern long variable;
        long always(void); long ask(void) { return (sometimes ? sometimes() : 50) + (&variable ? variable : 60) + always(); }";
    let path = folder.dylib("liba.dylib", source, &["-ldep"]);
    let (library, _) = load(&path, Mode::Lazy);
    assert_eq!(call_named(&library, "ask"), 6);
    // An older one, which has neither.
    folder.dylib("libdep.dylib", "long always(void) { return 3; }", &[]);
    for mode in [Mode::Lazy, Mode::Now] {
        let (library, trace) = load(&path, mode);
        assert_eq!(call_named(&library, "ask"), 113, "{trace}");
    }
}

fn a_library_that_is_missing_weakly() {
    let folder = Folder::new();
    let dep = folder.dylib("libdep.dylib", "long sometimes(void) { return 1; }", &[]);
    let source = "__attribute__((weak_import)) long sometimes(void); long ask(void) { return sometimes ? sometimes() : 50; }";
    let path = folder.dylib("liba.dylib", source, &["-weak-ldep"]);
    std::fs::remove_file(dep).unwrap();
    let (library, _) = load(&path, Mode::Now);
    assert_eq!(call_named(&library, "ask"), 50);
}

fn a_library_that_is_missing() {
    let folder = Folder::new();
    let [one, _] = rivals(&folder);
    let path = folder.dylib("liba.dylib", ASK, &["-lone"]);
    std::fs::remove_file(one).unwrap();
    let error = builder(&Trace::new(Detail::Phases)).build().dlopen(&path, Mode::Lazy).unwrap_err();
    let Error::NotFound { name, by, tried } = &error else { panic!("{error}") };
    let folder = folder.path().canonicalize().unwrap();
    assert_eq!(name, "@rpath/libone.dylib");
    assert!(by.as_deref().unwrap().ends_with("/liba.dylib"));
    assert_eq!(tried, &[folder.join("libone.dylib").display().to_string()]);
}

/// A library without run paths of its own is found by those of the image that needs the one that needs it.
fn run_paths_of_those_before() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("sub")).unwrap();
    folder.image(
        "libone.dylib",
        "long which(void) { return 1; }",
        &["-dylib", "-install_name", "@rpath/libone.dylib"],
    );
    let arguments = ["-dylib", "-install_name", "@loader_path/sub/libmiddle.dylib", "-lone"];
    folder.image(
        "libmiddle.dylib",
        "long which(void); long middle(void) { return which() + 1; }",
        &arguments,
    );
    let source = "long middle(void); long ask(void) { return middle() + 1; }";
    let path = folder.dylib("liba.dylib", source, &["-lmiddle"]);
    std::fs::rename(folder.file("libmiddle.dylib"), folder.file("sub/libmiddle.dylib")).unwrap();
    let (library, trace) = load(&path, Mode::Lazy);
    assert_eq!(call_named(&library, "ask"), 3, "{trace}");
}

fn search_paths_come_first() {
    let folder = Folder::new();
    rivals(&folder);
    let path = folder.dylib("liba.dylib", ASK, &["-lone"]);
    std::fs::create_dir(folder.file("other")).unwrap();
    std::fs::copy(folder.file("libtwo.dylib"), folder.file("other/libone.dylib")).unwrap();
    let linker = builder(&Trace::new(Detail::Phases)).search_path(folder.file("other")).build();
    assert_eq!(call_named(&linker.dlopen(path, Mode::Lazy).unwrap(), "ask"), 2);
}

fn cycles() {
    let folder = Folder::new();
    folder.dylib("libb.dylib", "long a(void); long b(void) { return 2; }", &["-undefined", "dynamic_lookup"]);
    folder.dylib("liba.dylib", "long b(void); long a(void) { return 1 + b(); }", &["-lb"]);
    let source = "long a(void); long b(void) { return 2; } long both(void) { return a() + 10; }
        static long n; __attribute__((constructor)) static void c(void) { n++; } long count(void) { return n; }";
    folder.dylib("libb.dylib", source, &["-la"]);
    let trace = Trace::new(Detail::Phases);
    let linker = builder(&trace).build();
    let library = linker.dlopen(folder.file("libb.dylib"), Mode::Lazy).unwrap();
    assert_eq!((call_named(&library, "both"), call_named(&library, "count")), (13, 1), "{trace}");
    drop(library);
    assert!(linker.images().is_empty());
}

extern "C" fn ours() -> i64 {
    9
}

/// Before everything else, in place of a library, and last.
fn given_by_the_program() {
    let folder = Folder::new();
    let [one, _] = rivals(&folder);
    let path = folder.dylib("liba.dylib", ASK, &["-lone"]);
    let at = RuntimeAddress(ours as *const () as u64);
    let given = || ExplicitMap::new("given").with("_which", at);
    let with = |precedence, map: ExplicitMap| {
        let linker = builder(&Trace::new(Detail::Phases)).provider(precedence, Arc::new(map)).build();
        linker.dlopen(&path, Mode::Lazy).map(|library| call_named(&library, "ask"))
    };
    assert_eq!(with(Precedence::First, given()).unwrap(), 9);
    assert_eq!(with(Precedence::Last, given()).unwrap(), 1);
    std::fs::remove_file(one).unwrap();
    assert_eq!(with(Precedence::AsLibrary, given().standing_for("@rpath/libone.dylib")).unwrap(), 9);
}

/// The library that an import names is the only one that is asked.
fn a_name_that_is_another_library_s() {
    let folder = Folder::new();
    folder.dylib("libone.dylib", "long which(void) { return 1; }", &[]);
    folder.dylib("libtwo.dylib", "long other(void) { return 2; }", &[]);
    let source = "long which(void); long other(void); long ask(void) { return which() + other(); }";
    let path = folder.dylib("liba.dylib", source, &["-lone", "-ltwo"]);
    folder.dylib("libone.dylib", "long other(void) { return 5; }", &[]);
    folder.dylib("libtwo.dylib", "long which(void) { return 6; } long other(void) { return 2; }", &[]);
    let trace = Trace::new(Detail::Bindings);
    let error = builder(&trace).build().dlopen(&path, Mode::Now).unwrap_err();
    let Error::SymbolNotFound { symbol, expected, .. } = &error else { panic!("{error}") };
    assert_eq!((symbol.as_str(), expected.as_str()), ("_which", "@rpath/libone.dylib"));
    assert!(!trace.records().iter().any(|record| matches!(record.event, Event::Call { .. })));
}
