//! C++ exceptions through images, whose frames only compact tables describe.

use crate::build::{Folder, builder, call, call_named, load};
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::macho::Mode;
use livepatch_linker::trace::{Detail, Trace};

pub(crate) const CASES: &[Case] = cases![
    unwinding::thrown_and_caught,
    unwinding::from_image_to_image_with_clean_up,
    unwinding::through_frames_of_every_kind,
    unwinding::on_many_threads,
];

/// The library that images need for it.
fn missing() -> Option<Outcome> {
    // SAFETY: a text; a library of the system's.
    let there = unsafe { libc::dlopen(c"libc++abi.so.1".as_ptr(), libc::RTLD_LAZY) };
    there.is_null().then(|| Outcome::Skipped("libc++abi.so.1 is not installed".to_owned()))
}

const THROW: &str = "extern \"C\" long thrown(long x) { try { if (x > 2) throw 40; return x; } catch (int e) { return e + x; } }";

fn thrown_and_caught() -> Outcome {
    if let Some(skipped) = missing() {
        return skipped;
    }
    let folder = Folder::new();
    let source = format!("{THROW} extern \"C\" long run() {{ return thrown(1) * 1000 + thrown(3); }}");
    for mode in [Mode::Lazy, Mode::Now] {
        let (library, _) = load(&folder.dylib_cxx("liba.dylib", &source, &[]), mode);
        assert_eq!(call_named(&library, "run"), 1043);
        assert_eq!(call_named(&library, "run"), 1043);
    }
    Outcome::Passed
}

/// Destructors on the way run, in order; another type is not caught.
fn from_image_to_image_with_clean_up() -> Outcome {
    if let Some(skipped) = missing() {
        return skipped;
    }
    let folder = Folder::new();
    folder.dylib_cxx("libdep.dylib", "extern \"C\" long raise(long x) { if (x) throw x; return 0; }", &[]);
    let source = "extern \"C\" long raise(long); static long log; struct note { long digit; ~note() { log = log * 10 + digit; } };
        __attribute__((noinline)) static long deep(long x, long n) { note d{n}; return (n > 1 ? deep(x, n - 1) : raise(x)) + n; }
        extern \"C\" long run() { log = 0; long seen = 0;
            try { try { deep(7, 4); } catch (int) { seen = 9; } } catch (long e) { seen = e; }
            try { try { deep(5, 1); } catch (...) { throw; } } catch (long e) { seen = seen * 10 + e; }
            return seen * 1000000 + log; }";
    let (library, trace) = load(&folder.dylib_cxx("liba.dylib", source, &["-ldep"]), Mode::Lazy);
    assert_eq!(call_named(&library, "run"), 75_012_341, "{trace}");
    // What is unloaded is not known any more; what is loaded again is.
    drop(library);
    let linker = builder(&Trace::new(Detail::Phases)).build();
    let library = linker.dlopen(folder.file("liba.dylib"), Mode::Now).unwrap();
    assert_eq!(call_named(&library, "run"), 75_012_341);
    Outcome::Passed
}

/// With a base pointer and without, with few and all registers saved, with a large frame whose size is in an instruction.
fn through_frames_of_every_kind() -> Outcome {
    if let Some(skipped) = missing() {
        return skipped;
    }
    let folder = Folder::new();
    let frames: String = (0..7)
        .map(|n| {
            let keep = (0..n).map(|k| format!("long k{k} = use({k} + x);")).collect::<String>();
            let sum = (0..n).map(|k| format!(" + k{k}")).collect::<String>();
            format!(
                "NI long f{n}(long x) {{ {keep} long r = raise(x); return r {sum}; }}
                NI long g{n}(long x) {{ {keep} char big[70000]; touch(big); long r = raise(x); touch(big); return r {sum}; }}\n"
            )
        })
        .collect();
    let all = (0..7).map(|n| format!("f{n}, g{n}")).collect::<Vec<_>>().join(", ");
    let source = format!(
        "#define NI __attribute__((noinline))
        NI long raise(long x) {{ if (x > 100) throw x; return 1; }} NI long use(long x) {{ __asm__ volatile(\"\" : \"+r\"(x)); return x; }}
        NI void touch(char *p) {{ __asm__ volatile(\"\" : : \"r\"(p) : \"memory\"); }} {frames}
        typedef long (*f)(long); static f volatile all[] = {{ {all} }};
        extern \"C\" long run() {{ long right = 0, a = use(1), b = use(2), c = use(3), d = use(4), e = use(5);
            for (int n = 0; n < 14; n++) try {{ all[n](1000 + n); }} catch (long x) {{ right += x == 1000 + n && a + b + c + d + e == 15; }}
            return right; }}"
    );
    let (library, trace) = load(&folder.dylib_cxx("liba.dylib", &source, &[]), Mode::Now);
    assert_eq!(call_named(&library, "run"), 14, "{trace}");
    // Without a base pointer: the sizes of frames are in the tables, or in the code.
    let (library, trace) = load(&folder.frameless_cxx("libb.dylib", &source), Mode::Now);
    assert_eq!(call_named(&library, "run"), 14, "{trace}");
    Outcome::Passed
}

fn on_many_threads() -> Outcome {
    if let Some(skipped) = missing() {
        return skipped;
    }
    let folder = Folder::new();
    let source = format!("{THROW} extern \"C\" long run() {{ return thrown(1) * 1000 + thrown(3); }}");
    let (library, _) = load(&folder.dylib_cxx("liba.dylib", &source, &[]), Mode::Lazy);
    let run = library.symbol("run").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(call(run), 1043)));
        }
    });
    Outcome::Passed
}
