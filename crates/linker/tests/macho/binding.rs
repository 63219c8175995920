//! Functions that are bound at their first call.

use crate::build::{Folder, bound, builder, call, call_named, load};
use crate::cases::{Case, cases};
use livepatch_linker::macho::{Library, Mode};
use livepatch_linker::{Precedence, Trap};
use livepatch_object::address::RuntimeAddress;

use livepatch_linker::trace::{Detail, Event, Phase, Trace};
use std::sync::Arc;

pub(crate) const CASES: &[Case] = cases![
    binding::at_the_first_call_once,
    binding::every_step_of_the_way,
    binding::all_arguments_arrive,
    binding::a_tail_call_is_bound_too,
    binding::many_threads_at_once,
    binding::at_once_calls_no_binder,
    binding::looked_up_before_and_compared,
    binding::missing_is_found_out_when_called,
    binding::missing_is_found_out_at_once_in_other_modes,
];

const DEPENDENCY: &str = "long one(long x) { return x + 1; } long two(long x) { return x + 2; }";
const CALLER: &str = "long one(long); long two(long); long get_one(void) { return one(1) + one(1); }
    long get_two(void) { return two(1); }";

fn build(folder: &Folder) -> std::path::PathBuf {
    folder.dylib("libdep.dylib", DEPENDENCY, &[]);
    folder.dylib("liba.dylib", CALLER, &["-ldep"])
}

fn at_the_first_call_once() {
    let folder = Folder::new();
    let (library, trace) = load(&build(&folder), Mode::Lazy);
    assert_eq!(library.binder_calls(), 0);
    assert_eq!(call_named(&library, "get_one"), 4);
    assert_eq!(call_named(&library, "get_one"), 4);
    assert_eq!(bound(&trace), ["_one"]);
    assert_eq!(call_named(&library, "get_two"), 3);
    assert_eq!(call_named(&library, "get_two"), 3);
    assert_eq!(bound(&trace), ["_one", "_two"]);
    assert_eq!(library.binder_calls(), 2);
}

/// Stub, helper, entry, symbol, library, slot: each is where the file says, and leads to the next.
fn every_step_of_the_way() {
    let folder = Folder::new();
    let (library, trace) = load(&build(&folder), Mode::Lazy);
    let image = library.image();
    let stub = image.stubs().into_iter().find(|stub| stub.symbol.as_deref() == Some(b"_one")).unwrap();
    let slide = library.slide();
    let slot = slide.runtime(stub.slot.unwrap()).unwrap();
    let word = || crate::rebinding::word(slot);
    let helpers = image.stub_helpers();
    // Of eleven bytes each, some behind padding.
    let unbound = slide.link(RuntimeAddress(word())).unwrap();
    let helper = helpers
        .entries
        .iter()
        .find(|helper| (0..11).contains(&unbound.distance_from(helper.address)))
        .unwrap();
    assert_eq!(call_named(&library, "get_one"), 4);
    let steps: Vec<Event> = trace
        .records()
        .into_iter()
        .filter(|record| record.phase == Phase::Bind)
        .map(|record| record.event)
        .collect();
    let [
        Event::StubHit { entry, caller, .. },
        Event::Decode { entry: decoded, symbol, ordinal, expected, place, .. },
        Event::Resolve { target, definer, .. },
        Event::Store { place: stored, old, new, .. },
    ] = &steps[..]
    else {
        panic!("{steps:?}");
    };
    let unbound = slide.runtime(unbound).unwrap().0;
    assert_eq!((*entry, *decoded), (u64::from(helper.lazy_entry), u64::from(helper.lazy_entry)));
    assert_eq!((symbol.as_str(), *ordinal), ("_one", 1));
    assert_eq!(expected.as_deref(), Some("@rpath/libdep.dylib"));
    assert_eq!((*place, *stored, *old, *new), (slot.0, slot.0, unbound, *target));
    assert_eq!(word(), *target);
    assert!(definer.as_deref().unwrap().ends_with("/libdep.dylib"));
    // The call is in the image's own code.
    let (start, size) = library.memory();
    assert!((start.0..start.0 + size).contains(caller));
    assert_eq!(*target, library.symbol("one").unwrap().0);
}

/// Integers in registers and on the stack, doubles, vectors, and the count of vector registers that variadic functions
/// look at; the result in several registers, or in memory.
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
    folder.dylib("libdep.dylib", dep, &[]);
    let source = "typedef double v __attribute__((vector_size(16)));
        typedef struct { long a; double b; } both; typedef struct { long a[9]; } big;
        both mixed(long, double, long, double, long, long, long, long, long, float, v, v, double, double, double, double);
        double sum(int, ...); big large(long);
        long get(void) { v s = { 4, 5 }, t = { 6, 7 };
            both z = mixed(1, 1, 2, 2, 3, 4, 5, 6, 7, 3.0f, s, t, 0.5, 0.25, 0.125, 0.0625);
            big b = large(100);
            return (z.a == 7654321) + 10 * (z.b == 7654321.9375) + 100 * (sum(9, 1., 2., 3., 4., 5., 6., 7., 8., 9.) == 45.)
                + 1000 * (b.a[0] == 100 && b.a[8] == 108); }";
    let (library, trace) = load(&folder.dylib("liba.dylib", source, &["-ldep"]), Mode::Lazy);
    assert_eq!(call_named(&library, "get"), 1111);
    let mut names = bound(&trace);
    names.sort();
    assert_eq!(names, ["_large", "_mixed", "_sum"]);
}

/// The call returns to another image than the one whose stub it is: the image is known by what its helper pushes.
fn a_tail_call_is_bound_too() {
    let folder = Folder::new();
    folder.dylib("libdep.dylib", DEPENDENCY, &[]);
    let source = "long one(long); __attribute__((disable_tail_calls)) long plain(long x) { return one(x); }
        long tail(long x) { return one(x); }";
    let (library, trace) = load(&folder.dylib("liba.dylib", source, &["-ldep"]), Mode::Lazy);
    // SAFETY: a function of this type.
    let tail: unsafe extern "C" fn(i64) -> i64 =
        unsafe { std::mem::transmute(library.symbol("tail").unwrap().0 as usize as *const ()) };
    // SAFETY: as above.
    assert_eq!(unsafe { tail(4) }, 5);
    let caller = trace.records().into_iter().find_map(|record| match record.event {
        Event::StubHit { caller, .. } => Some(caller),
        _ => None,
    });
    let (start, size) = library.memory();
    assert!(!(start.0..start.0 + size).contains(&caller.unwrap()), "it was no tail call");
}

/// 8 threads, 1,000 functions, all at once, again and again: each call gets its own function, each slot is bound in the
/// end, and no binder is called any more.
fn many_threads_at_once() {
    const FUNCTIONS: i64 = 1000;
    let folder = Folder::new();
    let functions: String =
        (0..FUNCTIONS).map(|n| format!("long f{n}(long x) {{ return x * 3 + {n}; }}\n")).collect();
    folder.dylib("libdep.dylib", &functions, &[]);
    let declared: String = (0..FUNCTIONS).map(|n| format!("long f{n}(long);\n")).collect();
    let calls: String = (0..FUNCTIONS).map(|n| format!("if (f{n}(x) != x * 3 + {n}) wrong++;\n")).collect();
    let source = format!("{declared} long wrong_of(long x) {{ long wrong = 0; {calls} return wrong; }}");
    let path = folder.dylib("liba.dylib", &source, &["-ldep"]);
    for _ in 0..10 {
        let trace = Trace::new(Detail::Phases);
        let library = builder(&trace).build().dlopen(&path, Mode::Lazy).unwrap();
        // SAFETY: a function of this type.
        let wrong_of: unsafe extern "C" fn(i64) -> i64 =
            unsafe { std::mem::transmute(library.symbol("wrong_of").unwrap().0 as usize as *const ()) };
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    // SAFETY: as above.
                    assert_eq!(unsafe { wrong_of(thread) }, 0);
                });
            }
        });
        let calls = library.binder_calls();
        assert!((1000..=8000).contains(&calls), "{calls}");
        // Every slot that was stored to was seen bound by whoever came later.
        let stores = trace.records().into_iter().filter(|record| match record.event {
            Event::Store { old, new, .. } => old != new,
            _ => false,
        });
        assert_eq!(stores.count(), 1000);
        // SAFETY: as above.
        assert_eq!(unsafe { wrong_of(9) }, 0);
        assert_eq!(library.binder_calls(), calls);
    }
}

fn at_once_calls_no_binder() {
    let folder = Folder::new();
    let (library, trace) = load(&build(&folder), Mode::Now);
    assert_eq!((call_named(&library, "get_one"), call_named(&library, "get_two")), (4, 3));
    assert_eq!(library.binder_calls(), 0);
    assert!(bound(&trace).is_empty());
}

fn warnings(trace: &Trace) -> usize {
    let all = trace.records();
    all.iter().filter(|record| matches!(record.event, Event::Warning { .. })).count()
}

fn looked_up_before_and_compared() {
    let folder = Folder::new();
    let path = build(&folder);
    let (library, trace) = load(&path, Mode::PreboundCheck);
    assert_eq!((call_named(&library, "get_one"), call_named(&library, "get_two")), (4, 3));
    assert_eq!(library.binder_calls(), 2);
    assert_eq!(warnings(&trace), 0, "{trace}");
}

const MISSING: &str =
    "long nowhere(void); long get(void) { return 4; } long fail(void) { return nowhere(); }";

fn missing(folder: &Folder) -> std::path::PathBuf {
    folder.dylib("liba.dylib", MISSING, &["-undefined", "dynamic_lookup"])
}

fn missing_is_found_out_when_called() {
    let folder = Folder::new();
    let path = missing(&folder);
    let (library, _) = load(&path, Mode::Lazy);
    assert_eq!(call_named(&library, "get"), 4);
    // The process ends: in a child.
    let fail = library.symbol("fail").unwrap();
    let said = in_child(|| {
        call(fail);
    });
    assert!(said.contains("Symbol not found: _nowhere"), "{said}");
    let trapping =
        builder(&Trace::new(Detail::Phases)).provider(Precedence::Last, Arc::new(Trap::new())).build();
    let library: Library = trapping.dlopen(&path, Mode::Lazy).unwrap();
    let fail = library.symbol("fail").unwrap();
    let said = in_child(|| {
        call(fail);
    });
    assert!(said.contains("`_nowhere` was called, which nothing defines"), "{said}");
}

/// What a child writes to standard error before it ends by a signal.
fn in_child(action: impl FnOnce()) -> String {
    use std::io::Read as _;
    use std::os::fd::FromRawFd as _;
    let mut pipe = [0; 2];
    // SAFETY: a pipe, and a child that does one thing and ends.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        let child = libc::fork();
        if child == 0 {
            libc::dup2(pipe[1], 2);
            action();
            libc::_exit(0);
        }
        libc::close(pipe[1]);
        let mut said = String::new();
        std::fs::File::from_raw_fd(pipe[0]).read_to_string(&mut said).unwrap();
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        assert!(libc::WIFSIGNALED(status), "{status:#x} {said}");
        said
    }
}

fn missing_is_found_out_at_once_in_other_modes() {
    let folder = Folder::new();
    let path = missing(&folder);
    for mode in [Mode::Now, Mode::PreboundCheck] {
        let error = builder(&Trace::new(Detail::Phases)).build().dlopen(&path, mode).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("Symbol not found: _nowhere\n  Referenced from: "), "{text}");
        assert!(text.ends_with("Expected in: flat namespace"), "{text}");
    }
}
