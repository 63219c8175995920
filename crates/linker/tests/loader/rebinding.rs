//! Import slots led somewhere else: of libraries that glibc has loaded, and of those that the linker has.
//!
//! What fishhook (which does this for Mach-O images) was reported to get wrong is here in its cases' names.

use crate::build::{Folder, call};
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::rebinder::{Found, Rebinding, SlotKind, rebinder};
use livepatch_linker::{Flags, Library, Linker};
use livepatch_object::address::RuntimeAddress;
use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(crate) const CASES: &[Case] = cases![
    rebinding::before_the_first_call_glibc,
    rebinding::before_the_first_call_linker,
    rebinding::read_only_pages_stay_so,
    rebinding::every_sort_of_slot,
    rebinding::taken_back_while_threads_call,
    rebinding::a_thread_that_binds_at_the_same_time,
    rebinding::threads_that_rebind_in_one_page,
    rebinding::one_upon_another,
    rebinding::later_libraries,
    rebinding::of_one_image_only,
    rebinding::what_nobody_defines,
];

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

const DEPENDENCY: &str = "long one(long x) { return x + 1; } long two(long x) { return x + 2; }";
const CALLER: &str =
    "long one(long); long two(long); long get(void) { return one(1); } long other(void) { return two(1); }";
const LAZY: &[&str] = &["-ldep", "-Wl,-rpath,$ORIGIN", "-Wl,-z,lazy"];
const NOW: &[&str] = &["-ldep", "-Wl,-rpath,$ORIGIN", "-Wl,-z,now,-z,relro"];

fn build(folder: &Folder, arguments: &[&str]) -> std::path::PathBuf {
    folder.library("libdep.so", DEPENDENCY, &[]);
    folder.library("liba.so", CALLER, arguments)
}

/// A library that glibc has loaded.
fn by_glibc(path: &Path) -> impl Fn(&str) -> RuntimeAddress + use<> {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a library that the case has built.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY) } as usize;
    assert_ne!(handle, 0);
    move |name| {
        let name = CString::new(name).unwrap();
        // SAFETY: a handle that is open.
        RuntimeAddress(unsafe { libc::dlsym(handle as *mut _, name.as_ptr()) } as u64)
    }
}

fn by_linker(path: &Path) -> Library {
    Linker::new().dlopen(path, Flags::LAZY).unwrap_or_else(|error| panic!("{error}"))
}

/// Five calls, of which every one has to go through the hook, and none once it is taken back: fishhook#36, where
/// calling the original bound the slot over the hook.
fn five_of_five(get: RuntimeAddress) {
    let found = rebinder().find("one");
    assert_eq!(found.slots().len(), 1, "{found:?}");
    assert!(!found.slots()[0].is_bound);
    let rebinding = rebind(found);
    for _ in 0..5 {
        assert_eq!(call(get), 102);
    }
    assert_eq!(HITS.load(Ordering::Relaxed), 5);
    assert_eq!(rebinding.undo().unwrap(), 0);
    assert_eq!(call(get), 2);
    assert_eq!(HITS.load(Ordering::Relaxed), 5);
}

fn before_the_first_call_glibc() -> Outcome {
    if std::env::var_os("LD_BIND_NOW").is_some() {
        return Outcome::Skipped("LD_BIND_NOW is set".to_owned());
    }
    let folder = Folder::new();
    five_of_five(by_glibc(&build(&folder, LAZY))("get"));
    Outcome::Passed
}

fn before_the_first_call_linker() {
    let folder = Folder::new();
    let library = by_linker(&build(&folder, LAZY));
    five_of_five(library.symbol("get").unwrap());
}

/// What `/proc/self/maps` says about an address.
fn protection(at: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let end = rest.split_once(' ').unwrap().0;
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(start)..number(end)).contains(&at)
    });
    line.unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// fishhook#85: slots among read-only data.
fn read_only_pages_stay_so() {
    let folder = Folder::new();
    let path = build(&folder, NOW);
    let (glibc, linker) = (by_glibc(&path), by_linker(&path));
    let found = rebinder().find("one");
    assert_eq!(found.slots().len(), 2, "{found:?}");
    let slots: Vec<usize> = found.slots().iter().map(|slot| slot.word.address()).collect();
    assert!(slots.iter().all(|&slot| protection(slot) == "r--p"));
    let rebinding = rebind(found);
    assert!(slots.iter().all(|&slot| protection(slot) == "r--p"));
    assert_eq!(call(glibc("get")), 102);
    assert_eq!(call(linker.symbol("get").unwrap()), 102);
    rebinding.undo().unwrap();
    assert!(slots.iter().all(|&slot| protection(slot) == "r--p"));
    assert_eq!(call(glibc("get")), 2);
    assert_eq!(call(linker.symbol("get").unwrap()), 2);
}

/// Through the procedure linkage table, through the global offset table, from data, and from data with an addend.
fn every_sort_of_slot() {
    let folder = Folder::new();
    folder.library("libdep.so", &format!("{DEPENDENCY} long values[4] = {{ 10, 20, 30, 40 }};"), &[]);
    let source = "long one(long); long two(long); extern long values[]; typedef long (*f)(long); static f table[] = { one };
        long plt(void) { return two(1); } long got(void) { f volatile p = one; return p(1); }
        long data(void) { f volatile *p = table; return (*p)(1); }
        static long *third = &values[2]; long value(void) { long *volatile *p = &third; return **p; }";
    let library = by_linker(&folder.library("liba.so", source, LAZY));
    let found = rebinder().find("one");
    let mut kinds: Vec<SlotKind> = found.slots().iter().map(|slot| slot.kind).collect();
    kinds.sort_by_key(|kind| format!("{kind:?}"));
    // Where both are needed, some linkers have calls go through the slot that addresses are loaded from.
    kinds.retain(|kind| *kind != SlotKind::Function);
    assert_eq!(kinds, [SlotKind::Data, SlotKind::Import], "{found:?}");
    let calls = || ["plt", "got", "data"].map(|name| call(library.symbol(name).unwrap()));
    let rebinding = rebind(found);
    assert_eq!(calls(), [3, 102, 102]);
    rebinding.undo().unwrap();
    let found = rebinder().find("two");
    assert_eq!(found.slots().iter().map(|slot| slot.kind).collect::<Vec<_>>(), [SlotKind::Function]);
    let rebinding = rebind(found);
    assert_eq!(calls(), [103, 2, 2]);
    rebinding.undo().unwrap();
    assert_eq!(calls(), [3, 2, 2]);

    static OTHERS: [i64; 4] = [1, 2, 3, 4];
    let found = rebinder().find("values");
    assert_eq!(found.slots().iter().map(|slot| slot.addend).collect::<Vec<_>>(), [16]);
    // SAFETY: an array of the same type.
    let rebinding = unsafe { found.rebind(OTHERS.as_ptr().cast()) }.unwrap();
    assert_eq!(call(library.symbol("value").unwrap()), 3);
    rebinding.undo().unwrap();
    assert_eq!(call(library.symbol("value").unwrap()), 30);
}

fn taken_back_while_threads_call() {
    let folder = Folder::new();
    let library = by_linker(&build(&folder, NOW));
    let get = library.symbol("get").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = [0u64; 2];
                    while !stop.load(Ordering::Relaxed) {
                        match call(get) {
                            2 => seen[0] += 1,
                            102 => seen[1] += 1,
                            other => panic!("{other}"),
                        }
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..60 {
            let rebinding = rebind(rebinder().find("one"));
            assert_eq!(call(get), 102);
            assert_eq!(rebinding.undo().unwrap(), 0);
            assert_eq!(call(get), 2);
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| {
            thread.join().unwrap();
        });
    });
}

/// A thread's first call of a function is in the linker's binder while the slot is hooked: it does not store over the
/// hook when it is done.
fn a_thread_that_binds_at_the_same_time() {
    let folder = Folder::new();
    let path = build(&folder, LAZY);
    for _ in 0..60 {
        let library = by_linker(&path);
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

/// Two threads, two symbols, one page: neither takes the other's permission to write away.
fn threads_that_rebind_in_one_page() {
    let folder = Folder::new();
    let library = by_linker(&build(&folder, NOW));
    ORIGINAL.store(library.symbol("one").unwrap().0 as usize, Ordering::Release);
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            scope.spawn(move || {
                for _ in 0..150 {
                    // SAFETY: as in `rebind`; nobody calls.
                    let rebinding = unsafe { rebinder().find(name).rebind(hook as *const ()) }.unwrap();
                    assert_eq!(rebinding.slots().len(), 1);
                    assert_eq!(rebinding.undo().unwrap(), 0);
                }
            });
        }
    });
    assert_eq!((call(library.symbol("get").unwrap()), call(library.symbol("other").unwrap())), (2, 3));
}

unsafe extern "C" fn minus(x: i64) -> i64 {
    -x
}

/// The second one's original is the first one; what is taken back in the wrong order is left as it is.
fn one_upon_another() {
    let folder = Folder::new();
    let library = by_linker(&build(&folder, NOW));
    let get = library.symbol("get").unwrap();
    let first = rebind(rebinder().find("one"));
    // SAFETY: of the same type.
    let second = unsafe { rebinder().find("one").rebind(minus as *const ()) }.unwrap();
    assert_eq!(second.original(), Some(hook as *const () as usize));
    assert_eq!(call(get), -1);
    assert_eq!(first.undo().unwrap(), 1, "it leads to the second one");
    assert_eq!(call(get), -1);
    assert_eq!(second.undo().unwrap(), 0);
    assert_eq!(call(get), 102);
}

fn later_libraries() {
    let folder = Folder::new();
    let path = build(&folder, LAZY);
    let first = by_linker(&path);
    let mut rebinding = rebind(rebinder().find("one"));
    let (second, third) = (by_linker(&path), by_glibc(&path));
    let get = second.symbol("get").unwrap();
    assert_eq!((call(first.symbol("get").unwrap()), call(get)), (102, 2));
    assert_eq!(rebinding.include_new().unwrap(), 2);
    assert_eq!((call(get), call(third("get"))), (102, 102));
    assert_eq!(rebinding.include_new().unwrap(), 0);
    assert_eq!(rebinding.undo().unwrap(), 0);
    assert_eq!((call(first.symbol("get").unwrap()), call(get), call(third("get"))), (2, 2, 2));
}

fn of_one_image_only() {
    let folder = Folder::new();
    folder.library("libdep.so", DEPENDENCY, &[]);
    let libraries = ["liba.so", "libb.so"].map(|name| by_linker(&folder.library(name, CALLER, LAZY)));
    let found = rebinder().find_where("one", |slot| slot.image.ends_with("/libb.so"));
    let rebinding = rebind(found);
    let calls = || libraries.each_ref().map(|library| call(library.symbol("get").unwrap()));
    assert_eq!(calls(), [2, 102]);
    rebinding.undo().unwrap();
    assert_eq!(calls(), [2, 2]);
}

/// A hook can be the only definition there is.
fn what_nobody_defines() {
    let folder = Folder::new();
    let source = "long nowhere(long); long get(void) { return nowhere(7); }";
    let library = by_linker(&folder.library("liba.so", source, &["-Wl,-z,lazy"]));
    let found = rebinder().find("nowhere");
    assert_eq!((found.slots().len(), found.original()), (1, None));
    // SAFETY: of the type that the caller expects.
    let rebinding = unsafe { found.rebind(minus as *const ()) }.unwrap();
    assert_eq!(call(library.symbol("get").unwrap()), -7);
    assert_eq!(rebinding.undo().unwrap(), 1, "there is nothing to lead it back to");
}
