//! Forms of relocation tables, hash tables, indirect functions and bindings.

use crate::build::{Folder, call, lld, read};
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::trace::{Counts, Detail, Event, Trace};
use livepatch_linker::{ExplicitMap, Flags, Linker, Precedence, Trap};
use livepatch_object::address::RuntimeAddress;
use std::path::Path;
use std::sync::Arc;

pub(crate) const CASES: &[Case] = cases![
    relocations::plain,
    relocations::relr,
    relocations::android,
    relocations::android_and_relr,
    relocations::packed_only_is_not_forgotten,
    relocations::sysv_hash_only,
    relocations::gnu_hash_only,
    relocations::preempted_default_but_not_protected,
    relocations::indirect_function,
    relocations::indirect_function_as_variable,
    relocations::indirect_function_from_a_constructor,
    relocations::indirect_function_needs_relocated_data,
    relocations::segment_gap,
    relocations::many_segments_and_bss,
    relocations::provider_first,
    relocations::provider_as_library,
    relocations::trap_is_last,
    relocations::without_host_nothing_is_found,
];

fn counts(trace: &Trace) -> Counts {
    let found = trace.records().into_iter().rev().find_map(|record| match record.event {
        Event::Relocate { counts, .. } => Some(counts),
        _ => None,
    });
    found.unwrap()
}

fn load(path: impl AsRef<Path>) -> (livepatch_linker::Library, Trace) {
    let trace = Trace::new(Detail::Phases);
    let linker = Linker::builder().trace(&trace).build();
    let library = linker.dlopen(path, Flags::NOW).unwrap_or_else(|error| panic!("{error}"));
    (library, trace)
}

/// Many words that are relocated: own addresses, and others'.
const TABLE: &str = "extern char **environ; static long many[100]; extern long own; long own = 3;
    void *own_words[] = { &many[0], &many[1], &many[2], &many[50], &many[99], 0, &many[7] };
    void *far_words[60] = { [3] = &many[3], [41] = &many[41], [59] = &many[59] };
    void *symbols[] = { &own, &environ, &own };
    long get(void) { return own_words[0] == many && own_words[1] == many + 1 && own_words[2] == many + 2
        && own_words[3] == many + 50 && own_words[4] == many + 99 && own_words[6] == many + 7
        && far_words[3] == many + 3 && far_words[41] == many + 41 && far_words[59] == many + 59
        && far_words[4] == 0 && symbols[0] == &own && symbols[1] == &environ && symbols[2] == &own; }";

fn with_lld(options: &str) -> Outcome {
    let Some(lld) = lld() else { return Outcome::Skipped("rustc has no lld here".to_owned()) };
    let folder = Folder::new();
    let mut arguments: Vec<&str> = lld.iter().map(String::as_str).collect();
    arguments.extend(options.split_whitespace());
    let (library, trace) = load(folder.library("liba.so", TABLE, &arguments));
    assert_eq!(call(library.symbol("get").unwrap()), 1);
    assert!(counts(&trace).relative >= 9, "{:?}", counts(&trace));
    Outcome::Passed
}

fn plain() {
    let folder = Folder::new();
    let (library, _) = load(folder.library("liba.so", TABLE, &[]));
    assert_eq!(call(library.symbol("get").unwrap()), 1);
}

fn relr() -> Outcome {
    with_lld("-Wl,--pack-dyn-relocs=relr")
}

fn android() -> Outcome {
    with_lld("-Wl,--pack-dyn-relocs=android")
}

fn android_and_relr() -> Outcome {
    with_lld("-Wl,--pack-dyn-relocs=android+relr -Wl,--use-android-relr-tags")
}

fn packed_only_is_not_forgotten() -> Outcome {
    let Some(lld) = lld() else { return Outcome::Skipped("rustc has no lld here".to_owned()) };
    let folder = Folder::new();
    let mut arguments: Vec<&str> = lld.iter().map(String::as_str).collect();
    arguments.extend(["-nostdlib", "-Wl,--pack-dyn-relocs=android"]);
    let many: Vec<String> = (0..200).map(|n| format!("&x[{n}]")).collect();
    let source = format!(
        "static long x[200]; static void *t[] = {{ {} }}; void **at(void) {{ return t; }}",
        many.join(",")
    );
    let (library, trace) = load(folder.library("liba.so", &source, &arguments));
    let table: [u64; 200] = read(RuntimeAddress(call(library.symbol("at").unwrap()) as u64));
    assert!(table.windows(2).all(|two| two[1] - two[0] == 8), "{table:x?}");
    let (start, size) = library.memory().unwrap();
    assert!(table.iter().all(|at| (start.0..start.0 + size).contains(at)));
    let counts = counts(&trace);
    assert_eq!((counts.relative, counts.symbolic), (200, 0));
    Outcome::Passed
}

fn sysv_hash_only() {
    let folder = Folder::new();
    let (library, trace) = load(folder.library("liba.so", TABLE, &["-Wl,--hash-style=sysv"]));
    assert_eq!(call(library.symbol("get").unwrap()), 1);
    assert!(trace.to_string().contains("(DT_HASH)"));
    assert!(library.symbol("nothing").is_err());
}

fn gnu_hash_only() {
    let folder = Folder::new();
    let (library, trace) = load(folder.library("liba.so", TABLE, &["-Wl,--hash-style=gnu"]));
    assert_eq!(call(library.symbol("get").unwrap()), 1);
    assert!(trace.to_string().contains("(DT_GNU_HASH)"));
    assert!(library.symbol("nothing").is_err());
}

fn preempted_default_but_not_protected() {
    let folder = Folder::new();
    folder.library("libfirst.so", "long plain(void) { return 1; } long kept(void) { return 1; }", &[]);
    let source = "long plain(void) { return 2; }
        __attribute__((visibility(\"protected\"))) long kept(void) { return 2; }
        long get_plain(void) { return plain(); } long get_kept(void) { return kept(); }";
    folder.library("libsecond.so", source, &[]);
    let root = folder.library("libroot.so", "", &["-lfirst", "-lsecond", "-Wl,-rpath,$ORIGIN"]);
    let (library, _) = load(root);
    let all = ["get_plain", "get_kept"].map(|name| call(library.symbol(name).unwrap()));
    assert_eq!(all, [1, 2]);
}

const INDIRECT: &str = "static long real(void) { return 77; } static void *choose(void) { return real; }
    long function(void) __attribute__((ifunc(\"choose\")));";

fn indirect_function() {
    let folder = Folder::new();
    let source = format!("{INDIRECT} long get(void) {{ return function(); }}");
    for flags in [Flags::NOW, Flags::LAZY] {
        let library =
            Linker::new().dlopen(folder.library("liba.so", &source, &["-Wl,-z,lazy"]), flags).unwrap();
        assert_eq!(call(library.symbol("get").unwrap()), 77);
        assert_eq!(call(library.symbol("function").unwrap()), 77);
    }
}

fn indirect_function_as_variable() {
    let folder = Folder::new();
    let source = format!("{INDIRECT} long (*at)(void) = function; long get(void) {{ return at(); }}");
    let (library, trace) = load(folder.library("liba.so", &source, &[]));
    assert_eq!(call(library.symbol("get").unwrap()), 77);
    assert!(counts(&trace).indirect >= 1);
}

fn indirect_function_from_a_constructor() {
    let folder = Folder::new();
    let source = format!(
        "{INDIRECT} static long n; __attribute__((constructor)) static void c(void) {{ n = function(); }}
        long get(void) {{ return n; }}"
    );
    let (library, _) = load(folder.library("liba.so", &source, &[]));
    assert_eq!(call(library.symbol("get").unwrap()), 77);
}

/// Functions that say where others are run after all data of all libraries is relocated.
fn indirect_function_needs_relocated_data() {
    let folder = Folder::new();
    let inner = "static long real(void) { return 5; } static long wrong(void) { return -1; }
        static long (*table[])(void) = { wrong, real }; extern long which;
        static void *choose(void) { return table[which]; }
        long function(void) __attribute__((ifunc(\"choose\")));";
    folder.library("libinner.so", inner, &["-Wl,--unresolved-symbols=ignore-all"]);
    let source = "long which = 1; long function(void); long (*at)(void) = function; long get(void) { return at() + function(); }";
    let path = folder.library("liba.so", source, &["-linner", "-Wl,-rpath,$ORIGIN"]);
    let (library, _) = load(path);
    assert_eq!(call(library.symbol("get").unwrap()), 10);
}

fn segment_gap() {
    let folder = Folder::new();
    let source = "__attribute__((section(\".far\"))) long far = 12; long get(void) { return far; }";
    let (library, _) =
        load(folder.library("liba.so", source, &["-Wl,--section-start=.far=0x2000000,-z,separate-code"]));
    assert_eq!(call(library.symbol("get").unwrap()), 12);
    assert!(library.memory().unwrap().1 > 0x200_0000);
    // What lies between is nobody's.
    let between = library.memory().unwrap().0.0 + 0x100_0000;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let covering = maps.lines().find(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        (number(start)..number(end)).contains(&between)
    });
    assert!(covering.is_some_and(|line| line.contains("---p")), "{covering:?}");
}

fn many_segments_and_bss() {
    let folder = Folder::new();
    let source = "static long initial[3] = { 1, 2, 3 }; static long zeros[100000]; static char tail[3];
        long get(void) { long n = tail[0] + tail[2]; for (long i = 0; i < 100000; i++) n += zeros[i] != 0;
            zeros[99999] = 1; return n * 10 + initial[0] + initial[1] + initial[2]; }";
    let (library, _) = load(folder.library("liba.so", source, &["-O0"]));
    assert_eq!(call(library.symbol("get").unwrap()), 6);
}

extern "C" fn forty() -> i64 {
    40
}

fn forty_at() -> RuntimeAddress {
    RuntimeAddress(forty as *const () as u64)
}

fn provider_first() {
    let folder = Folder::new();
    folder.library("libdep.so", "long who(void) { return 1; }", &[]);
    let source = "long who(void); long getpid(void); long get(void) { return who() + getpid(); }";
    let path = folder.library("liba.so", source, &["-ldep", "-Wl,-rpath,$ORIGIN"]);
    let symbols = ExplicitMap::new("mine").with("who", forty_at()).with("getpid", forty_at());
    let linker = Linker::builder().provider(Precedence::First, Arc::new(symbols)).build();
    assert_eq!(call(linker.dlopen(path, Flags::NOW).unwrap().symbol("get").unwrap()), 80);
}

fn provider_as_library() {
    let folder = Folder::new();
    folder.library("libnowhere.so", "long who(void) { return 1; }", &[]);
    let source = "long who(void); long get(void) { return who(); }";
    let path = folder.library("liba.so", source, &["-lnowhere"]);
    std::fs::remove_file(folder.file("libnowhere.so")).unwrap();
    let symbols = ExplicitMap::new("mine").standing_for("libnowhere.so").with("who", forty_at());
    let linker = Linker::builder().provider(Precedence::AsLibrary, Arc::new(symbols)).build();
    let library = linker.dlopen(path, Flags::NOW).unwrap();
    assert_eq!(call(library.symbol("get").unwrap()), 40);
    assert_eq!(library.symbol("who").unwrap(), forty_at());
}

fn trap_is_last() {
    let folder = Folder::new();
    let source = "long nobody_defines_this(void); long who(void); long get(void) { return who(); }
        void *at(void) { return nobody_defines_this; }
        long call_it(void) { return nobody_defines_this(); }";
    let path = folder.library("liba.so", source, &[]);
    let trap = Arc::new(Trap::new());
    let symbols = ExplicitMap::new("mine").with("who", forty_at());
    let builder = Linker::builder().provider(Precedence::Last, Arc::new(symbols));
    let linker = builder.provider(Precedence::Last, trap.clone()).build();
    let library = linker.dlopen(path, Flags::NOW).unwrap();
    assert_eq!(call(library.symbol("get").unwrap()), 40);
    assert_eq!(trap.asked(), ["nobody_defines_this"]);
    let call_it = library.symbol("call_it").unwrap();
    // SAFETY: the child only calls this function, and ends by it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: closes nothing that the child uses; what it would print is not for the test.
        unsafe { libc::close(2) };
        call(call_it);
    }
    let mut status = 0;
    // SAFETY: waits for the child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT, "{status:x}");
}

fn without_host_nothing_is_found() {
    let folder = Folder::new();
    let source = "long getpid(void); long get(void) { return getpid(); }";
    let path = folder.library("liba.so", source, &["-nostdlib"]);
    let error = Linker::builder().without_host().build().dlopen(&path, Flags::NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot locate symbol \"getpid\" referenced by \"{}\"...", path.display())
    );
}
