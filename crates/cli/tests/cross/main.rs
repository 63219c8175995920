//! Programs for AArch64, on this machine: built with a cross compiler, started through the project's runner, an
//! emulator, and patched there.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at what it cannot do without")]

#[path = "../sessions/project.rs"]
#[expect(dead_code, reason = "shared with the tests of sessions, which use more of it")]
mod project;
#[path = "../sessions/session.rs"]
#[expect(dead_code, reason = "shared with the tests of sessions, which use more of it")]
mod session;
mod tools;

use project::{Project, manifest};
use session::{Session, livepatch};
use std::time::{Duration, Instant};

/// Four threads call `answer` without end and stop at an answer that no version of it gives; the main thread
/// says what it answers, how often it was asked, and what a panic came to.
const MAIN: &str = r#"
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static ASKED: AtomicU64 = AtomicU64::new(1000);
thread_local! { static TURNS: Cell<u64> = const { Cell::new(500) }; }

#[inline(never)]
fn answer(n: u64) -> u64 {
    n * 10 + 1
}

fn fails(n: u64) -> u64 {
    if n == 0 {
        panic!("nothing");
    }
    n
}

fn turn() -> u64 {
    TURNS.with(|turns| turns.set(turns.get() + 1));
    TURNS.with(Cell::get)
}

fn main() {
    for _ in 0..4 {
        std::thread::spawn(|| loop {
            let got = std::hint::black_box(answer(std::hint::black_box(7)));
            if !(71..=79).contains(&got) {
                println!("wrong answer {got}");
            }
            ASKED.fetch_add(1, Ordering::Relaxed);
        });
    }
    loop {
        let outcome = std::panic::catch_unwind(|| fails(1));
        println!("answer {} turn {} asked {} {}", answer(7), turn(), ASKED.load(Ordering::Relaxed),
            if outcome.is_ok() { "fine" } else { "failed" });
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
"#;

/// Two and a half to the power of one and a half is the root of 15.625.
const MORE: &str = r#"
    thread_local! { static MORE: Cell<u64> = const { Cell::new(0) }; }
    MORE.set(MORE.get() + 1);
    let power = std::hint::black_box(2.5f64).powf(std::hint::black_box(1.5));
    println!("more {} {:?}", MORE.get(), std::collections::BTreeMap::from([(1, power)]));
"#;

/// A start builds the agent, too.
const PATIENCE: Duration = Duration::from_secs(400);

fn wait_until_ready(session: &mut Session) {
    let since = Instant::now();
    while !session.events().iter().any(|event| event["event"] == "ready") {
        assert!(since.elapsed() < PATIENCE, "it is not ready:\n{}", session.said());
        assert!(session.child.try_wait().unwrap().is_none(), "it ended:\n{}", session.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    session.wait_for("ready");
}

/// The turn and the count that the last whole line with this answer says.
fn last(session: &Session, answer: u64) -> (u64, u64) {
    let said = session.said();
    let start = format!("answer {answer} turn ");
    let line = said.split_inclusive('\n').rfind(|line| line.starts_with(&start) && line.ends_with('\n'));
    let words: Vec<u64> =
        line.expect("it was said").split(' ').filter_map(|word| word.parse().ok()).collect();
    (words[1], words[2])
}

#[test]
fn a_program_of_another_architecture_is_patched_under_its_runner() {
    is_patched_under_its_runner(&[]);
}

#[test]
fn it_is_patched_by_patch_libraries() {
    is_patched_under_its_runner(&["--via", "library"]);
}

fn is_patched_under_its_runner(via: &[&str]) {
    let tools = match tools::find() {
        Ok(tools) => tools,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let project = Project::empty();
    project.write("Cargo.toml", &manifest("app", "[workspace]\n"));
    project.write(".cargo/config.toml", &tools.configuration());
    project.write("src/main.rs", MAIN);
    let mut session = Session::start_only(&project, &[&["--target", tools::TARGET], via].concat());
    wait_until_ready(&mut session);
    session.wait_until_said("answer 71 ");
    let mut before = last(&session, 71);
    let since = Instant::now();
    // The threads may take their time to begin.
    while before.1 <= 1000 {
        assert!(since.elapsed() < PATIENCE, "{before:?}");
        std::thread::sleep(Duration::from_millis(20));
        before = last(&session, 71);
    }
    assert!(before.0 > 500, "{before:?}");

    // One function, redirected once and then changed again and again, while four threads call it.
    for last_digit in 2..=9u64 {
        project.write("src/main.rs", &MAIN.replace("n * 10 + 1", &format!("n * 10 + {last_digit}")));
        let patched = session.wait_for("patched");
        assert_eq!(patched["functions"][0], "app::answer", "{patched}");
        session.wait_until_said(&format!("answer 7{last_digit} "));
    }
    let after = last(&session, 79);
    assert!(after.0 > before.0 && after.1 > before.1, "state is kept: {before:?}, {after:?}");

    // A panic in patched code is caught by code of before, and its backtrace names the new function's line.
    let ninth = MAIN.replace("n * 10 + 1", "n * 10 + 9");
    let failing = ninth.replace("if n == 0 {", "if n\n == 1 {").replace("nothing", "something");
    project.write("src/main.rs", &failing);
    session.wait_for("patched");
    session.wait_until_said(" failed");
    let line = 1 + failing[..failing.find("panic!").unwrap()].matches('\n').count();
    session.wait_until_said(&format!("app::fails\n             at ./src/main.rs:{line}:"));

    // A new thread-local, code that the program never had, and a function of a library.
    let count = "TURNS.with(|turns| turns.set(turns.get() + 1));";
    let more = ninth.replace(count, &[MORE, count].concat());
    project.write("src/main.rs", &more);
    session.wait_for("patched");
    session.wait_until_said("more 1 {1: 3.952847075210474}");

    let done = livepatch(&project, &["rollback", "--to", "0"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    session.wait_for("rolled_back");
    let rolled_back = session.said().len();
    let since = Instant::now();
    while !session.said()[rolled_back..].contains("answer 71 ") {
        assert!(since.elapsed() < PATIENCE, "the old answer is not back:\n{}", session.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(last(&session, 71).0 > after.0, "state is kept there, too");
    assert!(!session.said().contains("wrong answer"), "{}", session.said());
}

/// It dials by itself, and asks before it calls `frame`.
const DIALS: &str = r#"
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static DRAWN: AtomicU64 = AtomicU64::new(1000);
thread_local! { static TURNS: Cell<u64> = const { Cell::new(500) }; }

fn frame() -> String {
    TURNS.set(TURNS.get() + 1);
    format!("answer {} turn {} asked {} .", text(), TURNS.get(), DRAWN.fetch_add(1, Ordering::Relaxed))
}

fn text() -> u64 { 71 }

fn main() {
    livepatch::connect_from_env().unwrap();
    loop {
        println!("{}", livepatch::call(|| frame()));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
"#;

#[test]
fn a_program_of_another_architecture_dials() {
    let tools = match tools::find() {
        Ok(tools) => tools,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let project = Project::empty();
    let dependency = format!("livepatch = {{ path = '{}' }}", crates.join("runtime").display());
    project.write("Cargo.toml", &manifest("app", &format!("[dependencies]\n{dependency}\n[workspace]\n")));
    std::fs::copy(crates.join("../Cargo.lock"), project.file("Cargo.lock")).unwrap();
    project.write(".cargo/config.toml", &tools.configuration());
    project.write("src/main.rs", DIALS);
    let arguments = ["--target", tools::TARGET, "--via", "library", "--listen", "0"];
    let mut session = Session::start_only(&project, &arguments);
    wait_until_ready(&mut session);
    session.wait_until_said("answer 71 ");
    let mut before = last(&session, 71);
    for now in [72, 73] {
        project.write("src/main.rs", &DIALS.replace("71", &now.to_string()));
        session.wait_for("patched");
        session.wait_until_said(&format!("answer {now} "));
        let after = last(&session, now);
        assert!(after.0 > before.0 && after.1 > before.1, "state is kept: {before:?}, {after:?}");
        before = after;
    }
    let done = livepatch(&project, &["rollback", "--to", "1"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let rolled_back = session.said().len();
    let since = Instant::now();
    while !session.said()[rolled_back..].contains("answer 72 ") {
        assert!(since.elapsed() < PATIENCE, "the old answer is not back:\n{}", session.said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_runner_of_the_users_starts_the_program() {
    let project = Project::simple();
    let triple = tools::own_triple();
    project.write(".cargo/config.toml", &format!("[target.{triple}]\nrunner = ['env', 'THROUGH=runner']\n"));
    let main = project::MAIN.replace(
        "println!(\"started\");",
        "println!(\"started by {:?} with {:?}\", std::env::var(\"THROUGH\"), std::env::var(\"LIVEPATCH_PRELOAD\"));",
    );
    project.write("src/main.rs", &main);
    let mut session = Session::start(&project);
    session.wait_until_said("started by Ok(\"runner\") with Err(NotPresent)");
    session.wait_until_said("number 1");
    project.write("src/number.rs", &project::number(2));
    session.wait_for("patched");
    session.wait_until_said("number 2");
}
