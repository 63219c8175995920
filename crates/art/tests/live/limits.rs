//! Where something is not to be had: references, memory, the engine itself.

use crate::Case;
use crate::running::Shared;
use crate::runtime::{Runtime, collect, write_dex};
use crate::versions::{Program, version};
use livepatch_art::engine::EngineError;
use livepatch_art::exported::{
    livepatch_art_error, livepatch_art_refresh, livepatch_art_replace, livepatch_art_start,
};
use livepatch_art::record::Way;
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) const ALL: &[Case] = &[
    ("limits::local_references", local_references),
    ("limits::global_references", global_references),
    ("limits::memory_for_code", memory_for_code),
    ("limits::called_from_an_initialiser", called_from_an_initialiser),
    ("limits::fields_while_another_thread_collects", fields_while_another_thread_collects),
];

/// Up to Android 7 a native method may have 512 local references, or the process ends.
fn local_references(runtime: &mut Runtime) {
    let text = |number: usize| {
        let method = |nth: usize| {
            format!(
                ".method public static f{nth}()I\n    .registers 1\n    const/16 v0, {}\n    return v0\n.end method\n\
                 .method private static g{nth}()I\n    .registers 1\n    invoke-static {{}}, LMany;->f{nth}()I\n    \
                 move-result v0\n    return v0\n.end method\n\
                 .method public h{nth}()I\n    .registers 2\n    invoke-static {{}}, LMany;->g{nth}()I\n    \
                 move-result v0\n    add-int/lit8 v0, v0, {number}\n    return v0\n.end method\n",
                nth + number
            )
        };
        let methods: String = (0..300).map(method).collect();
        let constructor = ".method public constructor <init>()V\n    .registers 1\n    \
                           invoke-direct {p0}, Ljava/lang/Object;-><init>()V\n    return-void\n.end method\n";
        version(&format!(".class public LMany;\n.super Ljava/lang/Object;\n{constructor}{methods}"))
    };
    let (old, new) = (text(1), text(2));
    let mut program = Program::start(runtime, &old);
    let object = program.object("Many");
    // How many references there are is what a new one's value says: it is the next one, times some power of two. Those of
    // 14 are addresses.
    let level = runtime.engine.layout().release().level();
    let next = |runtime: &Runtime| runtime.env.class_of(object).expose_provenance();
    let (one, two) = (next(runtime), next(runtime));
    let number = program.patch(runtime, &old, &new);
    if level < 31 {
        let made = (next(runtime) - two) / (two - one);
        assert!(made < 100, "{made} references");
    }
    for nth in [0, 299] {
        assert_eq!(program.int("Many", &format!("f{nth}")), Ok(nth + 2));
        assert_eq!(program.int_of(object, &format!("h{nth}")), Ok(nth + 4));
    }
    runtime.engine.roll_back(runtime.env, number).expect("the way back");
    assert_eq!(program.int_of(object, "h299"), Ok(301));
}

/// A process may have 51,200 global references, and ends with the next one: those of a patch go when it is taken back.
fn global_references(runtime: &mut Runtime) {
    let class = runtime.class("App");
    // As above: a new one's value says how many there are.
    let next = |runtime: &Runtime| runtime.env.global(class).expect("a reference").expose_provenance();
    let (one, two) = (next(runtime), next(runtime));
    for _ in 0..100 {
        let change = runtime.change("App", "div", "(II)I", true);
        let patch = runtime.apply(change);
        runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    }
    let made = (next(runtime) - two) / (two - one);
    assert!(made < 20, "{made} references");
    assert!(runtime.int("App", "callDiv", &[7, 0]).is_err());
}

/// There is no memory for what leads to a fix: an error, and everything is as it was.
fn memory_for_code(runtime: &mut Runtime) {
    if runtime.engine.way() != Way::Entry {
        println!("skipped: copies need none");
        return;
    }
    let change = runtime.change("App", "div", "(II)I", true);
    let before = runtime.engine.record(&change.target);
    let changes = [change];
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for the limit, and then the limit.
    let applied = unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &raw mut limit), 0);
        let none = libc::rlimit { rlim_cur: 1 << 20, ..limit };
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const none), 0);
        let applied = runtime.engine.apply(runtime.env, &changes);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const limit), 0);
        applied
    };
    assert!(matches!(applied, Err(EngineError::NoMemory(_))), "{applied:?}");
    assert_eq!(runtime.engine.record(&changes[0].target), before);
    assert_eq!(runtime.engine.list(), []);
    assert!(runtime.int("App", "callDiv", &[7, 0]).is_err());
    let patch = runtime.engine.apply(runtime.env, &changes).expect("a patch");
    assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(1234));
    runtime.engine.roll_back(runtime.env, patch.number).expect("the way back");
}

/// What the engine said to who called it from a class's initialiser.
static SAID: Mutex<String> = Mutex::new(String::new());

extern "C" fn come_back(_env: *mut c_void, _class: *mut c_void) {
    let refreshed = livepatch_art_refresh();
    // SAFETY: a text that ends with a NUL, until the next call.
    let said = unsafe { CStr::from_ptr(livepatch_art_error()) }.to_string_lossy();
    *SAID.lock().expect("a text") = format!("{refreshed}: {said}");
}

/// Finding a method initialises its class, and that calls the engine: it would wait for itself.
fn called_from_an_initialiser(runtime: &mut Runtime) {
    let body = |number: i32| {
        format!(
            ".super Ljava/lang/Object;\n.method public static f()I\n    .registers 1\n    const/4 v0, {number}\n    \
             return v0\n.end method\n"
        )
    };
    let text = format!(
        ".class public LCalls;\n.super Ljava/lang/Object;\n.method public static native comeBack()V\n.end method\n\
         .class public LLate;\n{}.method static constructor <clinit>()V\n    .registers 0\n    \
         invoke-static {{}}, LCalls;->comeBack()V\n    return-void\n.end method\n.class public LFix;\n{}",
        body(1),
        body(2)
    );
    let loader = runtime.loader(&write_dex(&runtime.folder, "calls.dex", version(&text).classes));
    let env = runtime.env;
    let class = |name: &str, initialise: bool| loader.class(name, initialise).expect("a class");
    let (function, calls) = (come_back as extern "C" fn(*mut c_void, *mut c_void), class("Calls", true));
    // SAFETY: it takes an environment and a class, and nothing else.
    unsafe { env.register(calls, "comeBack", "()V", function as *mut c_void) }.expect("registered");
    let release = runtime.engine.layout().release().level();
    let probe = runtime.class("livepatch.art.Probe");
    let (late, fix) = (class("Late", false), class("Fix", true));
    // SAFETY: the environment is this thread's, the classes are its, and texts end with a NUL.
    let replaced = unsafe {
        assert_eq!(livepatch_art_start(env.raw(), release, probe), 0);
        livepatch_art_replace(env.raw(), late, fix, c"f".as_ptr(), c"()I".as_ptr(), true)
    };
    let said = SAID.lock().expect("a text").clone();
    assert!(said.starts_with("-1: this thread is replacing methods"), "{said}");
    if runtime.engine.way() == Way::Entry {
        assert_eq!(replaced, 1);
    }
    assert_eq!(livepatch_art_refresh(), 0);
}

/// The collector updates what a field's record says about its class, and what a method's does, one after the other.
fn fields_while_another_thread_collects(runtime: &mut Runtime) {
    let text = |f: &str| {
        version(&format!(
            ".class public LKeeper;\n.super Ljava/lang/Object;\n.field private static kept:I\n\
             .method public static f()I\n    .registers 1\n    {f}\n    return v0\n.end method\n\
             .method public static g()I\n    .registers 1\n    const/4 v0, 1\n    return v0\n.end method\n"
        ))
    };
    let (old, new) = (text("const/4 v0, 1"), text("sget v0, LKeeper;->kept:I"));
    let mut program = Program::start(runtime, &old);
    let shared = Shared::new(runtime, "App", "callDiv", "(II)I");
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        shared.attached(|env, _| {
            let mut count = 0;
            while !until.load(Ordering::Relaxed) {
                collect(env);
                count += 1;
            }
            count
        })
    });
    for _ in 0..150 {
        let number = program.patch(runtime, &old, &new);
        assert_eq!(program.int("Keeper", "f"), Ok(0));
        runtime.engine.roll_back(runtime.env, number).expect("the way back");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(thread.join().expect("a thread") > 0);
}
