//! Futures that one session has moved to new code, in the hands of the next.

use crate::live::Live;
use crate::started::Started;

const CODE: &str = r#"
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

type Task = Pin<Box<dyn Future<Output = String> + Send>>;
static TASKS: Mutex<Vec<(String, Task)>> = Mutex::new(Vec::new());
static DROPPED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Pause(bool);
impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

pub struct Name(String);
impl Drop for Name {
    fn drop(&mut self) { DROPPED.lock().unwrap().push(self.0.clone()) }
}

pub fn start() {}

pub fn answer(question: &str) -> String {
    let (what, name) = question.split_once(' ').unwrap();
    let mut tasks = TASKS.lock().unwrap();
    let at = tasks.iter().position(|(known, _)| known == name);
    match (what, at) {
        ("spawn", _) => { tasks.push((name.to_owned(), Box::pin(work(Name(name.to_owned()))))); "spawned".to_owned() }
        ("poll", Some(at)) => match tasks[at].1.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => "pending".to_owned(),
            Poll::Ready(text) => { drop(tasks.remove(at)); text }
        },
        ("drop", Some(at)) => { drop(tasks.remove(at)); "dropped".to_owned() }
        _ => std::mem::take(&mut *DROPPED.lock().unwrap()).join(" "),
    }
}

async fn work(name: Name) -> String {
    Pause(false).await;
    Pause(false).await;
    format!("old {}", name.0)
}
"#;

/// The same with something more to keep while it waits.
const MORE: &str = r#"
async fn work(name: Name) -> String {
    let more = [name.0.len() as u64 + 10; 9];
    Pause(false).await;
    Pause(false).await;
    format!("new {} {}", name.0, more.iter().sum::<u64>())
}
"#;

fn code(work: &str) -> String {
    let at = CODE.find("\nasync fn work").expect("it is there");
    CODE[..at].to_owned() + work
}

fn ask_all(live: &mut Live, questions: &[(&str, &str)]) {
    for (question, answer) in questions {
        assert_eq!(live.ask(question), *answer, "{question}\n{}", live.report());
    }
}

#[test]
fn what_was_moved_goes_on_where_it_is() {
    let mut program = Started::new(CODE);
    let mut live = program.attach();
    let spawned = ["begun", "first", "second", "third", "fourth"];
    spawned.iter().for_each(|name| assert_eq!(live.ask(&format!("spawn {name}")), "spawned"));
    assert_eq!(live.ask("poll begun"), "pending");
    let versioned = live.patch(&code(MORE))["versioned"].to_string();
    assert!(versioned.contains("work"), "{versioned}");
    // These two are elsewhere from now on.
    ask_all(&mut live, &[("poll first", "pending"), ("poll second", "pending"), ("poll fourth", "pending")]);
    program.detach(live);

    // The next session knows nothing of that, and has the same edit go live.
    let mut live = program.attach();
    assert_eq!(live.outcome()["event"], "patched", "{}", live.report());
    ask_all(
        &mut live,
        &[
            ("poll first", "pending"),
            // 9 × (5 + 10)
            ("poll first", "new first 135"),
            ("dropped ?", "first"),
            ("drop second", "dropped"),
            ("dropped ?", "second"),
            ("poll begun", "pending"),
            ("poll begun", "old begun"),
            ("dropped ?", "begun"),
            // Not begun in either: it moves now.
            ("poll third", "pending"),
        ],
    );
    // Back at what the program was built with, each goes on with the code that knows it.
    assert!(crate::session::livepatch(&live.project, &["rollback", "--to", "0"]).status.success());
    ask_all(
        &mut live,
        &[
            ("poll third", "pending"),
            ("poll third", "new third 135"),
            ("poll fourth", "pending"),
            ("poll fourth", "new fourth 144"),
            ("dropped ?", "third fourth"),
        ],
    );
    program.detach(live);
    assert!(program.runs());
}

#[test]
fn code_that_moved_futures_would_arrive_at_is_refused() {
    let mut program = Started::new(CODE);
    let mut live = program.attach();
    assert_eq!(live.ask("spawn first"), "spawned");
    live.patch(&code(MORE));
    assert_eq!(live.ask("poll first"), "pending");
    program.detach(live);
    // The layout of before with another body: the futures of the base build would run it where they are, and
    // so would the one that is elsewhere.
    program.project().write("src/code.rs", &CODE.replace("old {}", "other {}"));
    let mut live = program.attach();
    let event = live.outcome();
    assert_eq!(event["event"], "rejected", "{event}");
    assert!(event["reason"].to_string().contains("work"), "{event}");
    ask_all(&mut live, &[("poll first", "pending"), ("poll first", "new first 135")]);
    // Whatever else is edited goes live.
    live.patch(&code(MORE).replace("\"dropped\".to_owned()", "\"Dropped\".to_owned()"));
    ask_all(&mut live, &[("spawn last", "spawned"), ("drop last", "Dropped")]);
}
