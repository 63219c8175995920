//! Libraries of the workspace that the program loads while it runs.

use crate::live::{Live, MAIN, functions};
use crate::project::{Project, manifest};
use serde_json::Value;

/// Loads libraries and calls what is in them: in the thread that is asked, or in another that stays.
const HOST: &str = r#"
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlclose(library: *mut c_void) -> c_int;
}
const NOW: c_int = 2;
const NOLOAD: c_int = 4;
static LIBRARIES: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
static SAID: Mutex<String> = Mutex::new(String::new());
type Worker = (Sender<(usize, u32)>, Receiver<String>);
static WORKER: Mutex<Option<Worker>> = Mutex::new(None);

extern "C" fn say(text: *const u8, length: usize) {
    *SAID.lock().unwrap() = String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(text, length) }).into();
}
fn call(f: usize, x: u32) -> String {
    let f: extern "C" fn(u32, extern "C" fn(*const u8, usize)) = unsafe { std::mem::transmute(f) };
    f(x, say);
    SAID.lock().unwrap().clone()
}
fn symbol(library: &str, name: &str) -> usize {
    let handle = LIBRARIES.lock().unwrap()[library];
    let name = CString::new(name).unwrap();
    unsafe { dlsym(handle as *mut c_void, name.as_ptr()) as usize }
}
fn open(path: &str, flags: c_int) -> usize {
    let path = CString::new(path).unwrap();
    unsafe { dlopen(path.as_ptr(), flags) as usize }
}
pub fn start() {
    let (questions, to_worker) = channel::<(usize, u32)>();
    let (answers, from_worker) = channel();
    std::thread::spawn(move || for (f, x) in to_worker { answers.send(call(f, x)).unwrap(); });
    *WORKER.lock().unwrap() = Some((questions, from_worker));
}
pub fn answer(question: &str) -> String {
    match question.split(' ').collect::<Vec<_>>()[..] {
        ["open", name, path] => {
            let handle = open(path, NOW);
            LIBRARIES.lock().unwrap().insert(name.into(), handle);
            if handle == 0 { "cannot be loaded".into() } else { "open".into() }
        }
        ["close", name, path] => {
            let handle = LIBRARIES.lock().unwrap()[name];
            unsafe { dlclose(handle as *mut c_void) };
            let left = open(path, NOW | NOLOAD);
            if left == 0 { return "gone".into(); }
            unsafe { dlclose(left as *mut c_void) };
            "stays".into()
        }
        ["copy", from, to] => std::fs::copy(from, to).map_or_else(|e| e.to_string(), |_| "copied".into()),
        ["call", name, x] => call(symbol(name, "call"), x.parse().unwrap()),
        ["there", name, x] => {
            let worker = WORKER.lock().unwrap();
            let (questions, answers) = worker.as_ref().unwrap();
            questions.send((symbol(name, "call"), x.parse().unwrap())).unwrap();
            answers.recv().unwrap()
        }
        ["place", name] => {
            let place: extern "C" fn() -> usize = unsafe { std::mem::transmute(symbol(name, "place")) };
            format!("{:x}", place())
        }
        _ => format!("host {}", common::shared()),
    }
}
"#;

/// The template of a plugin: how often it was called, what this thread asked it.
const PLUGIN: &str = r#"
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};
static CALLS: AtomicU32 = AtomicU32::new(0);
thread_local! {
    static SEEN: Cell<u32> = const { Cell::new(10) };
    static ASKED: RefCell<Vec<u32>> = RefCell::new(vec![7]);
}
fn text(x: u32) -> String {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    SEEN.set(SEEN.get() + 1);
    ASKED.with_borrow_mut(|asked| asked.push(x));
    format!("NAME says {x}: {calls} {} {:?} {}", SEEN.get(), ASKED.with_borrow(|a| a.clone()), common::shared())
}
#[no_mangle] pub extern "C" fn call(x: u32, say: extern "C" fn(*const u8, usize)) {
    let text = text(x);
    say(text.as_ptr(), text.len());
}
#[no_mangle] pub extern "C" fn place() -> usize { &CALLS as *const AtomicU32 as usize }
"#;

/// The same without values that a thread drops at its end: as long as there are any, the C library keeps
/// a library, with or without us.
fn without_destructors() -> String {
    let (asked, push) = (
        "    static ASKED: RefCell<Vec<u32>> = RefCell::new(vec![7]);\n",
        "    ASKED.with_borrow_mut(|asked| asked.push(x));\n",
    );
    let plain =
        PLUGIN.replace(asked, "").replace(push, "").replace("ASKED.with_borrow(|a| a.clone())", "[x]");
    assert!(!plain.contains("ASKED"));
    plain
}

const COMMON: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering};
static COUNT: AtomicU32 = AtomicU32::new(100);
pub fn shared() -> u32 { COUNT.fetch_add(1, Ordering::Relaxed) + 1 }
"#;

const RED: &str = "target/debug/libred.so";
const BLUE: &str = "target/debug/libblue.so";

/// A host, and two plugins from one template. A crate is linked into all three.
fn project(plugin: &str) -> Project {
    let project = Project::empty();
    let members = "[workspace]\nresolver = '2'\nmembers = ['host', 'red', 'blue', 'common']\n";
    project.write("Cargo.toml", members);
    let common = "[dependencies]\ncommon = { path = '../common' }\n";
    project.write("host/Cargo.toml", &manifest("host", common));
    project.write("host/src/main.rs", MAIN);
    project.write("host/src/code.rs", HOST);
    project.write("common/Cargo.toml", &manifest("common", ""));
    project.write("common/src/lib.rs", COMMON);
    for name in ["red", "blue"] {
        let cdylib = format!("[lib]\ncrate-type = ['cdylib']\n{common}");
        project.write(&format!("{name}/Cargo.toml"), &manifest(name, &cdylib));
        project.write(&format!("{name}/src/lib.rs"), &plugin.replace("NAME", name));
    }
    project
}

fn start(plugin: &str) -> Live {
    Live::start_at(
        project(plugin),
        &["-p", "host", "--plugin", "red", "--plugin", "blue"],
        "host/src/code.rs",
    )
}

/// Replaces a piece of a file; what became of it.
fn edit(live: &mut Live, file: &str, from: &str, to: &str) -> Value {
    let text = std::fs::read_to_string(live.project.file(file)).unwrap();
    assert!(text.contains(from), "{from:?} is in {file}");
    live.project.write(file, &text.replace(from, to));
    live.outcome()
}

fn patch(live: &mut Live, file: &str, from: &str, to: &str) -> Value {
    let event = edit(live, file, from, to);
    assert_eq!(event["event"], "patched", "{event}\n{}", live.report());
    event
}

fn open(live: &mut Live, name: &str, path: &str) {
    assert_eq!(live.ask(&format!("open {name} {path}")), "open");
}

#[test]
fn each_copy_of_a_crate_has_its_own_state() {
    let mut live = start(PLUGIN);
    open(&mut live, "red", RED);
    open(&mut live, "blue", BLUE);
    assert_eq!(live.ask("call red 1"), "red says 1: 1 11 [7, 1] 101");
    assert_eq!(live.ask("there red 2"), "red says 2: 2 11 [7, 2] 102");
    assert_eq!(live.ask("call blue 3"), "blue says 3: 1 11 [7, 3] 101");
    assert_eq!(live.ask("host"), "host 101");
    let place = live.ask("place red");

    let patched = patch(&mut live, "red/src/lib.rs", "red says", "RED says");
    assert_eq!(functions(&patched), ["red::text"]);
    assert_eq!(live.ask("call red 4"), "RED says 4: 3 12 [7, 1, 4] 103");
    assert_eq!(live.ask("there red 5"), "RED says 5: 4 12 [7, 2, 5] 104");
    assert_eq!(live.ask("call blue 6"), "blue says 6: 2 12 [7, 3, 6] 102");
    assert_eq!(live.ask("place red"), place);

    let patched = patch(&mut live, "common/src/lib.rs", "Relaxed) + 1", "Relaxed) + 1001");
    assert_eq!(functions(&patched), ["common::shared"]);
    assert_eq!(live.ask("call red 7"), "RED says 7: 5 13 [7, 1, 4, 7] 1105");
    assert_eq!(live.ask("call blue 8"), "blue says 8: 3 13 [7, 3, 6, 8] 1103");
    assert_eq!(live.ask("host"), "host 1102");

    // New statics and thread-locals of a plugin, and code of the standard library that it did not have.
    let more = r#"thread_local! { static MINE: Cell<u32> = const { Cell::new(40) }; }
    static SET: std::sync::Mutex<std::collections::BTreeSet<u32>> = std::sync::Mutex::new(std::collections::BTreeSet::new());
    SET.lock().unwrap().insert(x);
    MINE.set(MINE.get() + 1);
    format!("Red says {x} {} {:?}: {calls} {} {:?} {}", MINE.get(), SET.lock().unwrap(), SEEN.get()"#;
    patch(&mut live, "red/src/lib.rs", "format!(\"RED says {x}: {calls} {} {:?} {}\", SEEN.get()", more);
    assert_eq!(live.ask("call red 9"), "Red says 9 41 {9}: 6 14 [7, 1, 4, 7, 9] 1106");
    assert_eq!(live.ask("there red 8"), "Red says 8 41 {8, 9}: 7 13 [7, 2, 5, 8] 1107");
    assert_eq!(live.ask("call red 9"), "Red says 9 42 {8, 9}: 8 15 [7, 1, 4, 7, 9, 9] 1108");
}

#[test]
fn what_is_loaded_late_has_every_edit() {
    let mut live = start(PLUGIN);
    // Nothing that runs has it yet.
    let event = edit(&mut live, "red/src/lib.rs", "red says", "Red says");
    assert_eq!(event["event"], "unchanged", "{event}");
    let patched = patch(&mut live, "common/src/lib.rs", "Relaxed) + 1", "Relaxed) + 501");
    assert_eq!((&patched["patch"], functions(&patched)), (&1.into(), vec!["common::shared"]));
    open(&mut live, "red", RED);
    let joined = live.session.wait_for("joined");
    assert_eq!((&joined["patch"], &joined["libraries"]), (&1.into(), &serde_json::json!(["libred.so"])));
    assert_eq!(live.ask("call red 1"), "Red says 1: 1 11 [7, 1] 601");
    assert_eq!(live.ask("there red 2"), "Red says 2: 2 11 [7, 2] 602");

    // A copy of its file is another library, with another state.
    assert_eq!(live.ask(&format!("copy {RED} other.so")), "copied");
    open(&mut live, "other", "./other.so");
    live.session.wait_for("joined");
    assert_eq!(live.ask("call other 3"), "Red says 3: 1 11 [7, 3] 601");
    patch(&mut live, "red/src/lib.rs", "Red says", "RED says");
    assert_eq!(live.ask("call red 4"), "RED says 4: 3 12 [7, 1, 4] 603");
    assert_eq!(live.ask("call other 5"), "RED says 5: 2 12 [7, 3, 5] 602");
    patch(&mut live, "red/src/lib.rs", "RED says", "red told");
    assert_eq!(live.ask("call red 6"), "red told 6: 4 13 [7, 1, 4, 6] 604");

    // Back to before the second, and before the first of them.
    let back = |to| ["rollback", "--to", to];
    assert!(crate::session::livepatch(&live.project, &back("2")).status.success());
    assert_eq!(live.ask("call other 7"), "RED says 7: 3 13 [7, 3, 5, 7] 603");
    assert!(crate::session::livepatch(&live.project, &back("1")).status.success());
    assert_eq!(live.ask("call red 8"), "Red says 8: 5 14 [7, 1, 4, 6, 8] 605");
    assert!(crate::session::livepatch(&live.project, &back("0")).status.success());
    assert_eq!(live.ask("call red 9"), "red says 9: 6 15 [7, 1, 4, 6, 8, 9] 106");
    assert_eq!(live.ask("host"), "host 101");
    // What the sources say is live again with the next edit, in the crate below as well: it adds 501.
    patch(&mut live, "red/src/lib.rs", "red told", "red tells");
    assert_eq!(live.ask("call red 1"), "red tells 1: 7 16 [7, 1, 4, 6, 8, 9, 1] 607");
    assert_eq!(live.ask("call other 2"), "red tells 2: 4 14 [7, 3, 5, 7, 2] 604");
}

#[test]
fn unloaded_and_loaded_again() {
    let mut live = start(&without_destructors());
    open(&mut live, "red", RED);
    assert_eq!(live.ask("call red 1"), "red says 1: 1 11 [1] 101");
    // Nothing was changed in it: it goes, and comes again as new.
    assert_eq!(live.ask(&format!("close red {RED}")), "gone");
    open(&mut live, "red", RED);
    assert_eq!(live.ask("call red 2"), "red says 2: 1 11 [2] 101");
    patch(&mut live, "red/src/lib.rs", "red says", "Red says");
    assert_eq!(live.ask("call red 3"), "Red says 3: 2 12 [3] 102");
    // From now on callers may be anywhere in it, so it stays.
    assert_eq!(live.ask(&format!("close red {RED}")), "stays");
    patch(&mut live, "red/src/lib.rs", "Red says", "RED says");
    open(&mut live, "red", RED);
    assert_eq!(live.ask("call red 4"), "RED says 4: 3 13 [4] 103");

    // Loaded and unloaded between edits, in a place that may be used again each time.
    for n in 0..4 {
        assert_eq!(live.ask(&format!("copy {BLUE} blue{n}.so")), "copied");
        open(&mut live, "blue", &format!("./blue{n}.so"));
        assert_eq!(live.ask("call blue 1"), "blue says 1: 1 11 [1] 101");
        assert_eq!(live.ask(&format!("close blue ./blue{n}.so")), "gone");
        patch(&mut live, "red/src/lib.rs", "RED says", "RED  says");
        patch(&mut live, "red/src/lib.rs", "RED  says", "RED says");
        assert_eq!(live.ask("call red 5").get(..8), Some("RED says"));
    }
}

/// A plugin that is linked against a shared object of the workspace, which nothing else has loaded.
#[test]
fn thread_locals_of_the_library_of_a_plugin() {
    let project = project(&PLUGIN.replace("fn text(", "#[inline(never)]\nfn text("));
    let members = "[workspace]\nresolver = '2'\nmembers = ['host', 'red', 'blue', 'common', 'shared']\n";
    project.write("Cargo.toml", members);
    project.write("shared/Cargo.toml", &manifest("shared", "[lib]\ncrate-type = ['dylib']\n"));
    project.write(
        "shared/src/lib.rs",
        "use std::cell::Cell;\nthread_local! { pub static TOTAL: Cell<u32> = const { Cell::new(5) }; }\n\
         pub fn add(x: u32) -> u32 { TOTAL.set(TOTAL.get() + x); TOTAL.get() }\n",
    );
    let cdylib = "[lib]\ncrate-type = ['cdylib']\n[dependencies]\nshared = { path = '../shared' }\n";
    project.write("red/Cargo.toml", &manifest("red", cdylib));
    project.write(
        "red/src/lib.rs",
        r#"
        #[inline(never)]
        fn text(x: u32) -> String { format!("red {}", shared::add(x)) }
        #[no_mangle] pub extern "C" fn call(x: u32, say: extern "C" fn(*const u8, usize)) {
            let text = text(x);
            say(text.as_ptr(), text.len());
        }
        "#,
    );
    let arguments = ["-p", "host", "--plugin", "red", "--release"];
    let mut live = Live::start_at(project, &arguments, "host/src/code.rs");
    open(&mut live, "red", "target/release/libred.so");
    assert_eq!(live.ask("call red 1"), "red 6");
    patch(
        &mut live,
        "red/src/lib.rs",
        "shared::add(x)",
        "{ shared::TOTAL.set(shared::TOTAL.get() + 100); shared::add(x) }",
    );
    assert_eq!(live.ask("call red 1"), "red 107");
    assert_eq!(live.ask("there red 1"), "red 106");
    patch(&mut live, "shared/src/lib.rs", "TOTAL.get() + x", "TOTAL.get() + x * 1000");
    assert_eq!(live.ask("call red 2"), "red 2207");
}
