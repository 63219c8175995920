//! Import slots of Mach-O images led somewhere else. What fishhook was reported to get wrong is here in its cases'
//! names; the same cases for ELF are in `tests/loader/rebinding.rs`.

use crate::build::{Folder, call, call_named, load, make_read_only};
use crate::cases::{Case, cases};
use livepatch_linker::macho::Mode;
use livepatch_linker::rebinder::{Found, Rebinding, SlotKind, rebinder};
use livepatch_object::address::RuntimeAddress;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) const CASES: &[Case] = cases![
    rebinding::before_the_first_call,
    rebinding::before_the_first_call_as_fishhook_does,
    rebinding::read_only_data,
    rebinding::every_section_and_segment,
    rebinding::a_thread_that_binds_at_the_same_time,
    rebinding::taken_back_while_threads_call,
    rebinding::in_mach_o_and_elf_at_once,
];

/// What a word of memory holds.
pub(crate) fn word(at: RuntimeAddress) -> u64 {
    // SAFETY: cases pass slots of images that are loaded.
    unsafe { (at.0 as *const u64).read_volatile() }
}

static HITS: AtomicUsize = AtomicUsize::new(0);
static ORIGINAL: AtomicUsize = AtomicUsize::new(0);

/// Adds 100 to what the original says.
unsafe extern "C" fn hook(x: i64) -> i64 {
    HITS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: cases rebind functions of this type only, and say what they are before.
    unsafe {
        let original: unsafe extern "C" fn(i64) -> i64 =
            std::mem::transmute(ORIGINAL.load(Ordering::Acquire) as *const ());
        original(x) + 100
    }
}

fn rebind(found: Found) -> Rebinding {
    ORIGINAL.store(found.original().expect("an original"), Ordering::Release);
    // SAFETY: functions of this type, as in `hook`.
    unsafe { found.rebind(hook as *const ()) }.expect("slots that can be stored to")
}

fn build(folder: &Folder) -> std::path::PathBuf {
    folder.dylib(
        "libdep.dylib",
        "long one(long x) { return x + 1; } long two(long x) { return x + 2; }",
        &[],
    );
    folder.dylib("liba.dylib", "long one(long); long get(void) { return one(1); }", &["-ldep"])
}

/// fishhook#36: hooked before the first call, five calls, five hits.
fn before_the_first_call() {
    let folder = Folder::new();
    let (library, _) = load(&build(&folder), Mode::Lazy);
    let found = rebinder().find("one");
    assert_eq!(found.slots().len(), 1, "{found:?}");
    assert!(!found.slots()[0].is_bound);
    assert_eq!(found.original(), Some(library.symbol("one").unwrap().0 as usize));
    let rebinding = rebind(found);
    for _ in 0..5 {
        assert_eq!(call_named(&library, "get"), 102);
    }
    assert_eq!(HITS.load(Ordering::Relaxed), 5);
    assert_eq!(library.binder_calls(), 0);
    assert_eq!(rebinding.undo().unwrap(), 0);
    assert_eq!(call_named(&library, "get"), 2);
    assert_eq!(library.binder_calls(), 0, "it is bound by that");
}

/// The same with what the slot held as the original: it is the stub helper, whose binding puts the function back. This
/// linker's binder leaves a slot that leads elsewhere as it is, so that even that is hit every time; it is called each
/// time, though, and would have found the hook again instead of the original.
fn before_the_first_call_as_fishhook_does() {
    let folder = Folder::new();
    let (_library, _) = load(&build(&folder), Mode::Lazy);
    let found = rebinder().find("one");
    let slot = found.slots()[0].word;
    let helper = slot.load();
    ORIGINAL.store(found.original().unwrap(), Ordering::Release);
    // SAFETY: a function of the same type.
    let rebinding = unsafe { found.rebind(hook as *const ()) }.unwrap();
    // A thread that has read the slot before it was hooked arrives in the helper now.
    // SAFETY: the helper takes what the function takes.
    let late: unsafe extern "C" fn(i64) -> i64 = unsafe { std::mem::transmute(helper as *const ()) };
    // SAFETY: as above.
    assert_eq!(unsafe { late(1) }, 102);
    assert_eq!(slot.load(), hook as *const () as usize);
    rebinding.undo().unwrap();
}

fn protection(at: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(start)..number(rest.split_once(' ').unwrap().0)).contains(&at)
    });
    line.unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// fishhook#85: a slot of `__DATA_CONST`, which is read-only once it is bound.
fn read_only_data() {
    let folder = Folder::new();
    folder.dylib("libdep.dylib", "long one(long x) { return x + 1; }", &[]);
    let source = "long one(long); typedef long (*f)(long); __attribute__((used, section(\"__DATA_CONST,__table\"))) static f table[] = { one };
        long get(void) { f volatile *p = table; return (*p)(1); }";
    let path = folder.dylib("liba.dylib", source, &["-ldep"]);
    make_read_only(&path, "__DATA_CONST");
    let (library, trace) = load(&path, Mode::Lazy);
    let found = rebinder().find("one");
    let slot = found.slots().iter().find(|slot| slot.kind == SlotKind::Data).unwrap().word.address();
    assert_eq!(protection(slot), "r--p", "{trace}");
    let rebinding = rebind(found);
    assert_eq!(protection(slot), "r--p");
    assert_eq!(call_named(&library, "get"), 102);
    rebinding.undo().unwrap();
    assert_eq!(protection(slot), "r--p");
    assert_eq!(call_named(&library, "get"), 2);
}

/// Stub, table of addresses, and pointers in sections that nothing but a bind record tells of.
fn every_section_and_segment() {
    let folder = Folder::new();
    folder.dylib("libdep.dylib", "long one(long x) { return x + 1; }", &[]);
    let source = "long one(long); typedef long (*f)(long); static f table[] = { one };
        __attribute__((used, section(\"__OTHER,__own\"))) static f own[] = { one };
        long stub(void) { return one(1); } long got(void) { f volatile p = one; return p(1); }
        long data(void) { f volatile *p = table; return (*p)(1); }
        long other(void) { f volatile *p = own; return (*p)(1); }";
    let path = folder.dylib("liba.dylib", source, &["-ldep"]);
    for mode in [Mode::Lazy, Mode::Now] {
        let (library, _) = load(&path, mode);
        let calls = || ["stub", "got", "data", "other"].map(|name| call_named(&library, name));
        let rebinding = rebind(rebinder().find("one"));
        assert_eq!(calls(), [102; 4], "{rebinding:?}");
        assert_eq!(rebinding.undo().unwrap(), 0);
        assert_eq!(calls(), [2; 4]);
    }
}

fn a_thread_that_binds_at_the_same_time() {
    let folder = Folder::new();
    let path = build(&folder);
    for _ in 0..60 {
        let (library, _) = load(&path, Mode::Lazy);
        let get = library.symbol("get").unwrap();
        let barrier = std::sync::Barrier::new(3);
        let rebinding = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    assert!([2, 102].contains(&call(get)));
                });
            }
            barrier.wait();
            rebind(rebinder().find("one"))
        });
        assert_eq!(call(get), 102);
        rebinding.undo().unwrap();
    }
}

fn taken_back_while_threads_call() {
    let folder = Folder::new();
    let (library, _) = load(&build(&folder), Mode::Now);
    let get = library.symbol("get").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!([2, 102].contains(&call(get)));
                }
            });
        }
        for _ in 0..60 {
            let rebinding = rebind(rebinder().find("one"));
            assert_eq!(call(get), 102);
            assert_eq!(rebinding.undo().unwrap(), 0);
            assert_eq!(call(get), 2);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

unsafe extern "C" fn always_four() -> i64 {
    4
}

/// One name, this program's own slot for it and an image's.
fn in_mach_o_and_elf_at_once() {
    let folder = Folder::new();
    let source = "extern int getppid(void); long parent(void) { return getppid(); }";
    let (library, _) = load(&folder.dylib("liba.dylib", source, &[]), Mode::Lazy);
    let real = i64::from(std::os::unix::process::parent_id());
    let found = rebinder().find("getppid");
    assert!(found.slots().iter().any(|slot| slot.image.is_empty()), "{found:?}");
    assert!(found.slots().iter().any(|slot| slot.image.ends_with("/liba.dylib")), "{found:?}");
    // SAFETY: it takes nothing and returns a number.
    let rebinding = unsafe { found.rebind(always_four as *const ()) }.unwrap();
    assert_eq!((call_named(&library, "parent"), std::os::unix::process::parent_id()), (4, 4));
    rebinding.undo().unwrap();
    let after = std::os::unix::process::parent_id();
    assert_eq!((call_named(&library, "parent"), i64::from(after)), (real, real));
}
