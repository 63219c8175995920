//! Callers of every kind get the new body: who holds a function since before the edit too.

use crate::live::{Live, functions};

const CODE: &str = r#"
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub trait Speak: Send + Sync {
    fn speak(&self) -> String;
    fn twice(&self) -> String { format!("{0} {0}", self.speak()) }
}
struct Dog(u32);
impl Speak for Dog { fn speak(&self) -> String { format!("woof {}", self.0) } }
impl Drop for Dog { fn drop(&mut self) { DROPPED.store(self.0 + 1, Relaxed); } }

static DROPPED: AtomicU32 = AtomicU32::new(0);
static POINTER: OnceLock<fn(u32) -> u32> = OnceLock::new();
static OBJECT: OnceLock<Box<dyn Speak>> = OnceLock::new();
static CLOSURE: OnceLock<Box<dyn Fn(u32) -> u32 + Send + Sync>> = OnceLock::new();
static BORROWING: OnceLock<Box<dyn Fn() -> String + Send + Sync>> = OnceLock::new();

fn named(x: u32) -> u32 { x + 1 }
fn generic<T: Into<u64>>(x: T) -> u64 { x.into() * 2 }

pub fn start() {
    let _ = POINTER.set(std::hint::black_box(named));
    let _ = OBJECT.set(Box::new(Dog(1)));
    let _ = CLOSURE.set(Box::new(|x| named(x) * 10));
    let borrowed: &'static String = Box::leak(Box::new("kept".to_string()));
    let _ = BORROWING.set(Box::new(move || format!("first {borrowed}")));
}

pub fn answer(question: &str) -> String {
    match question {
        "direct" => named(1).to_string(),
        "pointer" => POINTER.get().unwrap()(1).to_string(),
        "closure" => CLOSURE.get().unwrap()(1).to_string(),
        "map" => [1, 2].into_iter().map(named).sum::<u32>().to_string(),
        "object" => OBJECT.get().unwrap().speak(),
        "default" => OBJECT.get().unwrap().twice(),
        "generic" => format!("{} {}", generic(3u8), generic(4u32)),
        "borrowing" => BORROWING.get().unwrap()(),
        "drop" => { drop(Dog(1)); DROPPED.load(Relaxed).to_string() }
        _ => String::new(),
    }
}
"#;

#[test]
fn functions_held_since_before_the_edit_run_the_new_body() {
    let mut live = Live::new(CODE);
    let ask = |live: &mut Live, all: &[&str]| all.iter().map(|q| live.ask(q)).collect::<Vec<_>>();
    let kinds = ["direct", "pointer", "closure", "map"];
    assert_eq!(ask(&mut live, &kinds), ["2", "2", "20", "5"]);
    let patched = live.edit("{ x + 1 }", "{ x + 5 }");
    assert_eq!(functions(&patched), ["app::code::named"]);
    assert_eq!(ask(&mut live, &kinds), ["6", "6", "60", "13"]);

    assert_eq!(ask(&mut live, &["object", "default"]), ["woof 1", "woof 1 woof 1"]);
    live.edit("woof", "wuff");
    assert_eq!(ask(&mut live, &["object", "default"]), ["wuff 1", "wuff 1 wuff 1"]);
    live.edit("{0} {0}", "{0}, {0}");
    assert_eq!(ask(&mut live, &["object", "default"]), ["wuff 1", "wuff 1, wuff 1"]);

    assert_eq!(live.ask("generic"), "6 8");
    live.edit("x.into() * 2", "x.into() * 3");
    assert_eq!(live.ask("generic"), "9 12");

    assert_eq!(live.ask("drop"), "2");
    live.edit("self.0 + 1", "self.0 + 7");
    assert_eq!(live.ask("drop"), "8");
}

#[test]
fn a_closure_that_holds_one_reference_gets_its_new_body() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("borrowing"), "first kept");
    live.edit("\"first {borrowed}\"", "\"second {borrowed}, {}\", borrowed.len()");
    assert_eq!(live.ask("borrowing"), "second kept, 4");
}

/// A hand-made executor: one future, polled a step at a time.
const ASYNC: &str = r#"
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

struct Pause(bool);
impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
static SAID: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static TASK: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>> = Mutex::new(None);

async fn count() {
    let mut n = 0u64;
    loop {
        n += 1;
        SAID.lock().unwrap().push(n * 10);
        Pause(false).await;
    }
}

pub fn start() { *TASK.lock().unwrap() = Some(Box::pin(count())); }

pub fn answer(_: &str) -> String {
    let mut task = TASK.lock().unwrap();
    let _ = task.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(Waker::noop()));
    SAID.lock().unwrap().last().unwrap().to_string()
}
"#;

#[test]
fn a_future_that_is_under_way_goes_on_in_the_new_body() {
    let mut live = Live::new(ASYNC);
    assert_eq!([live.ask("?"), live.ask("?")], ["10", "20"]);
    live.edit("n * 10", "n * 100");
    assert_eq!([live.ask("?"), live.ask("?")], ["300", "400"]);
}
