//! `dlopen`, `dlsym`, `dlclose` and what they promise, as Android's linker is known to keep it.

use crate::build::{Folder, call, read};
use crate::cases::{Case, cases};
use livepatch_linker::trace::{Detail, Event, Trace};
use livepatch_linker::{Flags, Linker, LinkerError};
use std::path::Path;
use std::process::Command;

pub(crate) const CASES: &[Case] = cases![
    dlfcn::constructor_runs_at_dlopen,
    dlfcn::constructor_gets_the_programs_arguments,
    dlfcn::constructor_may_open_libraries,
    dlfcn::order_of_initialisers_and_finalisers,
    dlfcn::empty_entries_of_arrays_are_skipped,
    dlfcn::no_load,
    dlfcn::by_soname,
    dlfcn::link_to_the_same_file,
    dlfcn::breadth_first_symbols,
    dlfcn::relocation_order_siblings,
    dlfcn::relocation_order_grandchild_after_child,
    dlfcn::relocation_order_nephew,
    dlfcn::relocation_order_program_first,
    dlfcn::relocation_order_preloaded_before_needed,
    dlfcn::symbolic_prefers_its_own,
    dlfcn::local_and_global,
    dlfcn::df_1_global,
    dlfcn::dependency_loop,
    dlfcn::failing_loop_is_rolled_back,
    dlfcn::unloads_dependencies,
    dlfcn::no_delete_by_flag,
    dlfcn::no_delete_by_second_open,
    dlfcn::no_delete_by_dt_flags_1,
    dlfcn::stays_while_others_are_bound_to_it,
    dlfcn::undefined_weak_is_null,
    dlfcn::undefined_strong_is_an_error,
    dlfcn::missing_library_is_an_error,
    dlfcn::rtld_default_and_next,
    dlfcn::versions,
    dlfcn::runpath_relative_and_absolute,
    dlfcn::dlerror_is_per_thread,
    dlfcn::dladdr_names_symbols,
    dlfcn::bad_flags,
    dlfcn::libraries_are_listed,
    dlfcn::opened_many_times,
];

fn open(linker: &Linker, path: impl AsRef<Path>) -> livepatch_linker::Library {
    linker.dlopen(path, Flags::NOW).unwrap_or_else(|error| panic!("{error}"))
}

fn number(library: &livepatch_linker::Library, name: &str) -> i64 {
    call(library.symbol(name).unwrap_or_else(|error| panic!("{error}")))
}

fn is_loaded(linker: &Linker, name: &str) -> bool {
    linker.libraries().iter().any(|library| library.path().ends_with(name))
}

fn constructor_runs_at_dlopen() {
    let folder = Folder::new();
    let source = "static long n; __attribute__((constructor)) static void c(void) { n = 42; }
        long get(void) { return n; }";
    let library = open(&Linker::new(), folder.library("liba.so", source, &[]));
    assert_eq!(number(&library, "get"), 42);
}

fn constructor_gets_the_programs_arguments() {
    let folder = Folder::new();
    let source = "static long n; extern char **environ;
        __attribute__((constructor)) static void c(int argc, char **argv, char **envp)
        { n = argc == 1 && argv[0][0] == '/' && argv[1] == 0 && envp == environ; }
        long get(void) { return n; }";
    let library = open(&Linker::new(), folder.library("liba.so", source, &[]));
    assert_eq!(number(&library, "get"), 1);
}

fn constructor_may_open_libraries() {
    let folder = Folder::new();
    let inner = folder.library("libinner.so", "long inner(void) { return 7; }", &[]);
    let source = format!(
        "#include <dlfcn.h>
        static long n; __attribute__((constructor)) static void c(void) {{
            void *h = dlopen(\"{}\", RTLD_NOW); long (*f)(void) = dlsym(h, \"inner\"); n = f(); }}
        long get(void) {{ return n; }}",
        inner.display()
    );
    let linker = Linker::new();
    let library = open(&linker, folder.library("libouter.so", &source, &[]));
    assert_eq!(number(&library, "get"), 7);
    assert!(is_loaded(&linker, "libinner.so"));
}

/// A library whose initialiser and finaliser append to a text of the library `log`.
fn logging(folder: &Folder, name: &str, needs: &[&str]) {
    let letter = name.trim_start_matches("lib").trim_end_matches(".so");
    let source = format!(
        "void note(const char *); __attribute__((constructor)) static void c(void) {{ note(\"+{letter}\"); }}
        __attribute__((destructor)) static void d(void) {{ note(\"-{letter}\"); }}"
    );
    let origin = "-Wl,-rpath,$ORIGIN";
    let needs: Vec<String> = needs.iter().map(|need| format!("-l{need}")).collect();
    let mut arguments = vec![origin, "-llog"];
    arguments.extend(needs.iter().map(String::as_str));
    folder.library(name, &source, &arguments);
}

const LOG: &str = "char text[256]; void note(const char *t) { __builtin_strcat(text, t); }";

fn order_of_initialisers_and_finalisers() {
    let folder = Folder::new();
    let log = folder.library("liblog.so", LOG, &[]);
    logging(&folder, "libgrand.so", &[]);
    logging(&folder, "libchild.so", &["grand"]);
    logging(&folder, "libroot.so", &["child"]);
    let linker = Linker::new();
    let log = open(&linker, log);
    let root = open(&linker, folder.file("libroot.so"));
    let text = log.symbol("text").unwrap();
    let said = || String::from_utf8_lossy(&read::<[u8; 256]>(text)).trim_end_matches('\0').to_owned();
    assert_eq!(said(), "+grand+child+root");
    root.close();
    assert_eq!(said(), "+grand+child+root-root-child-grand");
}

fn empty_entries_of_arrays_are_skipped() {
    let folder = Folder::new();
    let source = "static long n; static void c(void) { n++; }
        __attribute__((section(\".init_array\"), used)) static void *all[] = { 0, (void *)-1, c, 0 };
        long get(void) { return n; }";
    let library = open(&Linker::new(), folder.library("liba.so", source, &[]));
    assert_eq!(number(&library, "get"), 1);
}

fn no_load() {
    let folder = Folder::new();
    let path = folder.library("liba.so", "long get(void) { return 1; }", &[]);
    let linker = Linker::new();
    let error = linker.dlopen(&path, Flags::NOW.no_load()).unwrap_err();
    let text = format!("library \"{}\" wasn't loaded and RTLD_NOLOAD prevented it", path.display());
    assert_eq!(error.to_string(), text);
    let library = open(&linker, &path);
    let again = linker.dlopen(&path, Flags::NOW.no_load()).unwrap();
    assert_eq!(library.id(), again.id());
}

fn by_soname() {
    let folder = Folder::new();
    let path = folder.library("libfile.so", "long get(void) { return 1; }", &["-Wl,-soname,libname.so"]);
    let linker = Linker::new();
    let library = open(&linker, path);
    assert_eq!(open(&linker, "libname.so").id(), library.id());
}

fn link_to_the_same_file() {
    let folder = Folder::new();
    let path = folder.library("liba.so", "long get(void) { return 1; }", &[]);
    let link = folder.file("libother.so");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let linker = Linker::new();
    assert_eq!(open(&linker, path).id(), open(&linker, link).id());
}

fn breadth_first_symbols() {
    let folder = Folder::new();
    let origin = "-Wl,-rpath,$ORIGIN";
    folder.library("libdeep.so", "long deep(void) { return 3; } long both(void) { return 3; }", &[]);
    folder.library("libleft.so", "long left(void) { return 1; }", &["-ldeep", origin]);
    folder.library("libright.so", "long right(void) { return 2; } long both(void) { return 2; }", &[origin]);
    let root = folder.library("libroot.so", "", &["-lleft", "-lright", origin]);
    let library = open(&Linker::new(), root);
    let all = ["left", "right", "deep", "both"].map(|name| number(&library, name));
    assert_eq!(all, [1, 2, 3, 2]);
}

fn relocation_order_siblings() {
    let folder = Folder::new();
    let origin = "-Wl,-rpath,$ORIGIN";
    folder.library("liba.so", "long who(void) { return 1; }", &[]);
    folder.library("libb.so", "long who(void) { return 2; } long b(void) { return who(); }", &[]);
    let root = folder.library(
        "libroot.so",
        "long who(void); long get(void) { return who(); }",
        &["-la", "-lb", origin],
    );
    let library = open(&Linker::new(), root);
    // The first that is needed, for the second too.
    assert_eq!([number(&library, "get"), number(&library, "b")], [1, 1]);
}

fn relocation_order_grandchild_after_child() {
    let folder = Folder::new();
    let origin = "-Wl,-rpath,$ORIGIN";
    folder.library("libgrand.so", "long who(void) { return 3; } long g(void) { return who(); }", &[]);
    folder.library("libchild.so", "long x;", &["-lgrand", origin]);
    folder.library("libsecond.so", "long who(void) { return 2; }", &[]);
    let source = "long who(void); long get(void) { return who(); }";
    let root = folder.library("libroot.so", source, &["-lchild", "-lsecond", origin]);
    let library = open(&Linker::new(), root);
    assert_eq!([number(&library, "get"), number(&library, "g")], [2, 2]);
}

fn relocation_order_nephew() {
    let folder = Folder::new();
    let origin = "-Wl,-rpath,$ORIGIN";
    folder.library("libnephew.so", "long who(void) { return 4; }", &[]);
    folder.library("libbrother.so", "long x;", &["-lnephew", origin]);
    folder.library(
        "libuncle.so",
        "long who(void) __attribute__((weak)); long u(void) { return who ? who() : 0; }",
        &[],
    );
    let root = folder.library("libroot.so", "", &["-lbrother", "-luncle", origin]);
    assert_eq!(number(&open(&Linker::new(), root), "u"), 4);
}

/// What the program and its libraries define is meant, whatever the library has of that name; who asks the library
/// itself gets its own.
/// What is preloaded into the program comes before all that a library needs.
fn relocation_order_preloaded_before_needed() {
    const CHILD: &str = "LIVEPATCH_LINKER_PRELOADED";
    if let Ok(path) = std::env::var(CHILD) {
        let library = Linker::new().dlopen(path, Flags::NOW).unwrap();
        println!("{}", number(&library, "get"));
        return;
    }
    let folder = Folder::new();
    let preloaded = folder.library("libpreloaded.so", "long which(void) { return 1; }", &[]);
    folder.library("libneeded.so", "long which(void) { return 2; }", &[]);
    let source = "long which(void); long get(void) { return which(); }";
    let user = folder.library("libuser.so", source, &["-lneeded", "-Wl,-rpath,$ORIGIN"]);
    let with = |preload: Option<&Path>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(CHILD, &user).envs(preload.map(|path| ("LD_PRELOAD", path)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(with(None), "2\n");
    assert_eq!(with(Some(&preloaded)), "1\n");
}

fn relocation_order_program_first() {
    let folder = Folder::new();
    let source = "long getppid(void) { return -5; } long get(void) { return getppid(); }";
    let library = open(&Linker::new(), folder.library("liba.so", source, &[]));
    assert_eq!(number(&library, "get"), i64::from(std::os::unix::process::parent_id()));
    assert_eq!(number(&library, "getppid"), -5);
}

fn symbolic_prefers_its_own() {
    let folder = Folder::new();
    let origin = "-Wl,-rpath,$ORIGIN";
    folder.library("liba.so", "long who(void) { return 1; }", &[]);
    let source = "long who(void) { return 2; } long (*volatile p)(void) = who; long b(void) { return p(); }";
    folder.library("libb.so", source, &["-Wl,-Bsymbolic"]);
    let root = folder.library("libroot.so", "", &["-la", "-lb", origin]);
    assert_eq!(number(&open(&Linker::new(), root), "b"), 2);
}

fn local_and_global() {
    let folder = Folder::new();
    let provides = folder.library("libprovides.so", "long given(void) { return 5; }", &[]);
    let source = "long given(void); long get(void) { return given(); }";
    let wants = folder.library("libwants.so", source, &[]);
    let linker = Linker::new();
    let local = open(&linker, &provides);
    let error = linker.dlopen(&wants, Flags::NOW).unwrap_err();
    let text = format!("cannot locate symbol \"given\" referenced by \"{}\"...", wants.display());
    assert_eq!(error.to_string(), text);
    assert!(linker.default_symbol("given").is_err());
    local.close();
    let _global = linker.dlopen(&provides, Flags::NOW.global()).unwrap();
    assert_eq!(call(linker.default_symbol("given").unwrap()), 5);
    assert_eq!(number(&open(&linker, &wants), "get"), 5);
}

fn df_1_global() {
    let folder = Folder::new();
    let provides = folder.library("libprovides.so", "long given(void) { return 5; }", &["-Wl,-z,global"]);
    let wants = folder.library("libwants.so", "long given(void); long get(void) { return given(); }", &[]);
    let linker = Linker::new();
    let _provides = open(&linker, provides);
    assert_eq!(number(&open(&linker, wants), "get"), 5);
}

fn dependency_loop() {
    let folder = Folder::new();
    let origin = "-Wl,-rpath,$ORIGIN";
    let undefined = "-Wl,--unresolved-symbols=ignore-all";
    folder.library("libb.so", "", &[]);
    folder.library("liba.so", "long b(void); long a(void) { return b() + 1; }", &["-lb", origin]);
    folder.library("libb.so", "long c(void); long b(void) { return c() + 1; }", &["-la", origin, undefined]);
    folder.library("libc_.so", "long c(void) { return 1; }", &["-la", origin]);
    folder.library("libb.so", "long c(void); long b(void) { return c() + 1; }", &["-lc_", origin]);
    let linker = Linker::new();
    let library = open(&linker, folder.file("liba.so"));
    assert_eq!(number(&library, "a"), 3);
    library.close();
    assert_eq!(linker.libraries().len(), 0);
}

fn failing_loop_is_rolled_back() {
    let folder = Folder::new();
    let origin = "-Wl,-rpath,$ORIGIN";
    folder.library("libb.so", "", &[]);
    folder.library("libgone.so", "", &[]);
    folder.library("liba.so", "long a;", &["-lb", origin]);
    folder.library("libb.so", "long b;", &["-la", "-lgone", origin]);
    std::fs::remove_file(folder.file("libgone.so")).unwrap();
    let trace = Trace::new(Detail::Phases);
    let linker = Linker::builder().trace(&trace).build();
    let error = linker.dlopen(folder.file("liba.so"), Flags::NOW).unwrap_err();
    let by = folder.file("libb.so").canonicalize().unwrap();
    let text = format!("library \"libgone.so\" not found: needed by {} in namespace (default)", by.display());
    assert_eq!(error.to_string(), text);
    assert_eq!(linker.libraries().len(), 0);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("liba.so") && !maps.contains("libb.so"), "{maps}");
    assert!(trace.records().iter().any(|record| matches!(record.event, Event::Failed { .. })));
}

fn unloads_dependencies() {
    let folder = Folder::new();
    folder.library("libdep.so", "long d(void) { return 1; }", &[]);
    let source = "long d(void); long get(void) { return d(); }";
    let path = folder.library("liba.so", source, &["-ldep", "-Wl,-rpath,$ORIGIN"]);
    let linker = Linker::new();
    let library = open(&linker, &path);
    assert_eq!(linker.libraries().len(), 2);
    let again = open(&linker, path);
    library.close();
    assert_eq!(number(&again, "get"), 1);
    again.close();
    assert_eq!(linker.libraries().len(), 0);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("libdep.so") && !maps.contains("liba.so"), "{maps}");
}

fn counter(folder: &Folder, arguments: &[&str]) -> std::path::PathBuf {
    folder.library("libcounter.so", "static long n; long next(void) { return ++n; }", arguments)
}

fn no_delete_by_flag() {
    let folder = Folder::new();
    let (linker, path) = (Linker::new(), counter(&folder, &[]));
    let library = linker.dlopen(&path, Flags::NOW.no_delete()).unwrap();
    assert_eq!(number(&library, "next"), 1);
    library.close();
    assert_eq!(number(&open(&linker, path), "next"), 2);
}

fn no_delete_by_second_open() {
    let folder = Folder::new();
    let (linker, path) = (Linker::new(), counter(&folder, &[]));
    let library = open(&linker, &path);
    assert_eq!(number(&library, "next"), 1);
    linker.dlopen(&path, Flags::NOW.no_delete()).unwrap().close();
    library.close();
    assert_eq!(number(&open(&linker, path), "next"), 2);
}

fn no_delete_by_dt_flags_1() {
    let folder = Folder::new();
    let (linker, path) = (Linker::new(), counter(&folder, &["-Wl,-z,nodelete"]));
    let library = open(&linker, &path);
    assert_eq!(number(&library, "next"), 1);
    library.close();
    assert_eq!(number(&open(&linker, path), "next"), 2);
    let folder = Folder::new();
    let plain = counter(&folder, &[]);
    assert_eq!(number(&open(&linker, &plain), "next"), 1);
    assert_eq!(number(&open(&linker, &plain), "next"), 1);
}

/// A library that is needed by nobody, but was global when another one was bound to it.
fn stays_while_others_are_bound_to_it() {
    let folder = Folder::new();
    let provides = folder.library("libprovides.so", "long given(void) { return 5; }", &[]);
    let wants = folder.library("libwants.so", "long given(void); long get(void) { return given(); }", &[]);
    let linker = Linker::new();
    let global = linker.dlopen(&provides, Flags::NOW.global()).unwrap();
    let wants = open(&linker, wants);
    global.close();
    assert_eq!(number(&wants, "get"), 5);
    wants.close();
    assert_eq!(linker.libraries().len(), 0);
}

fn undefined_weak_is_null() {
    let folder = Folder::new();
    let source = "__attribute__((weak)) long nowhere(void); __attribute__((weak)) extern long at;
        long get(void) { return nowhere == 0 && &at == 0; }";
    assert_eq!(number(&open(&Linker::new(), folder.library("liba.so", source, &[])), "get"), 1);
}

fn undefined_strong_is_an_error() {
    let folder = Folder::new();
    let path = folder.library("liba.so", "long nowhere(void); long get(void) { return nowhere(); }", &[]);
    let linker = Linker::new();
    let error = linker.dlopen(&path, Flags::NOW).unwrap_err();
    let expected = format!("cannot locate symbol \"nowhere\" referenced by \"{}\"...", path.display());
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, LinkerError::Unresolved { .. }));
    assert_eq!(linker.libraries().len(), 0);
}

fn missing_library_is_an_error() {
    let error = Linker::new().dlopen("libnosuch.so", Flags::NOW).unwrap_err();
    assert_eq!(error.to_string(), "library \"libnosuch.so\" not found");
    let error = Linker::new().dlopen("/nowhere/libnosuch.so", Flags::NOW).unwrap_err();
    assert_eq!(error.to_string(), "library \"/nowhere/libnosuch.so\" not found");
}

fn rtld_default_and_next() {
    let folder = Folder::new();
    let origin = "-Wl,-rpath,$ORIGIN";
    folder.library("libnext.so", "long who(void) { return 2; }", &[]);
    let source = "#define _GNU_SOURCE
        #include <dlfcn.h>
        long who(void) { return 1; }
        static long by(void *h, const char *n) { long (*f)(void) = dlsym(h, n); return f ? f() : -1; }
        long by_default(void) { return by(RTLD_DEFAULT, \"who\"); }
        long by_next(void) { return by(RTLD_NEXT, \"who\"); }
        long of_program(void) { return dlsym(RTLD_DEFAULT, \"getpid\") != 0; }
        long of_nobody(void) { return dlsym(RTLD_DEFAULT, \"no_such_symbol\") == 0; }";
    let library = open(&Linker::new(), folder.library("liba.so", source, &["-lnext", origin]));
    let all = ["by_default", "by_next", "of_program", "of_nobody"].map(|name| number(&library, name));
    assert_eq!(all, [1, 2, 1, 1]);
}

fn versions() {
    let folder = Folder::new();
    let script = folder.file("versions");
    std::fs::write(&script, "V1 { global: who; local: *; }; V2 { global: who; } V1;").unwrap();
    let source = "__asm__(\".symver who1, who@V1\"); __asm__(\".symver who2, who@@V2\");
        long who1(void) { return 1; } long who2(void) { return 2; }";
    let script_argument = format!("-Wl,--version-script,{}", script.display());
    folder.library("libversioned.so", source, &[&script_argument]);
    let origin = "-Wl,-rpath,$ORIGIN";
    let old = "__asm__(\".symver who, who@V1\"); long who(void); long get(void) { return who(); }";
    let old = folder.library("libold.so", old, &["-lversioned", origin]);
    let new = folder.library(
        "libnew.so",
        "long who(void); long get(void) { return who(); }",
        &["-lversioned", origin],
    );
    let linker = Linker::new();
    assert_eq!(number(&open(&linker, old), "get"), 1);
    assert_eq!(number(&open(&linker, new), "get"), 2);
    let library = open(&linker, folder.file("libversioned.so"));
    assert_eq!(number(&library, "who"), 2);
    assert_eq!(call(library.versioned_symbol("who", "V1").unwrap()), 1);
    assert_eq!(call(library.versioned_symbol("who", "V2").unwrap()), 2);
    let error = library.versioned_symbol("who", "V3").unwrap_err();
    assert_eq!(error.to_string(), "undefined symbol: who, version V3");
}

fn runpath_relative_and_absolute() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("inner")).unwrap();
    folder.library("inner/libdep.so", "long d(void) { return 8; }", &[]);
    let source = "long d(void); long get(void) { return d(); }";
    let inner = format!("-L{}", folder.file("inner").display());
    let relative = ["-Wl,--enable-new-dtags,-rpath,$ORIGIN/inner", &inner, "-ldep"];
    let relative = folder.library("librelative.so", source, &relative);
    let absolute = format!("-Wl,--enable-new-dtags,-rpath,/nowhere:{}", folder.file("inner").display());
    let absolute = folder.library("libabsolute.so", source, &[&absolute, &inner, "-ldep"]);
    let without = folder.library("libwithout.so", source, &[&inner, "-ldep"]);
    for path in [relative, absolute] {
        assert_eq!(number(&open(&Linker::new(), path), "get"), 8);
    }
    assert!(Linker::new().dlopen(without, Flags::NOW).is_err());
}

fn dlerror_is_per_thread() {
    let folder = Folder::new();
    let source = "#include <dlfcn.h>
        long fail(void) { return dlopen(\"libnosuch.so\", RTLD_NOW) == 0; }
        const char *said(void) { return dlerror(); }";
    let library = open(&Linker::new(), folder.library("liba.so", source, &[]));
    let said = library.symbol("said").unwrap();
    assert_eq!(number(&library, "fail"), 1);
    std::thread::spawn(move || assert_eq!(call(said), 0)).join().unwrap();
    let text = call(said) as *const std::ffi::c_char;
    // SAFETY: `dlerror` returns a text.
    let text = unsafe { std::ffi::CStr::from_ptr(text) }.to_str().unwrap();
    assert!(text.starts_with("dlopen failed: library \"libnosuch.so\" not found: needed by "), "{text}");
    assert_eq!(call(said), 0);
}

fn dladdr_names_symbols() {
    let folder = Folder::new();
    let source = "#define _GNU_SOURCE
        #include <dlfcn.h>
        #include <string.h>
        long named(void) { return 1; }
        long inside(void) { Dl_info i; return dladdr((char *)named + 1, &i) && !strcmp(i.dli_sname, \"named\")
            && i.dli_saddr == named && strstr(i.dli_fname, \"liba.so\") != 0; }
        long of_program(void) { Dl_info i; return dladdr(&strlen, &i) && strstr(i.dli_fname, \"libc.so\") != 0; }
        long nowhere(void) { Dl_info i; return dladdr((void *)16, &i) == 0; }";
    let linker = Linker::new();
    let library = open(&linker, folder.library("liba.so", source, &["-fno-builtin"]));
    let all = ["inside", "of_program", "nowhere"].map(|name| number(&library, name));
    assert_eq!(all, [1, 1, 1]);
    let named = library.symbol("named").unwrap();
    let info = linker.dladdr(named).unwrap();
    assert_eq!(info.symbol, Some(("named".to_owned(), named)));
    assert_eq!(info.base, library.memory().unwrap().0);
}

fn bad_flags() {
    let error = Flags::from_bits(0x40_0000).unwrap_err();
    assert_eq!(error.to_string(), "invalid flags to dlopen: 400000");
    assert_eq!(Flags::from_bits(libc::RTLD_NOW | libc::RTLD_GLOBAL).unwrap(), Flags::NOW.global());
    assert_eq!(Flags::from_bits(libc::RTLD_LAZY).unwrap(), Flags::LAZY);
}

fn libraries_are_listed() {
    let folder = Folder::new();
    let source = "#define _GNU_SOURCE
        #include <link.h>
        #include <string.h>
        static int each(struct dl_phdr_info *i, size_t s, void *d) {
            if (strstr(i->dlpi_name, \"liba.so\")) {
                for (int n = 0; n < i->dlpi_phnum; n++) if (i->dlpi_phdr[n].p_type == PT_DYNAMIC) ++*(long *)d; }
            return 0; }
        long count(void) { long n = 0; dl_iterate_phdr(each, &n); return n; }";
    let linker = Linker::new();
    let library = open(&linker, folder.library("liba.so", source, &[]));
    assert_eq!(number(&library, "count"), 1);
    assert!(is_loaded(&linker, "liba.so"));
}

fn opened_many_times() {
    let folder = Folder::new();
    let path = folder.library("liba.so", "__thread long t = 3; long get(void) { return t++; }", &[]);
    let linker = Linker::new();
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    open(&linker, &path).close();
    let before = maps();
    for _ in 0..200 {
        let library = open(&linker, &path);
        assert_eq!([number(&library, "get"), number(&library, "get")], [3, 4]);
    }
    assert!(maps() <= before + 2, "{} mappings, {before} before", maps());
}
