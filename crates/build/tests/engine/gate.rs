//! Edits that change how data look: what is refused, what old and new code are both kept for.

use crate::fixture::Fixture;
use crate::program::Program;

/// Types of all kinds, values of which the program holds.
const TYPES: &str = r#"
use std::io::BufRead;
mod model {
    pub struct State { pub count: u64, pub ratio: f32, pub on: bool }
    pub enum Shape { Round(u32), Square { side: u32 } }
    #[derive(Clone, Copy, PartialEq)] pub enum Mode { Fast, Slow }
    pub trait Speak { fn first(&self) -> u32; fn second(&self) -> u32; }
    pub struct Dog(pub u32);
    impl Speak for Dog { fn first(&self) -> u32 { self.0 } fn second(&self) -> u32 { self.0 + 1 } }
    pub struct Wrapper<T> { pub inner: T, pub more: u8 }
}
use model::*;
fn show(s: &State, k: &Shape, m: Mode, w: &Wrapper<Option<u16>>) -> String {
    let shape = match k { Shape::Round(r) => *r, Shape::Square { side } => side * 4 };
    format!("{} {} {} {shape} {} {:?} {}", s.count, s.ratio, s.on, m == Mode::Slow, w.inner, w.more)
}
fn main() {
    let mut state = State { count: 1, ratio: 0.5, on: true };
    let shape = if std::env::args().count() > 5 { Shape::Round(1) } else { Shape::Square { side: 2 } };
    let speak: Box<dyn Speak> = Box::new(Dog(3));
    let wrapper = Wrapper { inner: Some(7), more: 9 };
    for line in std::io::stdin().lock().lines() {
        state.count += line.unwrap().len() as u64;
        println!("{} {}", show(&state, &shape, Mode::Fast, &wrapper), speak.first() + speak.second());
    }
}
"#;

#[test]
fn a_type_that_changed_its_layout_is_told_with_what_changed() {
    let mut f = Fixture::new(TYPES);
    let cases = [
        (
            "pub on: bool",
            "pub on: bool, pub name: Option<String>",
            "on: true",
            "on: true, name: None",
            &["State", "name", "added"][..],
        ),
        ("pub on: bool", "pub on: u64", "on: true", "on: 1", &["State", "on", "bool", "u64"]),
        ("pub ratio: f32, ", "", "ratio: 0.5, ", "", &["State", "ratio"]),
        (
            "Round(u32)",
            "Round(u32), Other(u64)",
            "side * 4 }",
            "side * 4, Shape::Other(n) => *n as u32 }",
            &["Shape", "Other"],
        ),
        ("Fast, Slow", "Fast, Medium, Slow", "", "", &["Mode", "Medium"]),
        ("pub more: u8", "pub more: u32", "", "", &["Wrapper", "more"]),
    ];
    for (from, to, from2, to2, words) in cases {
        let source = f.source.clone();
        if !from2.is_empty() {
            f.source =
                f.source.replace(from2, to2).replace("s.ratio", if to.is_empty() { "0" } else { "s.ratio" });
        }
        let reasons = f.unsound(from, to).join("; ");
        f.source = source;
        assert!(words.iter().all(|word| reasons.contains(word)), "{from} → {to}: {reasons:?}");
    }
}

#[test]
fn a_trait_object_whose_methods_moved_is_told() {
    let mut f = Fixture::new(TYPES);
    let swapped = f.unsound(
        "fn first(&self) -> u32; fn second(&self) -> u32;",
        "fn second(&self) -> u32; fn first(&self) -> u32;",
    );
    assert!(swapped.join("; ").contains("first"), "{swapped:?}");
    let added =
        f.unsound("fn second(&self) -> u32;", "fn second(&self) -> u32; fn third(&self) -> u32 { 7 }");
    assert!(added.join("; ").contains("third"), "{added:?}");
}

#[test]
fn what_keeps_its_layout_is_no_reason() {
    let mut f = Fixture::new(TYPES);
    assert_eq!(f.line("ab"), "3 0.5 true 8 false Some(7) 9 7");
    // Another body, and a struct that no value of before has.
    f.edit("side * 4", "{ struct New(u32, u64); let n = New(*side, 1); n.0 * 5 + n.1 as u32 }");
    assert_eq!(f.line("ab"), "5 0.5 true 11 false Some(7) 9 7");
    // Another order in the source, the same layout.
    assert_eq!(f.unsound("pub count: u64, pub ratio: f32", "pub ratio: f32, pub count: u64"), [""; 0]);
}

/// Closures that are kept, made anew, and passed on.
const CLOSURES: &str = r#"
use std::io::BufRead;
type Stored = Vec<Box<dyn Fn(u32) -> u32>>;
fn store(to: &mut Stored, a: u32, b: u64) {
    let _ = b;
    to.push(Box::new(move |x| x + a));
    to.push(Box::new(move |x| x * a));
}
fn total(a: u32) -> u32 { (1..4).map(|x| x * a).filter(|x| x % 2 == 0).sum() }
fn main() {
    let mut stored = Stored::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        if line == "store" { store(&mut stored, 10, 1000); println!("{}", stored.len()); continue; }
        let all: Vec<u32> = stored.iter().map(|f| f(3)).collect();
        println!("{all:?} {}", total(2));
    }
}
"#;

#[test]
fn a_stored_closure_gets_a_new_body_when_it_captures_the_same() {
    let mut f = Fixture::new(CLOSURES);
    f.line("store");
    assert_eq!(f.line("all"), "[13, 30] 12");
    f.edit("|x| x + a", "|x| x + a + 100");
    assert_eq!(f.line("all"), "[113, 30] 12");
    f.edit("|x| x * a));", "|x| x * a + 1));");
    assert_eq!(f.line("all"), "[113, 31] 12");
}

#[test]
fn a_stored_closure_keeps_its_body_when_new_ones_capture_more() {
    let mut f = Fixture::new(CLOSURES);
    f.line("store");
    f.edit("|x| x + a)", "|x| x + a + b as u32)");
    assert_eq!(f.line("all"), "[13, 30] 12");
    f.line("store");
    assert_eq!(f.line("all"), "[13, 30, 1013, 30] 12");
    // Edits of the new closure reach the new values, and only them.
    f.edit("|x| x + a + b as u32)", "|x| x + a + b as u32 + 7)");
    assert_eq!(f.line("all"), "[13, 30, 1020, 30] 12");
    f.running.roll_back(&mut f.session, 0);
    f.line("store");
    assert_eq!(f.line("all"), "[13, 30, 1013, 30, 13, 30] 12");
    f.edit("7)", "8)");
    f.line("store");
    assert_eq!(f.line("all"), "[13, 30, 1013, 30, 13, 30, 1021, 30] 12");
}

#[test]
fn a_stored_closure_is_not_mistaken_for_one_that_was_inserted() {
    let mut f = Fixture::new(CLOSURES);
    f.line("store");
    f.edit(
        "    to.push(Box::new(move |x| x + a));",
        "    to.push(Box::new(move |x| x + 2 * a));\n    to.push(Box::new(move |x| x + a));",
    );
    assert_eq!(f.line("all"), "[13, 30] 12");
    f.line("store");
    assert_eq!(f.line("all"), "[13, 30, 23, 13, 30] 12");
}

#[test]
fn closures_passed_to_adaptors_change_what_they_capture() {
    let mut f = Fixture::new(CLOSURES);
    assert_eq!(f.line("all"), "[] 12");
    f.edit(
        "fn total(a: u32) -> u32 { (1..4).map(|x| x * a)",
        "fn total(a: u32) -> u32 { let b = a as u64 + 1; (1..4).map(|x| x * a + b as u32)",
    );
    assert_eq!(f.line("all"), "[] 0", "5, 7 and 9 are odd");
    f.edit("+ b as u32)", "+ b as u32 + 1)");
    assert_eq!(f.line("all"), "[] 24", "6, 8 and 10 are even");
}

/// Futures on an executor that runs each task one step for every line.
const FUTURES: &str = r#"
use std::future::Future;
use std::io::BufRead;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

struct Yield(bool);
impl Future for Yield {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
async fn step(n: u32) -> u32 {
    let a = n + 1;
    Yield(false).await;
    a
}
async fn long() {
    let mut n = 0;
    loop {
        n = step(n).await;
        print!("long {n};");
    }
}
async fn short(n: u32) { let m = step(n).await; print!("short {m};"); }
fn start(tasks: &mut Vec<Pin<Box<dyn Future<Output = ()>>>>, n: u32) { tasks.push(Box::pin(short(n))); }

fn main() {
    let mut tasks: Vec<Pin<Box<dyn Future<Output = ()>>>> = vec![Box::pin(long())];
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        if line == "start" { start(&mut tasks, 100); println!("{}", tasks.len()); continue; }
        let mut context = Context::from_waker(Waker::noop());
        tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        println!("");
    }
}
"#;

#[test]
fn a_future_goes_on_in_the_new_body_when_it_keeps_the_same() {
    let mut f = Fixture::new(FUTURES);
    assert_eq!([f.line("go"), f.line("go")], ["", "long 1;"]);
    f.edit("    a\n", "    a + 10\n");
    assert_eq!([f.line("go"), f.line("go")], ["long 12;", "long 23;"]);
}

#[test]
fn futures_of_before_finish_on_their_code_and_new_ones_run_the_new() {
    let mut f = Fixture::new(FUTURES);
    f.line("start");
    assert_eq!(f.line("go"), "");
    f.edit(
        "    Yield(false).await;\n    a\n",
        "    let more = [n; 20];\n    Yield(false).await;\n    a + more[3] * 2\n",
    );
    f.line("start");
    // The first `short` was on its way in the old `step`; the second one starts in the new one.
    assert_eq!(f.line("go"), "long 1;short 101;");
    // `long` goes on as it was, but the `step` that it began after the edit is the new one: 3 n + 1.
    assert_eq!(f.line("go"), "long 4;short 301;");
    assert_eq!(f.line("go"), "long 13;");
    // Another layout, from the one that is live: 5 n + 1.
    f.edit("let more = [n; 20];", "let more = [n * 2; 40];");
    assert_eq!([f.line("go"), f.line("go")], ["long 40;", "long 201;"]);
    // Taken back: what is under way ends as it began, what begins then is what it was at first.
    f.running.roll_back(&mut f.session, 0);
    assert_eq!([f.line("go"), f.line("go"), f.line("go")], ["long 1006;", "long 1007;", "long 1008;"]);
}

#[test]
fn a_changed_signature_does_not_reach_callers_of_before() {
    let source = r#"
use std::io::BufRead;
fn scale(x: u32) -> u32 { x * 2 }
fn answer(x: u32) -> u32 { scale(x) }
fn main() {
    let kept: fn(u32) -> u32 = std::hint::black_box(scale);
    for line in std::io::stdin().lock().lines() {
        let n = line.unwrap().len() as u32;
        println!("{} {}", answer(n), kept(n));
    }
}
"#;
    let mut f = Fixture::of(Program::new(source).argument("-Csymbol-mangling-version=v0"), source);
    assert_eq!(f.line("abc"), "6 6");
    f.source = f.source.replace("= std::hint::black_box(scale)", "= std::hint::black_box(answer)");
    f.source = f.source.replace("scale(x) }", "scale(x as f64 + 0.5) as u32 }");
    // Names of this kind do not tell the types of arguments.
    f.edit("fn scale(x: u32) -> u32 { x * 2 }", "fn scale(x: f64) -> f64 { x * 4.0 }");
    assert_eq!(f.line("abc"), "14 6");
}

/// A task that goes on for ever; what it awaits takes a value that counts how often it is dropped, gives a
/// large result, and can be cancelled or panic.
const MOVED: &str = r#"
use std::future::Future;
use std::io::BufRead;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

static MADE: AtomicU32 = AtomicU32::new(0);
static DROPPED: AtomicU32 = AtomicU32::new(0);
struct Counted(String);
impl Counted { fn new(s: &str) -> Self { MADE.fetch_add(1, Relaxed); Counted(s.to_owned()) } }
impl Drop for Counted { fn drop(&mut self) { DROPPED.fetch_add(1, Relaxed); } }

struct Yield(u32);
impl Future for Yield {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0 -= 1;
        if self.0 == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}
/// Whichever is ready first; the other one is dropped.
struct Race<A>(Pin<Box<A>>, Yield);
impl<A: Future<Output = String>> Future for Race<A> {
    type Output = String;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<String> {
        match self.0.as_mut().poll(context) {
            Poll::Ready(s) => Poll::Ready(s),
            Poll::Pending => Pin::new(&mut self.1).poll(context).map(|()| "cancelled".to_owned()),
        }
    }
}
async fn work(counted: Counted, steps: u32, tail: [u8; 3]) -> String {
    Yield(steps).await;
    if steps == 4 { panic!("four") }
    format!("{} {steps} {}", counted.0, tail[2])
}
async fn serve() {
    let mut n = 0u32;
    loop {
        n += 1;
        let text = match n % 3 {
            0 => work(Counted::new("plain"), 2, [1, 2, n as u8]).await,
            1 => Race(Box::pin(work(Counted::new("raced"), 9, [0; 3])), Yield(2)).await,
            _ => Race(Box::pin(work(Counted::new("won"), 2, [7; 3])), Yield(3)).await,
        };
        print!("{text};");
        Yield(2).await;
    }
}
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(serve());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let wanted: usize = line.len();
        if line == "panic" {
            let mut four: Pin<Box<dyn Future<Output = String>>> = Box::pin(work(Counted::new("x"), 4, [0; 3]));
            let mut polls = 0;
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loop {
                polls += 1;
                if four.as_mut().poll(&mut context).is_ready() { break }
            }));
            drop(four);
            println!("{} after {polls}, {} left", end.is_err(), MADE.load(Relaxed) - DROPPED.load(Relaxed));
            continue;
        }
        for _ in 0..wanted { let _ = task.as_mut().poll(&mut context); }
        println!(" {} left", MADE.load(Relaxed) - DROPPED.load(Relaxed));
    }
}
"#;

#[test]
fn moved_futures_are_dropped_once_whether_they_end_are_cancelled_or_panic() {
    let mut f = Fixture::new(MOVED);
    // Two polls for each text: it is begun, it is done and the pause is begun.
    assert_eq!(f.line("......"), "cancelled;won 2 7;plain 2 3; 0 left");
    assert_eq!(f.line("."), " 1 left");
    f.edit(
        "    Yield(steps).await;\n    if",
        "    let more = [Counted::new(\"more\"), Counted::new(\"again\")];\n    Yield(steps).await;\n    print!(\"<{}>\", more[1].0);\n    if",
    );
    // The first was begun in the old code. The next two are new ones inside the old task.
    assert_eq!(f.line("....."), "cancelled;<again>won 2 7;<again>plain 2 6; 0 left");
    assert_eq!(f.line("."), " 3 left", "cancelled while it is in the new code");
    assert_eq!(f.line("....."), "cancelled;<again>won 2 7;<again>plain 2 9; 0 left");
    assert_eq!(f.line("panic"), "<again>true after 4, 0 left");
    f.running.roll_back(&mut f.session, 0);
    assert_eq!(f.line("......"), "cancelled;won 2 7;plain 2 12; 0 left");
    assert_eq!(f.line("panic"), "true after 4, 0 left");
}

#[test]
fn futures_that_begin_after_a_rollback_get_the_code_that_is_live_then() {
    let mut f = Fixture::new(MOVED);
    assert_eq!(f.line("......"), "cancelled;won 2 7;plain 2 3; 0 left");
    let (text, one) = ("format!(\"{} {steps}", "format!(\"one {} {steps}");
    f.edit(text, one);
    assert_eq!(f.line("......"), "cancelled;one won 2 7;one plain 2 6; 0 left");
    let (short, long) = (
        "    Yield(steps).await;\n    if",
        "    let more = [Counted::new(\"more\"), Counted::new(\"again\")];\n    Yield(steps).await;\n    print!(\"<{}>\", more[1].0);\n    if",
    );
    f.edit(short, long);
    assert_eq!(f.line("......"), "cancelled;<again>one won 2 7;<again>one plain 2 9; 0 left");
    assert_eq!(f.line("."), " 3 left", "one is in the new code");
    f.edit(long, short);
    // That one is cancelled; what begins has the short form.
    assert_eq!(f.line("....."), "cancelled;one won 2 7;one plain 2 12; 0 left");
    f.running.roll_back(&mut f.session, 1);
    assert_eq!(f.line("......"), "cancelled;one won 2 7;one plain 2 15; 0 left");
    f.running.roll_back(&mut f.session, 0);
    assert_eq!(f.line("......"), "cancelled;won 2 7;plain 2 18; 0 left");
    f.source = f.source.replace(one, text);
    f.edit("\"cancelled\"", "\"given up\"");
    assert_eq!(f.line("......"), "given up;won 2 7;plain 2 21; 0 left");
}

#[test]
fn a_static_of_another_type_is_told_where_its_name_does_not_tell() {
    let source = r#"
use std::cell::Cell;
use std::io::BufRead;
use std::sync::atomic::*;
static COUNT: AtomicU32 = AtomicU32::new(5);
thread_local! { static LOCAL: Cell<u32> = const { Cell::new(1) }; }
fn main() {
    for line in std::io::stdin().lock().lines() {
        let n = line.unwrap().len();
        LOCAL.set(LOCAL.get() + 1);
        println!("{} {}", COUNT.fetch_add(n as _, Ordering::Relaxed), LOCAL.get());
    }
}
"#;
    let mut f = Fixture::of(Program::new(source).argument("-Csymbol-mangling-version=v0"), source);
    assert_eq!(f.line("ab"), "5 2");
    let reasons = f.unsound("AtomicU32 = AtomicU32::new(5)", "AtomicI32 = AtomicI32::new(5)");
    let [reason] = &*reasons else { panic!("{reasons:?}") };
    assert!(
        reason.contains("COUNT") && reason.contains("AtomicU32 → ") && reason.contains("AtomicI32"),
        "{reason}"
    );
    let reasons = f.unsound("Cell<u32> = const", "Cell<i32> = const").join("; ");
    assert!(reasons.contains("LOCAL"), "{reasons}");
}
