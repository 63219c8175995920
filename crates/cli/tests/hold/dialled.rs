//! Programs that dial by themselves, over TCP: no agent, no changed entries, a jump table that calls ask.

use crate::live::{Live, Talk, functions};
use crate::project::{Project, clean, manifest};
use crate::session::livepatch;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const VIA: &[&str] = &["--via", "library", "--listen", "0"];

/// Answers each line with what `code::answer` makes of it, and asks for its newest body before.
const MAIN: &str = r#"mod code;
use std::io::{BufRead, BufReader, Write};

fn main() {
    let _connection = livepatch::connect_from_env().unwrap();
    let talk = std::env::args().nth(1).unwrap_or("talk".into());
    let _ = std::fs::remove_file(&talk);
    for stream in std::os::unix::net::UnixListener::bind(&talk).unwrap().incoming() {
        let stream = stream.unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let Ok(line) = line else { break };
            let mut answer = livepatch::call(|| code::answer(&line));
            answer.push('\n');
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    }
}
"#;

const CODE: &str = r#"
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
static N: AtomicU32 = AtomicU32::new(100);
thread_local! { static TURNS: Cell<u32> = const { Cell::new(50) }; }
pub fn answer(question: &str) -> String {
    TURNS.set(TURNS.get() + 1);
    format!("{} {} {}", N.fetch_add(1, Relaxed), TURNS.get(), said(question))
}
fn said(question: &str) -> String { format!("base {question}") }
"#;

/// A program that links the crate `livepatch` of this workspace.
fn package() -> Project {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime");
    let project = Project::empty();
    let dependencies = format!("[dependencies]\nlivepatch = {{ path = '{}' }}\n", runtime.display());
    project.write("Cargo.toml", &manifest("app", &dependencies));
    // What the workspace has of other crates is enough.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    std::fs::copy(lock, project.file("Cargo.lock")).expect("copied");
    project.write("src/main.rs", MAIN);
    project.write("src/code.rs", CODE);
    project
}

fn roll_back(live: &Live, to: &str) {
    let output = livepatch(&live.project, &["rollback", "--to", to]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Another process of the program, which dials as it was told.
struct Another {
    child: Child,
    talk: Talk,
}

impl Another {
    fn start(project: &Project, talk: &str) -> Self {
        let mut command = Command::new(project.file("target/debug/app"));
        clean(&mut command);
        let text = std::fs::read_to_string(project.file("target/livepatch/dial.env")).expect("it is there");
        for line in text.lines() {
            let (name, value) = line.split_once('=').expect("a variable");
            command.env(name, value);
        }
        let child = command.arg(talk).current_dir(project.path()).spawn().expect("the program starts");
        let talk = Talk::at(&project.file(talk));
        Self { child, talk }
    }

    /// Asks until the answer is about that.
    fn until(&mut self, what: &str) -> String {
        let since = Instant::now();
        loop {
            let answer = self.talk.ask("x").expect("it answers");
            if answer.contains(what) {
                return answer;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "not {what} but {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Another {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn edits_go_live_there_and_back_again() {
    let mut live = Live::start(package(), VIA);
    assert_eq!(live.ask("x"), "100 51 base x");
    let patched = live.edit("base", "first");
    assert!(functions(&patched).contains(&"app::code::said"), "{patched}");
    assert_eq!(live.ask("x"), "101 52 first x");
    // What the program had no use for, and a new function.
    let code = live.code.clone() + "fn twice(text: &str) -> String { text.repeat(2) }\n";
    live.project.write("src/code.rs", &code);
    live.outcome();
    live.code = code;
    live.edit(
        "format!(\"first {question}\")",
        "{ let mut words = vec![\"b\", \"a\"]; words.sort_unstable(); format!(\"second {} {words:?}\", twice(question)) }",
    );
    assert_eq!(live.ask("x"), "102 53 second xx [\"a\", \"b\"]");
    live.edit("second", "third");
    assert_eq!(live.ask("x"), "103 54 third xx [\"a\", \"b\"]");
    roll_back(&live, "1");
    assert_eq!(live.ask("x"), "104 55 first x");
    live.patch(CODE);
    assert_eq!(live.ask("x"), "105 56 base x");
    roll_back(&live, "0");
    assert_eq!(live.ask("x"), "106 57 base x");
}

#[test]
fn a_type_that_changed_starts_the_program_anew() {
    let project = package();
    let code = "static STATE: std::sync::Mutex<State> = std::sync::Mutex::new(State { n: 1 });
struct State { n: u32 }
pub fn answer(_: &str) -> String { let mut state = STATE.lock().unwrap(); state.n += 1; format!(\"{}\", state.n) }
";
    project.write("src/code.rs", code);
    let mut live = Live::start(project, VIA);
    assert_eq!(live.ask(""), "2");
    live.edit("n += 1", "n += 10");
    assert_eq!(live.ask(""), "12");
    let other = live
        .code
        .replace("State { n: u32 }", "State { m: u64, n: u32 }")
        .replace("State { n: 1 }", "State { m: 0, n: 1 }");
    let restarted = live.save(&other);
    assert_eq!(restarted["event"], "restarted", "{restarted}");
    live.hang_up();
    assert_eq!(live.ask(""), "11");
    live.edit("n += 10", "n += 100");
    assert_eq!(live.ask(""), "111");
}

/// A closure with a written reference gives the function that it is in another name: it is the same one.
#[test]
fn who_holds_a_function_gets_its_new_body_under_any_name() {
    let project = package();
    let code = "use std::sync::Mutex;
static TOTAL: Mutex<Option<fn(&[u32]) -> u32>> = Mutex::new(None);
#[inline(never)]
fn total(sides: &[u32]) -> u32 { sides.len() as u32 }
pub fn answer(_: &str) -> String {
    let held = *TOTAL.lock().unwrap().get_or_insert(total);
    format!(\"{}\", livepatch::HotFn::current(held).call((&[4, 5],)))
}
";
    project.write("src/code.rs", code);
    let mut live = Live::start(project, VIA);
    assert_eq!(live.ask(""), "2");
    live.edit("sides.len() as u32", "sides.iter().map(|&side: &u32| side).sum()");
    assert_eq!(live.ask(""), "9");
    live.edit("| side)", "| side + 1)");
    assert_eq!(live.ask(""), "11");
    live.patch(code);
    assert_eq!(live.ask(""), "2");
}

#[test]
fn who_dials_late_gets_what_it_lacks() {
    let mut live = Live::start(package(), VIA);
    for n in 1..=3 {
        let from = if n == 1 { "base".to_owned() } else { format!("patch{}", n - 1) };
        live.edit(&from, &format!("patch{n}"));
        assert_eq!(live.ask("x"), format!("{} {} patch{n} x", 99 + n, 50 + n));
    }
    let mut late = Another::start(&live.project, "talk-late");
    late.until("patch3");
    // One more, for both: in each process at its own addresses, with its own state.
    live.edit("patch3", "patch4");
    assert_eq!(live.ask("x"), "103 54 patch4 x");
    let count =
        |answer: String| answer.split(' ').next().and_then(|n| n.parse::<u32>().ok()).expect("a count");
    let before = count(late.until("patch4"));
    assert_eq!(count(late.until("patch4")), before + 1, "its state is its own, and is kept");
    roll_back(&live, "2");
    assert_eq!(live.ask("x"), "104 55 patch2 x");
    late.until("patch2");
    let mut later = Another::start(&live.project, "talk-later");
    later.until("patch2");
    // On from there.
    live.edit("patch4", "patch5");
    assert_eq!(live.ask("x"), "105 56 patch5 x");
    late.until("patch5");
    later.until("patch5");
}
