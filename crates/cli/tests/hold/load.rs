//! Patches while eight threads call the patched function without pause, and others sit in system calls.

use crate::live::Live;

const EDITS: u64 = 60;

const CODE: &str = r#"
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static CALLS: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);
static BACKWARDS: AtomicU64 = AtomicU64::new(0);
static SYSTEM_CALLS: AtomicU64 = AtomicU64::new(0);
static INTERRUPTED: AtomicU64 = AtomicU64::new(0);

extern "C" {
    fn setpriority(which: c_int, who: u32, priority: c_int) -> c_int;
    fn nanosleep(request: *const [i64; 2], remaining: *mut [i64; 2]) -> c_int;
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_wait(fd: c_int, events: *mut [u64; 2], most: c_int, timeout: c_int) -> c_int;
    fn pipe(ends: *mut [c_int; 2]) -> c_int;
    fn read(fd: c_int, buffer: *mut u8, length: usize) -> isize;
}

pub fn start() {
    for thread in 0..8u64 {
        std::thread::spawn(move || {
            // The compiler is to get on all the same.
            unsafe { setpriority(0, 0, 19) };
            let pointer: fn(u64) -> (u64, u64) = std::hint::black_box(work);
            let mut last = 0;
            for x in thread.. {
                let (n, y) = if x % 2 == 0 { work(x) } else { pointer(x) };
                CALLS.fetch_add(1, Relaxed);
                WRONG.fetch_add(u64::from(y != x.wrapping_mul(2 * n + 1)), Relaxed);
                BACKWARDS.fetch_add(u64::from(n < last), Relaxed);
                last = n;
            }
        });
    }
    let sits = |call: fn(c_int) -> isize, fd: c_int| {
        std::thread::spawn(move || loop {
            if call(fd) < 0 {
                INTERRUPTED.fetch_add(1, Relaxed);
            }
            SYSTEM_CALLS.fetch_add(1, Relaxed);
        });
    };
    sits(|_| unsafe { nanosleep(&[0, 20_000_000], &mut [0; 2]) as isize }, 0);
    sits(|fd| unsafe { epoll_wait(fd, &mut [0; 2], 1, 20) as isize }, unsafe { epoll_create1(0) });
    sits(|fd| unsafe { epoll_wait(fd, &mut [0; 2], 1, -1) as isize }, unsafe { epoll_create1(0) });
    let mut ends = [0; 2];
    unsafe { pipe(&mut ends) };
    sits(|fd| unsafe { read(fd, &mut 0, 1) }, ends[0]);
}

pub fn answer(question: &str) -> String {
    if question == "figures" {
        let all = [&CALLS, &WRONG, &BACKWARDS, &SYSTEM_CALLS, &INTERRUPTED];
        return all.map(|n| n.load(Relaxed).to_string()).join(" ");
    }
    format!("{:?}", work(10))
}

fn work(x: u64) -> (u64, u64) {
    (0, x)
}
"#;

/// The body of `work` after `n` edits: the number, and the argument times twice that and one.
fn body(n: u64) -> String {
    if n.is_multiple_of(2) {
        format!("fn work(x: u64) -> (u64, u64) {{\n    ({n}, x.wrapping_mul({}))\n}}\n", 2 * n + 1)
    } else {
        // Longer, with a loop, a call and memory of its own.
        format!(
            "fn work(x: u64) -> (u64, u64) {{\n    let all = std::hint::black_box([x; 3]);\n    \
             let sum = all.iter().fold(0u64, |sum, x| sum.wrapping_add(*x));\n    \
             ({n}, sum.wrapping_add(x.wrapping_mul({}u64.wrapping_sub(3))))\n}}\n",
            2 * n + 1
        )
    }
}

#[test]
fn eight_threads_see_old_or_new_and_nothing_else() {
    let mut live = Live::new(CODE);
    let head = CODE[..CODE.find("fn work").unwrap()].to_owned();
    assert_eq!(live.ask("?"), "(0, 10)");
    for n in 1..=EDITS {
        live.patch(&format!("{head}{}", body(n)));
        assert_eq!(live.ask("?"), format!("({n}, {})", 10 * (2 * n + 1)));
    }
    let figures = live.ask("figures");
    println!("calls, wrong, backwards, system calls, interrupted: {figures}");
    let figures: Vec<u64> = figures.split(' ').map(|n| n.parse().unwrap()).collect();
    assert!(figures[0] > 1_000_000, "{figures:?}");
    assert_eq!(figures[1..3], [0, 0]);
    assert!(figures[3] > EDITS, "{figures:?}");
    assert_eq!(figures[4], 0);
}
