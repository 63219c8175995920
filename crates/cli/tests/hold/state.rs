//! State of every kind is the program's own, however often its code is patched.

use crate::live::Live;

const CODE: &str = r#"
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, mpsc};

static COUNT: AtomicU64 = AtomicU64::new(1000);
static mut RAW: u64 = 2000;
static ONCE: OnceLock<Mutex<HashMap<u64, Box<u64>>>> = OnceLock::new();
static WORKER: OnceLock<Mutex<(mpsc::Sender<()>, mpsc::Receiver<String>)>> = OnceLock::new();
thread_local! {
    static CONST: Cell<u64> = const { Cell::new(3000) };
    static LAZY: RefCell<Vec<u64>> = RefCell::new(vec![0; 40]);
    static HEAP: RefCell<HashMap<u64, Box<u64>>> = RefCell::new(HashMap::new());
}

pub fn start() {
    let (ask, asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    std::thread::spawn(move || {
        let mut own = vec![Box::new(5000)];
        while asked.recv().is_ok() {
            answer.send(step(&mut own)).unwrap();
        }
    });
    let _ = WORKER.set(Mutex::new((ask, answers)));
}

fn step(own: &mut Vec<Box<u64>>) -> String {
    let next = **own.last().unwrap() + 1;
    own.push(Box::new(next));
    CONST.set(CONST.get() + 1);
    LAZY.with_borrow_mut(|v| v.push(0));
    HEAP.with_borrow_mut(|m| m.insert(m.len() as u64, Box::new(next)));
    let heap = HEAP.with_borrow(|m| m.values().map(|v| **v).sum::<u64>());
    format!("{} {} {} {} {heap}", own.len(), own.last().unwrap(), CONST.get(), LAZY.with_borrow(|v| v.len()))
}

thread_local! { static MAINS: RefCell<Vec<Box<u64>>> = RefCell::new(vec![Box::new(7000)]); }

pub fn answer(_: &str) -> String {
    let raw = unsafe { RAW += 1; RAW };
    let once = ONCE.get_or_init(Default::default);
    let mut once = once.lock().unwrap();
    let n = once.len() as u64;
    once.insert(n, Box::new(n * n));
    let here = MAINS.with_borrow_mut(step);
    let worker = WORKER.get().unwrap().lock().unwrap();
    worker.0.send(()).unwrap();
    let there = worker.1.recv().unwrap();
    format!("0: {} {raw} {} {} | {here} | {there}", COUNT.fetch_add(1, Relaxed), once.len(), once[&n])
}
"#;

/// What the program must answer after `n` answers, when its text has the number `n`.
fn expected(n: u64) -> String {
    let calls = n + 1;
    // A thread's boxes start at `first`; its map gets first + 1, first + 2, …
    let thread = |first: u64| {
        let sum: u64 = (1..=calls).map(|i| first + i).sum();
        format!("{} {} {} {} {sum}", calls + 1, first + calls, 3000 + calls, 40 + calls)
    };
    let statics = format!("{} {} {calls} {}", 1000 + n, 2000 + calls, n * n);
    format!("{n}: {statics} | {} | {}", thread(7000), thread(5000))
}

#[test]
fn a_hundred_patches_keep_statics_thread_locals_and_the_heap() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("?"), expected(0));
    let mut milliseconds = Vec::new();
    for n in 1..=100 {
        // Main's thread and the worker's run new code by turns.
        let patched = live.edit(&format!("\"{}: ", n - 1), &format!("\"{n}: "));
        assert_eq!(patched["patch"], n);
        milliseconds.push(patched["ms"]["total"].as_f64().unwrap());
        assert_eq!(live.ask("?"), expected(n));
    }
    milliseconds.sort_by(f64::total_cmp);
    println!("edit to live: median {:.0} ms", milliseconds[50]);
}

#[test]
fn code_of_a_thread_that_waits_in_it_is_patched_with_its_state() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("?"), expected(0));
    let text = "let next = **own.last().unwrap() + 1;";
    live.edit(text, "let next = **own.last().unwrap() + 1_000_000;");
    let answer = live.ask("?");
    let threads: Vec<&str> = answer.split(" | ").skip(1).collect();
    assert_eq!(
        threads,
        [
            format!("3 1007001 3002 42 {}", 7001 + 1_007_001),
            format!("3 1005001 3002 42 {}", 5001 + 1_005_001)
        ]
    );
}
