//! Thread-locals in all four access models, their initial values, destructors, and what closing does to them.

use crate::build::{Folder, call, is_emulated, read, tls_dialect};
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::{Flags, Linker};
use livepatch_object::address::RuntimeAddress;

pub(crate) const CASES: &[Case] = cases![
    thread_locals::general_dynamic_in_several_threads,
    thread_locals::descriptors,
    thread_locals::descriptors_keep_registers,
    thread_locals::descriptor_of_missing_weak,
    thread_locals::of_another_library,
    thread_locals::initial_values_are_relocated,
    thread_locals::alignment_and_zeros,
    thread_locals::initial_exec_of_zeros_with_threads,
    thread_locals::initial_exec_with_value,
    thread_locals::initial_exec_with_value_and_threads_is_an_error,
    thread_locals::initial_exec_beyond_the_reserve_is_an_error,
    thread_locals::of_the_program,
    thread_locals::many_modules,
    thread_locals::reset_by_close,
    thread_locals::dlsym_gives_this_threads,
    thread_locals::destructors_keep_the_library,
    thread_locals::destructors_run_in_order,
];

fn load(path: impl AsRef<std::path::Path>) -> livepatch_linker::Library {
    Linker::new().dlopen(path, Flags::NOW).unwrap_or_else(|error| panic!("{error}"))
}

fn at(library: &livepatch_linker::Library, name: &str) -> RuntimeAddress {
    library.symbol(name).unwrap_or_else(|error| panic!("{error}"))
}

/// Calls a function in a new thread.
fn elsewhere(function: RuntimeAddress) -> i64 {
    std::thread::spawn(move || call(function)).join().unwrap()
}

const COUNTER: &str =
    "static __thread long n = 40; __thread long zero; long next(void) { zero++; return ++n + zero; }";

fn general_dynamic_in_several_threads() {
    let folder = Folder::new();
    let library = load(folder.library("liba.so", COUNTER, &[tls_dialect(false)]));
    let next = at(&library, "next");
    assert_eq!([call(next), call(next), elsewhere(next), elsewhere(next), call(next)], [42, 44, 42, 42, 46]);
}

fn descriptors() {
    let folder = Folder::new();
    let library = load(folder.library("liba.so", COUNTER, &[tls_dialect(true)]));
    let next = at(&library, "next");
    assert_eq!([call(next), call(next), elsewhere(next), call(next)], [42, 44, 42, 46]);
}

/// The compiler takes every register for kept across an access by descriptor.
fn descriptors_keep_registers() {
    let folder = Folder::new();
    let variables: String = (0..30).map(|n| format!("__thread long v{n} = {n}; ")).collect();
    let loads: String = (0..12).map(|n| format!("double d{n} = x * {n}; long i{n} = y * {n};")).collect();
    let sum: Vec<String> = (0..12).map(|n| format!("d{n} + i{n}")).collect();
    let uses: Vec<String> = (0..30).map(|n| format!("v{n}")).collect();
    let source = format!(
        "{variables} __attribute__((noinline)) double work(double x, long y) {{ {loads} long s = {}; return s + {}; }}
        long get(void) {{ return (long)work(0.5, 3); }}",
        uses.join("+"),
        sum.join("+")
    );
    let library = load(folder.library("liba.so", &source, &["-O2", tls_dialect(true)]));
    // 0 + … + 29, and 3.5 times 0 + … + 11.
    let expected = 435 + 231;
    assert_eq!([call(at(&library, "get")), elsewhere(at(&library, "get"))], [expected; 2]);
}

fn descriptor_of_missing_weak() {
    let folder = Folder::new();
    let source =
        "__attribute__((weak)) extern __thread long missing; long get(void) { return &missing == 0; }";
    let library = load(folder.library("liba.so", source, &[tls_dialect(true)]));
    assert_eq!([call(at(&library, "get")), elsewhere(at(&library, "get"))], [1, 1]);
}

fn of_another_library() {
    let folder = Folder::new();
    folder.library("libdep.so", "__thread long shared = 7; long bump(void) { return ++shared; }", &[]);
    let source = "extern __thread long shared; long bump(void); long get(void) { bump(); return shared; }";
    for dialect in [tls_dialect(false), tls_dialect(true)] {
        let library = load(folder.library("liba.so", source, &["-ldep", "-Wl,-rpath,$ORIGIN", dialect]));
        let get = at(&library, "get");
        assert_eq!([call(get), call(get), elsewhere(get)], [8, 9, 8], "{dialect}");
    }
}

fn alignment_and_zeros() {
    let folder = Folder::new();
    let source = "__thread char first = 1; __thread long zeros[1000];
        __thread __attribute__((aligned(256))) long wide = 5;
        long get(void) { long n = 0; for (int i = 0; i < 1000; i++) n += zeros[i]; zeros[999] = 1;
            return n + ((unsigned long)&wide % 256) * 100 + wide * 10 + first; }";
    let library = load(folder.library("liba.so", source, &[]));
    assert_eq!([call(at(&library, "get")), elsewhere(at(&library, "get"))], [51, 51]);
}

const INITIAL_EXEC: &str = "-ftls-model=initial-exec";

fn initial_exec_of_zeros_with_threads() {
    let folder = Folder::new();
    let source = "static __thread long n; long next(void) { return ++n; }";
    let path = folder.library("liba.so", source, &[INITIAL_EXEC]);
    let (send, receive) = std::sync::mpsc::channel();
    let earlier = std::thread::spawn(move || {
        let next: RuntimeAddress = receive.recv().unwrap();
        [call(next), call(next)]
    });
    let library = load(path);
    let next = at(&library, "next");
    send.send(next).unwrap();
    assert_eq!(earlier.join().unwrap(), [1, 2]);
    assert_eq!([call(next), call(next), elsewhere(next)], [1, 2, 1]);
}

fn initial_exec_with_value() -> Outcome {
    if is_emulated() {
        return Outcome::Skipped("the emulator has threads of its own in this process".to_owned());
    }
    let folder = Folder::new();
    let source = "__thread long n = 30; long next(void) { return ++n; }";
    let library = load(folder.library("liba.so", source, &[INITIAL_EXEC]));
    let next = at(&library, "next");
    // Another library that uses it so, too.
    let user = "extern __thread long n; long get(void) { return n; }";
    let user = folder.library("libuser.so", user, &[INITIAL_EXEC, "-la", "-Wl,-rpath,$ORIGIN"]);
    assert_eq!([call(next), elsewhere(next), call(next)], [31, 31, 32]);
    let user = load(user);
    assert_eq!(call(at(&user, "get")), 30);
    Outcome::Passed
}

fn initial_exec_with_value_and_threads_is_an_error() {
    let folder = Folder::new();
    let path =
        folder.library("liba.so", "__thread long n = 30; long next(void) { return ++n; }", &[INITIAL_EXEC]);
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || receive.recv());
    let error = Linker::new().dlopen(&path, Flags::NOW).unwrap_err().to_string();
    let expected = "using IE access model: its initial value is not zero, and other threads run";
    assert!(error.starts_with("TLS symbol \"n\" in dlopened \"") && error.ends_with(expected), "{error}");
    drop(send);
    other.join().unwrap().unwrap_err();
}

fn initial_exec_beyond_the_reserve_is_an_error() {
    let folder = Folder::new();
    let source = "__thread char n[100000]; char *get(void) { return n; }";
    let path = folder.library("liba.so", source, &[INITIAL_EXEC]);
    let error = Linker::new().dlopen(&path, Flags::NOW).unwrap_err().to_string();
    assert!(error.ends_with("there is no room left"), "{error}");
}

/// `errno` is the C library's, by whichever way.
fn of_the_program() {
    let folder = Folder::new();
    let source = "#include <errno.h>
        #include <unistd.h>
        long get(void) { errno = 0; close(-1); return errno; }";
    let library = load(folder.library("liba.so", source, &[]));
    assert_eq!(call(at(&library, "get")), i64::from(libc::EBADF));
}

fn many_modules() {
    let folder = Folder::new();
    let linker = Linker::new();
    let all: Vec<_> = (0..40)
        .map(|n| {
            let source = format!("static __thread long n = {n}; long next(void) {{ return ++n; }}");
            linker.dlopen(folder.library(&format!("lib{n}.so"), &source, &[]), Flags::NOW).unwrap()
        })
        .collect();
    let nexts: Vec<_> = all.iter().map(|library| at(library, "next")).collect();
    for round in 1..3 {
        for (n, next) in nexts.iter().enumerate().rev() {
            assert_eq!(call(*next), n as i64 + round);
        }
    }
    let copy = nexts.clone();
    std::thread::spawn(move || {
        copy.iter().enumerate().for_each(|(n, next)| assert_eq!(call(*next), n as i64 + 1))
    })
    .join()
    .unwrap();
}

fn reset_by_close() {
    let folder = Folder::new();
    let path = folder.library("liba.so", COUNTER, &[]);
    let linker = Linker::new();
    for _ in 0..3 {
        let library = linker.dlopen(&path, Flags::NOW).unwrap();
        let next = at(&library, "next");
        assert_eq!([call(next), call(next), elsewhere(next)], [42, 44, 42]);
    }
}

fn dlsym_gives_this_threads() {
    let folder = Folder::new();
    let source = "__thread long n = 5; void *where(void) { return &n; }";
    let library = load(folder.library("liba.so", source, &[]));
    assert_eq!(at(&library, "n").0 as i64, call(at(&library, "where")));
    assert_eq!(read::<i64>(at(&library, "n")), 5);
    let here = at(&library, "n");
    let there = std::thread::scope(|scope| scope.spawn(|| at(&library, "n")).join().unwrap());
    assert_ne!(here, there);
}

const DESTRUCTOR: &str =
    "int __cxa_thread_atexit_impl(void (*)(void *), void *, void *); extern void *__dso_handle;
    static void destroy(void *p) { ++**(long **)p; } static long *counts; static __thread long *object;
    void set(long *p) { counts = p; }
    long arm(void) { object = counts; return __cxa_thread_atexit_impl(destroy, &object, &__dso_handle); }";

fn destructors_keep_the_library() {
    let folder = Folder::new();
    let path = folder.library("liba.so", DESTRUCTOR, &[]);
    let linker = Linker::new();
    let library = linker.dlopen(&path, Flags::NOW).unwrap();
    let mut count = 0i64;
    // SAFETY: the library's function of this type.
    unsafe {
        let set: unsafe extern "C" fn(*mut i64) =
            std::mem::transmute(at(&library, "set").0 as usize as *const ());
        set(&raw mut count);
    }
    let arm = at(&library, "arm");
    let (armed, is_armed) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        assert_eq!(call(arm), 0);
        armed.send(()).unwrap();
        may_end.recv().unwrap_err();
    });
    is_armed.recv().unwrap();
    library.close();
    assert_eq!(linker.libraries().len(), 1);
    drop(end);
    thread.join().unwrap();
    // SAFETY: the thread that wrote there has ended.
    assert_eq!(unsafe { (&raw const count).read_volatile() }, 1);
    assert_eq!(linker.libraries().len(), 0);
}

fn destructors_run_in_order() -> Outcome {
    if is_emulated() {
        return Outcome::Skipped("there is no C++ compiler for this machine".to_owned());
    }
    let folder = Folder::new();
    let source = "#include <string>
        static char text[16]; struct Note { char c; ~Note() { for (char *t = text; ; t++) if (!*t) { *t = c; break; } } };
        thread_local Note a{'a'}; thread_local Note b{'b'}; thread_local std::string s = \"long enough to be on the heap, surely\";
        extern \"C\" long touch() { return (&a != 0) + (&b != 0) + s.size(); }
        extern \"C\" long said() { return text[0] == 'b' && text[1] == 'a' && text[2] == 0; }";
    let library = load(folder.library_cpp("liba.so", source, &[]));
    // The text has 37 characters.
    assert_eq!(elsewhere(at(&library, "touch")), 39);
    assert_eq!(call(at(&library, "said")), 1);
    Outcome::Passed
}

/// What blocks begin as has addresses in it.
fn initial_values_are_relocated() {
    let folder = Folder::new();
    let source = "static long target = 5; static __thread long *p = &target; long get(void) { return p == &target && *p == 5; }";
    let plain = load(folder.library("liba.so", source, &[]));
    assert_eq!([call(at(&plain, "get")), elsewhere(at(&plain, "get"))], [1, 1]);
    if !is_emulated() {
        let fixed = load(folder.library("libb.so", source, &[INITIAL_EXEC]));
        assert_eq!([call(at(&fixed, "get")), elsewhere(at(&fixed, "get"))], [1, 1]);
    }
}
