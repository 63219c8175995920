//! Exceptions, panics and backtraces through loaded code, and what a debugger sees of it.

use crate::build::{Folder, call, done, is_emulated};
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::{Flags, Linker, TellDebugger};
use std::process::Command;

pub(crate) const CASES: &[Case] = cases![
    unwinding::cpp_exception_is_caught_inside,
    unwinding::cpp_exception_passes_two_libraries,
    unwinding::rust_panic_passes_a_c_library,
    unwinding::rust_panic_inside_a_rust_library,
    unwinding::backtrace_names_loaded_functions,
    unwinding::backtrace_of_c_finds_loaded_code,
    unwinding::unloaded_code_is_forgotten,
    unwinding::debugger_knows_loaded_functions,
    unwinding::inferior,
];

fn without_cpp() -> Option<Outcome> {
    let runs = || Command::new("c++").arg("--version").output().is_ok_and(|output| output.status.success());
    let works = !is_emulated() && runs();
    (!works).then(|| Outcome::Skipped("there is no c++".to_owned()))
}

fn cpp_exception_is_caught_inside() -> Outcome {
    if let Some(skipped) = without_cpp() {
        return skipped;
    }
    let folder = Folder::new();
    let source = "#include <stdexcept>
        #include <string>
        static long depth(long n) { if (n == 0) throw std::runtime_error(\"thrown\"); return depth(n - 1) + 1; }
        extern \"C\" long get() { try { return depth(20); }
            catch (const std::runtime_error &e) { return std::string(e.what()) == \"thrown\" ? 42 : -1; } }";
    let linker = Linker::new();
    let library = linker.dlopen(folder.library_cpp("liba.so", source, &[]), Flags::NOW).unwrap();
    assert_eq!(call(library.symbol("get").unwrap()), 42);
    // libstdc++ was loaded here as well: the program has no use for it.
    assert!(linker.libraries().iter().any(|library| library.path().contains("libstdc++")));
    Outcome::Passed
}

fn cpp_exception_passes_two_libraries() -> Outcome {
    if let Some(skipped) = without_cpp() {
        return skipped;
    }
    let folder = Folder::new();
    let throws = "struct Thrown { long n; }; void thrower(long n) { throw Thrown{n}; }";
    folder.library_cpp("libthrows.so", throws, &[]);
    let source = "struct Thrown { long n; }; void thrower(long n);
        struct Counts { long *n; ~Counts() { ++*n; } };
        extern \"C\" long get() { long n = 0; try { Counts c{&n}; thrower(5); } catch (Thrown &t) { return t.n * 10 + n; } return -1; }";
    let path = folder.library_cpp("liba.so", source, &["-lthrows", "-Wl,-rpath,$ORIGIN"]);
    assert_eq!(call(Linker::new().dlopen(path, Flags::LAZY).unwrap().symbol("get").unwrap()), 51);
    Outcome::Passed
}

extern "C-unwind" fn panics() {
    panic!("through C");
}

fn rust_panic_passes_a_c_library() {
    let folder = Folder::new();
    let source = "void through(void (*f)(void)) { volatile char pad[64]; pad[0] = 1; f(); pad[1] = 2; }";
    let path = folder.library("liba.so", source, &["-fexceptions"]);
    let library = Linker::new().dlopen(path, Flags::NOW).unwrap();
    let through = library.symbol("through").unwrap();
    // SAFETY: the library's function of this type, built with unwind tables.
    let through: unsafe extern "C-unwind" fn(extern "C-unwind" fn()) =
        unsafe { std::mem::transmute(through.0 as usize as *const ()) };
    // SAFETY: as above.
    let caught = std::panic::catch_unwind(|| unsafe { through(panics) }).unwrap_err();
    assert_eq!(caught.downcast_ref::<&str>(), Some(&"through C"));
}

fn rust_panic_inside_a_rust_library() -> Outcome {
    if is_emulated() {
        return Outcome::Skipped("rustc builds for this machine's own processor".to_owned());
    }
    let folder = Folder::new();
    let source = folder.file("a.rs");
    std::fs::write(
        &source,
        "#[unsafe(no_mangle)] pub extern \"C\" fn get() -> i64 {
            let caught = std::panic::catch_unwind(|| { let v: Vec<i64> = Vec::new(); v[std::hint::black_box(3)] });
            std::thread_local!(static N: std::cell::RefCell<Vec<i64>> = const { std::cell::RefCell::new(Vec::new()) });
            N.with(|n| n.borrow_mut().push(7));
            std::thread::spawn(|| N.with(|n| n.borrow().len() as i64)).join().unwrap() * 100
                + N.with(|n| n.borrow()[0]) + i64::from(caught.is_err()) }",
    )
    .unwrap();
    let output = folder.file("liba.so");
    done(Command::new("rustc").args(["--crate-type", "cdylib", "-O", "-o"]).arg(&output).arg(&source));
    let library = Linker::new().dlopen(output, Flags::NOW).unwrap();
    assert_eq!(call(library.symbol("get").unwrap()), 8);
    library.leak();
    Outcome::Passed
}

extern "C" fn take_backtrace() -> i64 {
    let text = std::backtrace::Backtrace::force_capture().to_string();
    assert!(text.contains("a_function_of_a_loaded_library"), "{text}");
    1
}

fn backtrace_names_loaded_functions() {
    let folder = Folder::new();
    let source =
        "long a_function_of_a_loaded_library(long (*f)(void)) { volatile long n = f(); return n + 1; }";
    let path = folder.library("liba.so", source, &["-g"]);
    let library = Linker::new().dlopen(path, Flags::NOW).unwrap();
    let function = library.symbol("a_function_of_a_loaded_library").unwrap();
    // SAFETY: the library's function of this type.
    let n = unsafe {
        let function: unsafe extern "C" fn(extern "C" fn() -> i64) -> i64 =
            std::mem::transmute(function.0 as usize as *const ());
        function(take_backtrace)
    };
    assert_eq!(n, 2);
}

fn backtrace_of_c_finds_loaded_code() {
    let folder = Folder::new();
    let source = "#include <execinfo.h>
        __attribute__((noinline)) long inner(void **all) { volatile long n = backtrace(all, 64); return n; }
        long get(void) { void *all[64]; volatile long n = inner(all); long own = 0;
            for (long i = 0; i < n; i++) own += (char *)all[i] > (char *)inner - 4096 && (char *)all[i] < (char *)inner + 4096;
            return own * 100 + (n > 4); }";
    let library = Linker::new().dlopen(folder.library("liba.so", source, &[]), Flags::NOW).unwrap();
    assert_eq!(call(library.symbol("get").unwrap()), 201);
}

fn unloaded_code_is_forgotten() {
    let folder = Folder::new();
    let source = "#define _GNU_SOURCE
        #include <link.h>
        #include <string.h>
        static int each(struct dl_phdr_info *i, size_t s, void *d) { if (strstr(i->dlpi_name, \"libgone.so\")) ++*(long *)d; return 0; }
        long get(void) { long n = 0; dl_iterate_phdr(each, &n); return n; }";
    let linker = Linker::new();
    let library = linker.dlopen(folder.library("liba.so", source, &[]), Flags::NOW).unwrap();
    let gone = linker.dlopen(folder.library("libgone.so", "long x;", &[]), Flags::NOW).unwrap();
    let get = library.symbol("get").unwrap();
    assert_eq!(call(get), 1);
    gone.close();
    assert_eq!(call(get), 0);
}

/// Environment variable: the library that [`inferior`] loads.
const LIBRARY: &str = "LIVEPATCH_LINKER_TEST_LIBRARY";

/// Runs under the debugger.
fn inferior() -> Outcome {
    let Some(path) = std::env::var_os(LIBRARY) else {
        return Outcome::Skipped("it is a part of another case".to_owned());
    };
    let linker = Linker::builder().debugger(TellDebugger::IfTraced).build();
    let library = linker.dlopen(path, Flags::NOW).unwrap();
    call(library.symbol("outer").unwrap());
    Outcome::Passed
}

fn debugger_knows_loaded_functions() -> Outcome {
    if is_emulated() {
        return Outcome::Skipped("gdb does not trace what is emulated".to_owned());
    }
    if Command::new("gdb").arg("--version").output().is_err() {
        return Outcome::Skipped("there is no gdb".to_owned());
    }
    let folder = Folder::new();
    let source = "#include <stdlib.h>
        __attribute__((noinline)) static long innermost(void) { abort(); }
        __attribute__((noinline)) long middle(void) { return innermost() + 1; }
        long outer(void) { return middle() + 1; }";
    let path = folder.library("liba.so", source, &["-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]);
    let own = std::env::current_exe().unwrap();
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "run", "-ex", "backtrace"]);
    gdb.arg(own).env(LIBRARY, path).env(crate::cases::CASE, "unwinding::inferior");
    let output = gdb.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("ptrace") && said.contains("not permitted") {
        return Outcome::Skipped("gdb may not trace here".to_owned());
    }
    let at = |name: &str| said.find(&format!(" in {name} ()"));
    let order = [at("innermost"), at("middle"), at("outer")];
    let backtrace = said.split("SIGABRT").nth(1).unwrap_or_default();
    assert!(
        order.is_sorted() && order[0].is_some(),
        "{backtrace}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(backtrace.contains("run_case"), "{backtrace}");
    Outcome::Passed
}
