//! Sessions that are killed: the program goes on unchanged, and another session takes over.

use crate::live::{Live, package};
use crate::project::Project;
use crate::session::Session;
use std::time::Duration;

const CODE: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
static ASKED: AtomicU32 = AtomicU32::new(0);
pub fn start() {}
pub fn answer(question: &str) -> String {
    if question == "id" { return std::process::id().to_string() }
    format!("{} {}", ASKED.fetch_add(1, SeqCst) + 1, value())
}
#[inline(never)]
fn value() -> u32 { std::hint::black_box(1000) }
"#;

fn kill(live: &mut Live) {
    live.session.signal("KILL");
    live.session.wait();
}

/// The project of a session that has ended. The program serves one connection at a time.
fn hang_up(live: Live) -> Project {
    live.project
}

/// Ends a program that its session has left alone.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").args(["-s", "KILL", &self.0.to_string()]).status();
    }
}

#[test]
fn between_patches() {
    let mut live = Live::new(CODE);
    let program = Orphan(live.pid());
    live.edit("1000", "2000");
    assert_eq!(live.ask("?"), "1 2000");
    kill(&mut live);
    assert_eq!(live.ask("?"), "2 2000");
    // Saved while nobody looks.
    live.project.write("src/code.rs", &live.code.replace("2000", "3000"));
    assert_eq!(live.ask("?"), "3 2000");

    live = Live::attach(hang_up(live), program.0);
    assert_eq!(live.events()[0]["loaded"], false, "the agent is there");
    assert_eq!(live.outcome()["event"], "patched");
    assert_eq!(live.ask("?"), "4 3000");
    // What needs an agent that was there from the start: a new thread-local.
    let local = "thread_local! { static N: std::cell::Cell<u32> = const { std::cell::Cell::new(4000) }; }\n#[inline(never)]\nfn value";
    let code = live.code.replace("#[inline(never)]\nfn value", local);
    live.patch(&code.replace("std::hint::black_box(3000)", "{ N.set(N.get() + 1); N.get() }"));
    assert_eq!(live.ask("?"), "5 4001");
    kill(&mut live);
    assert_eq!(live.ask("?"), "6 4002");

    // A new session beside it starts clean, and disturbs nothing.
    let project = hang_up(live);
    std::fs::rename(project.file("talk"), project.file("old talk")).unwrap();
    let mut second = Live::start(project, &[]);
    assert_ne!(second.ask("id"), program.0.to_string());
    assert_eq!(second.ask("?"), "1 4001");
    second.edit("N.get() + 1)", "N.get() + 999)");
    assert_eq!(second.ask("?"), "2 5000");
    let old = std::os::unix::net::UnixStream::connect(second.project.file("old talk")).unwrap();
    use std::io::{BufRead, Write};
    (&old).write_all(b"?\n").unwrap();
    let mut line = String::new();
    std::io::BufReader::new(&old).read_line(&mut line).unwrap();
    assert_eq!(line, "7 4003\n");
}

/// At any moment on the way of an edit: afterwards the program is at the one or the other, and whole.
#[test]
fn in_the_middle_of_a_patch() {
    let project = package(CODE);
    let session = Session::start_with(&project, &[]);
    let events = std::fs::read_to_string(project.file("events")).unwrap();
    let ready = events.lines().rfind(|line| line.contains("\"ready\"")).unwrap().to_owned();
    let pid = serde_json::from_str::<serde_json::Value>(&ready).unwrap()["pid"].as_u64().unwrap();
    let program = Orphan(u32::try_from(pid).unwrap());
    let mut first = Some(session);
    let (mut project, mut asked, mut value) = (Some(project), 0, 1000);
    for round in 0..8u32 {
        let lent: Project = project.take().unwrap();
        // The first session started it; the others attach.
        let mut live = match first.take() {
            Some(session) => Live::of(lent, session, "src/code.rs"),
            None => Live::attach(lent, program.0),
        };
        let mut ask = |live: &mut Live| {
            asked += 1;
            let answer = live.ask("?");
            let (count, value) = answer.split_once(' ').unwrap();
            assert_eq!(count.parse::<u32>().unwrap(), asked, "state is kept");
            value.parse::<u32>().unwrap()
        };
        if round > 0 {
            // What is in the source is live soon, whatever the session that was killed had done.
            let since = std::time::Instant::now();
            while ask(&mut live) != value {
                assert!(since.elapsed() < Duration::from_secs(30), "round {round}: {}", live.report());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let before = value;
        value += 1;
        live.project.write("src/code.rs", &CODE.replace("1000", &value.to_string()));
        // From the first moment to when it is long live, in steps.
        live.session.wait_for("edit");
        std::thread::sleep(Duration::from_millis(u64::from(round) * 20));
        kill(&mut live);
        let now = ask(&mut live);
        assert!(now == before || now == value, "round {round}: {now}");
        for _ in 0..20 {
            assert_eq!(ask(&mut live), now, "round {round}: nothing changes any more");
        }
        project = Some(hang_up(live));
    }
}
