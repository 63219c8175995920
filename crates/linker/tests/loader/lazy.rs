//! Functions that are bound at their first call.

use crate::build::{Folder, call, read};
use crate::cases::{Case, cases};
use livepatch_linker::trace::{Detail, Event, Phase, Trace};
use livepatch_linker::{Flags, Linker};
use livepatch_object::address::RuntimeAddress;

pub(crate) const CASES: &[Case] = cases![
    lazy::bound_at_the_first_call_once,
    lazy::all_arguments_arrive,
    lazy::many_threads_at_once,
    lazy::not_where_the_library_forbids_it,
    lazy::relro_is_protected_all_the_same,
    lazy::undefined_is_found_out_when_called,
];

const LAZY: &str = "-Wl,-z,lazy,-z,relro";

fn load(path: std::path::PathBuf, trace: &Trace) -> livepatch_linker::Library {
    let linker = Linker::builder().trace(trace).build();
    linker.dlopen(path, Flags::LAZY).unwrap_or_else(|error| panic!("{error}\n{trace}"))
}

fn bound(trace: &Trace) -> Vec<String> {
    let records = trace.records().into_iter().filter(|record| record.phase == Phase::Bind);
    let symbols = records.filter_map(|record| match record.event {
        Event::Bind { symbol, .. } => Some(symbol),
        _ => None,
    });
    symbols.collect()
}

fn bound_at_the_first_call_once() {
    let folder = Folder::new();
    folder.library("libdep.so", "long one(void) { return 1; } long two(void) { return 2; }", &[]);
    let source = "long one(void); long two(void); long get_one(void) { return one() + one(); } long get_two(void) { return two(); }";
    let path = folder.library("liba.so", source, &["-ldep", "-Wl,-rpath,$ORIGIN", LAZY]);
    let trace = Trace::new(Detail::Phases);
    let library = load(path, &trace);
    let (one, two) = (library.symbol("get_one").unwrap(), library.symbol("get_two").unwrap());
    assert!(!bound(&trace).iter().any(|symbol| symbol == "one" || symbol == "two"), "{trace}");
    assert_eq!(call(one), 2);
    assert_eq!(call(one), 2);
    assert_eq!(bound(&trace).iter().filter(|symbol| *symbol == "one").count(), 1, "{trace}");
    assert!(!bound(&trace).contains(&"two".to_owned()));
    assert_eq!(call(two), 2);
    assert!(bound(&trace).contains(&"two".to_owned()));
}

/// Integers in registers and on the stack, doubles, vectors, and the count of vector registers that variadic
/// functions look at; the result in several registers.
fn all_arguments_arrive() {
    let folder = Folder::new();
    let dep = "#include <stdarg.h>
        typedef double v __attribute__((vector_size(16)));
        typedef struct { long a; double b; } both;
        both mixed(long a, double p, long b, double q, long c, long d, long e, long f, long g, float r, v s, v t, double u, double w, double x, double y) {
            both z = { a + 10*b + 100*c + 1000*d + 10000*e + 100000*f + 1000000*g, p + 10*q + 100*r + 1000*s[0] + 10000*s[1] + 100000*t[0] + 1000000*t[1] + u + w + x + y };
            return z; }
        double sum(int n, ...) { va_list l; va_start(l, n); double s = 0; while (n--) s += va_arg(l, double); va_end(l); return s; }
        typedef struct { long a[9]; } big; big large(long x) { big b; for (int i = 0; i < 9; i++) b.a[i] = x + i; return b; }";
    folder.library("libdep.so", dep, &[]);
    let source = "typedef double v __attribute__((vector_size(16)));
        typedef struct { long a; double b; } both; typedef struct { long a[9]; } big;
        both mixed(long, double, long, double, long, long, long, long, long, float, v, v, double, double, double, double);
        double sum(int, ...); big large(long);
        long get(void) { v s = { 4, 5 }, t = { 6, 7 };
            both z = mixed(1, 1, 2, 2, 3, 4, 5, 6, 7, 3.0f, s, t, 0.5, 0.25, 0.125, 0.0625);
            big b = large(100);
            return (z.a == 7654321) + 10 * (z.b == 7654321.9375) + 100 * (sum(9, 1., 2., 3., 4., 5., 6., 7., 8., 9.) == 45.)
                + 1000 * (b.a[0] == 100 && b.a[8] == 108); }";
    let path = folder.library("liba.so", source, &["-ldep", "-Wl,-rpath,$ORIGIN", LAZY]);
    let trace = Trace::new(Detail::Phases);
    let library = load(path, &trace);
    assert_eq!(call(library.symbol("get").unwrap()), 1111);
    let names = ["large", "mixed", "sum"].map(str::to_owned);
    assert!(names.iter().all(|name| bound(&trace).contains(name)), "{trace}");
}

fn many_threads_at_once() {
    let folder = Folder::new();
    let functions: String = (0..200).map(|n| format!("long f{n}(long x) {{ return x + {n}; }}\n")).collect();
    folder.library("libdep.so", &functions, &[]);
    let declared: String = (0..200).map(|n| format!("long f{n}(long);\n")).collect();
    let calls: Vec<String> = (0..200).map(|n| format!("f{n}(1)")).collect();
    let source = format!("{declared} long get(void) {{ return {}; }}", calls.join(" + "));
    let path = folder.library("liba.so", &source, &["-ldep", "-Wl,-rpath,$ORIGIN", LAZY]);
    for _ in 0..20 {
        let trace = Trace::new(Detail::Phases);
        let library = load(path.clone(), &trace);
        let get = library.symbol("get").unwrap();
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    // Each adds 1, and its number.
                    assert_eq!(call(get), 200 + (0..200).sum::<i64>());
                });
            }
        });
    }
}

fn not_where_the_library_forbids_it() {
    let folder = Folder::new();
    let source = "long getppid(void); long get(void) { return getppid(); }";
    let path = folder.library("liba.so", source, &["-Wl,-z,now"]);
    let trace = Trace::new(Detail::Phases);
    let library = load(path, &trace);
    assert_eq!(call(library.symbol("get").unwrap()), i64::from(std::os::unix::process::parent_id()));
    assert!(bound(&trace).is_empty());
}

fn relro_is_protected_all_the_same() {
    let folder = Folder::new();
    let source = "long getppid(void); extern char **environ; void *const table[] = { &environ };
        long get(void) { return getppid(); } void *const *at(void) { return table; }";
    let path = folder.library("liba.so", source, &[LAZY]);
    let trace = Trace::new(Detail::Phases);
    let library = load(path, &trace);
    assert_eq!(call(library.symbol("get").unwrap()), i64::from(std::os::unix::process::parent_id()));
    assert!(bound(&trace).contains(&"getppid".to_owned()));
    let at = RuntimeAddress(call(library.symbol("at").unwrap()) as u64);
    assert_ne!(read::<u64>(at), 0);
    let protected = trace.records().into_iter().any(|record| match record.event {
        Event::Protect { start, size, .. } => (start..start + size).contains(&at.0),
        _ => false,
    });
    assert!(protected, "{trace}");
}

fn undefined_is_found_out_when_called() {
    let folder = Folder::new();
    let source = "long nowhere(void); long get(void) { return 4; } long fail(void) { return nowhere(); }";
    let path = folder.library("liba.so", source, &[LAZY]);
    assert!(Linker::new().dlopen(&path, Flags::NOW).is_err());
    let library = Linker::new().dlopen(&path, Flags::LAZY).unwrap();
    assert_eq!(call(library.symbol("get").unwrap()), 4);
}
