//! Kinds of images, and what is done to each before and after it runs.

use crate::build::{Folder, builder, call, call_named, done, load, make_read_only};
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::macho::{Error, Linker, Mode};
use livepatch_linker::trace::{Detail, Event, Trace};
use livepatch_linker::{ExplicitMap, Precedence};
use livepatch_object::address::RuntimeAddress;
use std::process::Command;
use std::sync::Arc;

pub(crate) const CASES: &[Case] = cases![
    images::a_dylib,
    images::a_bundle_that_looks_everything_up,
    images::an_executable,
    images::an_executable_at_its_own_address,
    images::a_fat_file,
    images::other_machines_only,
    images::without_opcodes,
    images::chained_as_published,
    images::older_than_opcodes,
    images::initializers_and_terminators_in_order,
    images::what_was_registered_runs_at_the_end,
    images::thread_locals,
    images::thread_locals_keep_registers,
    images::read_only_when_bound,
    images::zero_fill,
    images::opened_twice_is_one,
    images::closed_is_unmapped,
    images::linked_by_zig,
];

/// Prints as the C library does, calls, reads its own data and its own pointers.
const SOURCE: &str = "extern unsigned long strlen(const char *); extern int getppid(void);
    static const char *const words[] = { \"one\", \"three\" }; static int calls = 4;
    long demo(void) { calls++; return strlen(words[1]) * 100 + calls; }
    long parent(void) { return getppid(); }";

#[track_caller]
fn demo(library: &livepatch_linker::macho::Library) {
    assert_eq!(call_named(library, "demo"), 505);
    assert_eq!(call_named(library, "demo"), 506);
    assert_eq!(call_named(library, "parent"), i64::from(std::os::unix::process::parent_id()));
}

fn a_dylib() {
    let folder = Folder::new();
    let path = folder.dylib("liba.dylib", SOURCE, &[]);
    for mode in [Mode::Lazy, Mode::Now, Mode::PreboundCheck] {
        demo(&load(&path, mode).0);
    }
}

/// Names of no library: the program's own functions, and other images'.
fn a_bundle_that_looks_everything_up() {
    let folder = Folder::new();
    let arguments = ["-bundle", "-undefined", "dynamic_lookup"];
    let source = format!(
        "{SOURCE} extern long from_the_program(long); long ask(void) {{ return from_the_program(4); }}"
    );
    let path = folder.image("a.so", &source, &arguments);
    let trace = Trace::new(Detail::Phases);
    let at = RuntimeAddress(from_the_program as *const () as u64);
    let given = Arc::new(ExplicitMap::new("the test").with("_from_the_program", at));
    let linker = builder(&trace).provider(Precedence::Last, given).build();
    let library = linker.dlopen(path, Mode::Lazy).unwrap();
    demo(&library);
    assert_eq!(call_named(&library, "ask"), 40, "{trace}");
}

/// This program exports nothing: it is given.
extern "C" fn from_the_program(x: i64) -> i64 {
    x * 10
}

const MAIN: &str = "extern unsigned long strlen(const char *);
    int main(int argc, char **argv, char **envp, char **apple) {
        return argc * 100 + strlen(argv[1]) * 10 + (envp[0] != 0) + (argv[argc] == 0) * 2 + (apple[0] == 0) * 4; }";

fn an_executable() {
    let folder = Folder::new();
    let path = folder.image("a", MAIN, &["-execute", "-e", "_main", "-pie"]);
    for mode in [Mode::Lazy, Mode::Now] {
        let (library, trace) = load(&path, mode);
        // SAFETY: the function above.
        assert_eq!(unsafe { library.run_main(&["a", "four"]) }.unwrap(), 247, "{trace}");
    }
    let dylib = folder.dylib("libb.dylib", SOURCE, &[]);
    // SAFETY: it has no main function.
    let error = unsafe { load(&dylib, Mode::Lazy).0.run_main(&["b"]) };
    assert!(matches!(error, Err(Error::NoMain(_))), "{error:?}");
}

/// It has no table of what is to be rebased: it is loaded where it wants to be, or not at all.
fn an_executable_at_its_own_address() {
    let folder = Folder::new();
    let path = folder.image("a", MAIN, &["-execute", "-e", "_main", "-no_pie"]);
    let (library, _) = load(&path, Mode::Lazy);
    assert_eq!(library.slide().bits(), 0);
    // SAFETY: the function above.
    assert_eq!(unsafe { library.run_main(&["a", "four"]) }.unwrap(), 247);
    let trace = Trace::new(Detail::Phases);
    let error = builder(&trace).build().dlopen(&path, Mode::Lazy).unwrap_err();
    assert!(matches!(error, Error::Memory { action: "reserve", .. }), "{error}");
}

/// A fat file of slices, each at a multiple of 4 KiB or 16 KiB, as Apple's tools lay it out (`<mach-o/fat.h>`).
fn fat(slices: &[(u32, u32, Vec<u8>, u32)]) -> Vec<u8> {
    let mut offset = 4096u32;
    let mut header = vec![0xca, 0xfe, 0xba, 0xbe];
    header.extend((slices.len() as u32).to_be_bytes());
    let mut body: Vec<u8> = Vec::new();
    for (cpu, subtype, bytes, align) in slices {
        offset = offset.next_multiple_of(1 << align);
        for field in [*cpu, *subtype, offset, bytes.len() as u32, *align] {
            header.extend(field.to_be_bytes());
        }
        body.resize((offset - 4096) as usize, 0);
        body.extend(bytes);
        offset += bytes.len() as u32;
    }
    header.resize(4096, 0);
    header.extend(body);
    header
}

const X86_64: u32 = 0x0100_0007;
const ARM64: u32 = 0x0100_000c;

fn a_fat_file() {
    let folder = Folder::new();
    let own = std::fs::read(folder.dylib("liba.dylib", SOURCE, &[])).unwrap();
    let other = folder.image_for("arm64", "other.dylib", SOURCE, &["-dylib"]);
    let other = std::fs::read(other).unwrap();
    let path = folder.file("fat.dylib");
    std::fs::write(&path, fat(&[(ARM64, 0, other, 14), (X86_64, 3, own, 12)])).unwrap();
    for mode in [Mode::Lazy, Mode::Now] {
        let (library, trace) = load(&path, mode);
        demo(&library);
        let slice = trace.records().into_iter().find_map(|record| match record.event {
            Event::Slice { architecture, slices, .. } => Some((architecture, slices)),
            _ => None,
        });
        let slices = vec!["arm64".to_owned(), "x86_64".to_owned()];
        assert_eq!(slice, Some(("x86_64".to_owned(), slices)));
    }
}

fn other_machines_only() {
    let folder = Folder::new();
    let path = folder.image_for("arm64", "liba.dylib", SOURCE, &["-dylib"]);
    let error = Linker::builder().build().dlopen(&path, Mode::Now).unwrap_err();
    assert!(error.to_string().ends_with("is for arm64, this process is x86_64"), "{error}");
}

/// Chained pointers, if the linker can write them.
fn without_opcodes() -> Outcome {
    let folder = Folder::new();
    let can = std::panic::catch_unwind(|| folder.dylib("liba.dylib", SOURCE, &["-fixup_chains"]));
    let Ok(path) = can else {
        return Outcome::Skipped("this ld64.lld knows no -fixup_chains".to_owned());
    };
    let (library, trace) = load(&path, Mode::Lazy);
    demo(&library);
    if library.image().tables.has_dyld_info {
        return Outcome::Skipped("this ld64.lld writes opcodes all the same".to_owned());
    }
    let format = trace.records().into_iter().find_map(|record| match record.event {
        Event::Fixups { format, .. } => Some(format),
        _ => None,
    });
    assert_eq!(format, Some("LC_DYLD_CHAINED_FIXUPS"));
    assert_eq!(library.binder_calls(), 0);
    Outcome::Passed
}

/// The folder of `cargo xtask fixtures` with a package whose name begins so; this program is in <target>/<profile>/deps.
fn fixture(package: &str) -> Result<std::path::PathBuf, Outcome> {
    let own = std::env::current_exe().unwrap();
    let fixtures = own.ancestors().nth(3).unwrap().join("fixtures");
    let folders = std::fs::read_dir(fixtures).into_iter().flatten().flatten();
    let found = folders.map(|folder| folder.path()).find(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(package) && folder.join("complete").exists()
    });
    let why = format!("{package} is not fetched; `cargo xtask fixtures macho` fetches it");
    found.ok_or(Outcome::Skipped(why))
}

/// Apple's linker has linked it.
fn chained_as_published() -> Outcome {
    let folder = match fixture("sqlite-vec-darwin-x64") {
        Ok(folder) => folder,
        Err(skipped) => return skipped,
    };
    let (library, trace) = load(&folder.join("vec0.dylib"), Mode::Lazy);
    let format = trace.records().into_iter().find_map(|record| match record.event {
        Event::Fixups { format, counts, .. } => Some((format, counts.lazy, counts.relative > 0)),
        _ => None,
    });
    assert_eq!(format, Some(("LC_DYLD_CHAINED_FIXUPS", 0, true)));
    assert!(library.symbol("sqlite3_vec_init").is_ok());
    Outcome::Passed
}

/// Without a load command that names opcodes, the indirect symbol table says what slots are for, and the symbol table
/// what is exported.
fn older_than_opcodes() {
    let folder = Folder::new();
    let source =
        "extern int getppid(void); extern int getpid(void); long both(void) { return getppid() + getpid(); }";
    let path = folder.dylib("liba.dylib", source, &[]);
    let mut bytes = std::fs::read(&path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, count) = (32, word(16));
    let mut opcodes = None;
    for _ in 0..count {
        // LC_DYLD_INFO_ONLY
        if word(at) == 0x8000_0022 {
            opcodes = Some(at);
        }
        at += word(at + 4) as usize;
    }
    // LC_NOTE, which loaders pass by.
    bytes[opcodes.unwrap()..][..4].copy_from_slice(&0x31u32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let (library, trace) = load(&path, Mode::Lazy);
    let expected = i64::from(std::os::unix::process::parent_id()) + i64::from(std::process::id());
    assert_eq!(call_named(&library, "both"), expected, "{trace}");
    assert_eq!(library.binder_calls(), 0);
    let format = trace.records().into_iter().find_map(|record| match record.event {
        Event::Fixups { format, .. } => Some(format),
        _ => None,
    });
    assert_eq!(format, Some("relocation entries"));
}

/// Each function appends its letter to a text of the library that all need.
fn initializers_and_terminators_in_order() {
    let folder = Folder::new();
    let log = "static char text[64]; static int n; void add(char c) { text[n++] = c; }
        const char *log_text(void) { return text; }";
    folder.dylib("liblog.dylib", log, &[]);
    let of = |letter: char| {
        let (up, end) = (letter.to_ascii_uppercase(), letter);
        format!(
            "void add(char); __attribute__((constructor)) static void first(void) {{ add('{up}'); }}
            __attribute__((constructor)) static void second(void) {{ add('2'); }}
            __attribute__((destructor)) static void last(void) {{ add('{end}'); }} long {letter}_(void) {{ return 1; }}"
        )
    };
    folder.dylib("libc.dylib", &of('c'), &["-llog"]);
    folder.dylib(
        "libb.dylib",
        &format!("{} long c_(void); long use(void) {{ return c_(); }}", of('b')),
        &["-lc", "-llog"],
    );
    let path = folder.dylib("liba.dylib", &of('a'), &["-llog", "-lb", "-lc"]);
    let trace = Trace::new(Detail::Phases);
    let linker = builder(&trace).build();
    let log = linker.dlopen(folder.file("liblog.dylib"), Mode::Now).unwrap();
    let library = linker.dlopen(&path, Mode::Lazy).unwrap();
    let text = || {
        let at = call_named(&log, "log_text") as usize as *const std::ffi::c_char;
        // SAFETY: a text of the library.
        unsafe { std::ffi::CStr::from_ptr(at) }.to_str().unwrap().to_owned()
    };
    assert_eq!(text(), "C2B2A2");
    drop(library);
    assert_eq!(text(), "C2B2A2abc");
    assert_eq!(linker.images().len(), 1);
}

/// `__cxa_atexit` with the image's handle, as C++ has it for destructors of statics.
fn what_was_registered_runs_at_the_end() {
    let folder = Folder::new();
    let source = "extern int __cxa_atexit(void (*)(void *), void *, void *); extern void *__dso_handle; static long *to;
        static void end(void *x) { *to = (long)x; }
        void begin(long *where) { to = where; __cxa_atexit(end, (void *)77, &__dso_handle); }";
    let (library, _) = load(&folder.dylib("liba.dylib", source, &[]), Mode::Lazy);
    let mut seen = 0i64;
    // SAFETY: a function that takes a pointer, and what it points to lives longer than the library.
    unsafe {
        let begin: unsafe extern "C" fn(*mut i64) =
            std::mem::transmute(library.symbol("begin").unwrap().0 as usize as *const ());
        begin(&raw mut seen);
    }
    drop(library);
    assert_eq!(std::hint::black_box(seen), 77);
}

const LOCALS: &str = "__thread long a = 5; __thread long b; static __thread int c[100] = { 1, 2, 3 };
    __thread long *p = 0; static long there = 3; __thread long *q = &there;
    long next(void) { a++; b += 10; c[2]++; return a * 10000 + b * 100 + c[2] + *q * 1000000; }";

fn thread_locals() {
    let folder = Folder::new();
    for mode in [Mode::Lazy, Mode::Now] {
        let (library, _) = load(&folder.dylib("liba.dylib", LOCALS, &[]), mode);
        let next = library.symbol("next").unwrap();
        assert_eq!(call(next), 3_061_004);
        assert_eq!(call(next), 3_072_005);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(call(next), 3_061_004);
                    assert_eq!(call(next), 3_072_005);
                });
            }
        });
        assert_eq!(call(next), 3_083_006);
    }
}

/// Code relies on nothing but the result's register being changed when it asks for a variable's address.
fn thread_locals_keep_registers() {
    let folder = Folder::new();
    let source = "__thread long a = 5;
        long many(long x1, long x2, long x3, long x4, long x5, long x6, double d1, double d2, double d3, double d4) {
            long s = x1 + 2*x2 + 3*x3 + 4*x4 + 5*x5 + 6*x6 + (long)(d1 + 2*d2 + 3*d3 + 4*d4);
            a += x1; return s + a + x1 * 1000 + x6 * 10000 + (long)(d4 * 100000); }
        long get(void) { return many(1, 2, 3, 4, 5, 6, 1., 2., 3., 4.); }";
    let (library, _) = load(&folder.dylib("liba.dylib", source, &[]), Mode::Lazy);
    let expected = (1 + 4 + 9 + 16 + 25 + 36) + (1 + 4 + 9 + 16) + 6 + 1000 + 60_000 + 400_000;
    assert_eq!(call_named(&library, "get"), expected);
}

fn read_only_when_bound() {
    let folder = Folder::new();
    let source = format!(
        "{SOURCE} __attribute__((used, section(\"__DATA_CONST,__own\"))) const void *at = &words;
        const void **where(void) {{ return &at; }}"
    );
    let path = folder.dylib("liba.dylib", &source, &[]);
    make_read_only(&path, "__DATA_CONST");
    let (library, trace) = load(&path, Mode::Lazy);
    demo(&library);
    let at = call_named(&library, "where") as u64;
    let is_protected = trace.records().into_iter().any(|record| match record.event {
        Event::Protect { start, size, .. } => (start..start + size).contains(&at),
        _ => false,
    });
    assert!(is_protected, "{trace}");
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        (number(start)..number(rest.split_once(' ').unwrap().0)).contains(&at)
    });
    assert!(line.unwrap().contains(" r--p "), "{line:?}");
}

/// More zeros than the file has bytes, behind bytes that the file has, in one page and in others.
fn zero_fill() {
    let folder = Folder::new();
    let source = "static long begin = 7; static char zeros[100000]; static long more[3000];
        long sum(void) { long s = begin; for (int i = 0; i < 100000; i++) s += zeros[i]; for (int i = 0; i < 3000; i++) s += more[i];
            zeros[99999] = 1; more[2999] = 2; return s; }";
    let (library, _) = load(&folder.dylib("liba.dylib", source, &[]), Mode::Now);
    assert_eq!(call_named(&library, "sum"), 7);
    assert_eq!(call_named(&library, "sum"), 10);
}

fn opened_twice_is_one() {
    let folder = Folder::new();
    let path = folder.dylib("liba.dylib", SOURCE, &[]);
    std::fs::hard_link(&path, folder.file("other.dylib")).unwrap();
    let linker = builder(&Trace::new(Detail::Phases)).build();
    let first = linker.dlopen(&path, Mode::Lazy).unwrap();
    let second = linker.dlopen(folder.file("other.dylib"), Mode::Lazy).unwrap();
    assert_eq!(first.id(), second.id());
    drop(first);
    assert_eq!(call_named(&second, "demo"), 505);
}

fn closed_is_unmapped() {
    let folder = Folder::new();
    let (library, trace) = load(&folder.dylib("liba.dylib", SOURCE, &[]), Mode::Lazy);
    let (start, _) = library.memory();
    let maps = || done(Command::new("cat").arg(format!("/proc/{}/maps", std::process::id())));
    assert!(maps().contains("/liba.dylib"));
    drop(library);
    assert!(!maps().contains("/liba.dylib"), "{trace}");
    let unloaded = trace.records().into_iter().any(|record| match record.event {
        Event::Unload { start: unloaded, .. } => unloaded == start.0,
        _ => false,
    });
    assert!(unloaded, "{trace}");
}

/// Zig's own linker, which lays out stubs and helpers in another way; it is one of the packages of `cargo xtask fixtures`.
fn linked_by_zig() -> Outcome {
    let zig = match fixture("ziglang") {
        Ok(folder) => folder.join("ziglang/zig"),
        Err(skipped) => return skipped,
    };
    let folder = Folder::new();
    let (source, path) = (folder.file("a.c"), folder.file("liba.dylib"));
    std::fs::write(&source, SOURCE).unwrap();
    let mut cc = Command::new(zig);
    cc.args(["cc", "-target", "x86_64-macos", "-shared", "-O1", "-w", "-o"]).arg(&path).arg(&source);
    cc.env("ZIG_GLOBAL_CACHE_DIR", folder.file("cache")).env("ZIG_LOCAL_CACHE_DIR", folder.file("cache"));
    done(&mut cc);
    for mode in [Mode::Lazy, Mode::Now, Mode::PreboundCheck] {
        let (library, trace) = load(&path, mode);
        demo(&library);
        assert_eq!(library.binder_calls() > 0, mode != Mode::Now, "{trace}");
    }
    Outcome::Passed
}
