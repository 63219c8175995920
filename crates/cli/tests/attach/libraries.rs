//! Libraries of the captured build in a program that runs already.

use crate::live::{MAIN, Talk, functions};
use crate::project::{Project, manifest};
use crate::session::livepatch;
use crate::started::{Started, said};

/// Loads a library when it is told to, and calls it.
const HOST: &str = r#"
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}
static LIBRARY: AtomicUsize = AtomicUsize::new(0);
pub fn start() {}
pub fn answer(question: &str) -> String {
    if question == "load" {
        LIBRARY.store(unsafe { dlopen(c"target/debug/libplugin.so".as_ptr(), 2) } as usize, SeqCst);
        return (LIBRARY.load(SeqCst) != 0).to_string();
    }
    let call = unsafe { dlsym(LIBRARY.load(SeqCst) as *mut c_void, c"call".as_ptr()) };
    let call: extern "C" fn() -> u32 = unsafe { std::mem::transmute(call) };
    format!("{} {}", own(), call())
}
#[inline(never)]
fn own() -> u32 { std::hint::black_box(1) }
"#;

const PLUGIN: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
static CALLS: AtomicU32 = AtomicU32::new(0);
#[no_mangle] pub extern "C" fn call() -> u32 { CALLS.fetch_add(1, SeqCst) + value() }
#[inline(never)]
fn value() -> u32 { std::hint::black_box(100) }
"#;

fn project() -> Project {
    let project = Project::empty();
    project.write("Cargo.toml", "[workspace]\nresolver = '2'\nmembers = ['app', 'plugin']\n");
    project.write("app/Cargo.toml", &manifest("app", ""));
    project.write("app/src/main.rs", MAIN);
    project.write("app/src/code.rs", HOST);
    project.write("plugin/Cargo.toml", &manifest("plugin", "[lib]\ncrate-type = ['cdylib']\n"));
    project.write("plugin/src/lib.rs", PLUGIN);
    let built = livepatch(&project, &["build", "-p", "app", "--plugin", "plugin"]);
    assert!(built.status.success(), "{}", said(&built));
    project
}

/// A library has its own state, and the next session makes what it wants of what the earlier one redirected.
#[test]
fn a_library_is_patched_in_one_session_and_the_next() {
    let mut program = Started::start(project(), |_| {});
    {
        let mut talk = Talk::with(program.project());
        assert_eq!(talk.ask("load").as_deref(), Some("true"));
    }
    let mut live = program.attach_to("plugin/src/lib.rs");
    assert_eq!(live.ask("?"), "1 100");
    let patched = live.edit("(100)", "(200)");
    assert_eq!(functions(&patched), ["plugin::value"]);
    assert_eq!(live.ask("?"), "1 201");
    program.detach(live);

    // The patches of the first session are not known: one takes their place.
    program.project().write("app/src/code.rs", &HOST.replace("black_box(1)", "black_box(2)"));
    let mut live = program.attach_to("plugin/src/lib.rs");
    assert_eq!(functions(&live.outcome()), ["app::code::own", "plugin::value"]);
    assert_eq!(live.ask("?"), "2 202");
    live.edit("(200)", "(300)");
    assert_eq!(live.ask("?"), "2 303");
    assert!(livepatch(&live.project, &["rollback", "--to", "0"]).status.success());
    assert_eq!(live.ask("?"), "1 104");
}

/// Nothing holds such a program up while it loads a library: the next edit brings along what was edited before.
#[test]
fn a_library_that_is_loaded_later_gets_earlier_edits_with_the_next() {
    let mut program = Started::start(project(), |_| {});
    let mut live = program.attach_to("plugin/src/lib.rs");
    assert_eq!(live.save(&PLUGIN.replace("(100)", "(150)"))["event"], "unchanged");
    assert_eq!(live.ask("load"), "true");
    assert_eq!(live.ask("?"), "1 100");
    live.project.write("app/src/code.rs", &HOST.replace("black_box(1)", "black_box(2)"));
    assert_eq!(functions(&live.outcome()), ["app::code::own", "plugin::value"]);
    assert_eq!(live.ask("?"), "2 151");
}
