//! Thousands of patches of a function that eight threads call without pause.

use crate::program::Program;
use crate::server::Running;
use livepatch_build::session::Session;
use std::time::{Duration, Instant};

/// Patches, each with an image of its own.
const IMAGES: usize = 2_000;
/// Patches that switch between bodies that are there.
const SWITCHES: usize = 8_000;
/// More bodies than are remembered: the one before the last comes back as a new one.
const BODIES: usize = 12;

const BASE: &str = r#"
use std::ffi::c_int;
use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static CALLS: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);
static SYSTEM_CALLS: AtomicU64 = AtomicU64::new(0);
static INTERRUPTED: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn setpriority(which: c_int, who: u32, priority: c_int) -> c_int;
    fn nanosleep(request: *const [i64; 2], remaining: *mut [i64; 2]) -> c_int;
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_wait(fd: c_int, events: *mut [u64; 2], most: c_int, timeout: c_int) -> c_int;
    fn pipe(ends: *mut [c_int; 2]) -> c_int;
    fn read(fd: c_int, buffer: *mut u8, length: usize) -> isize;
}

fn sits(call: impl Fn() -> bool + Send + 'static) {
    std::thread::spawn(move || loop {
        INTERRUPTED.fetch_add(u64::from(call()), Relaxed);
        SYSTEM_CALLS.fetch_add(1, Relaxed);
    });
}

fn main() {
    for thread in 0..8u64 {
        std::thread::spawn(move || {
            unsafe { setpriority(0, 0, 19) };
            let pointer: fn(u64) -> (u64, u64) = std::hint::black_box(work);
            for x in thread.. {
                let (n, y) = if x % 2 == 0 { work(x) } else { pointer(x) };
                WRONG.fetch_add(u64::from(y != x.wrapping_mul(2 * n + 1)), Relaxed);
                CALLS.fetch_add(1, Relaxed);
            }
        });
    }
    let mut ends = [0; 2];
    let epoll = unsafe { pipe(&mut ends); epoll_create1(0) };
    sits(|| unsafe { nanosleep(&[0, 20_000_000], &mut [0; 2]) < 0 });
    sits(move || unsafe { epoll_wait(epoll, &mut [0; 2], 1, 20) < 0 });
    sits(move || unsafe { epoll_wait(epoll, &mut [0; 2], 1, -1) < 0 });
    sits(move || unsafe { read(ends[0], &mut 0, 1) < 0 });
    for line in std::io::stdin().lock().lines() {
        if line.unwrap() == "figures" {
            println!("{}", [&CALLS, &WRONG, &SYSTEM_CALLS, &INTERRUPTED].map(|n| n.load(Relaxed).to_string()).join(" "));
        } else {
            println!("{:?}", work(10));
        }
    }
}

"#;

fn body(n: usize) -> String {
    let twice = 2 * n + 1;
    match n % 3 {
        0 => format!("fn work(x: u64) -> (u64, u64) {{ ({n}, x.wrapping_mul({twice})) }}"),
        1 => format!(
            "fn work(x: u64) -> (u64, u64) {{ let all = std::hint::black_box([x; {twice}]);\n\
             ({n}, all.iter().fold(0, |sum: u64, x| sum.wrapping_add(*x))) }}"
        ),
        _ => format!(
            "fn work(x: u64) -> (u64, u64) {{ if x == u64::MAX {{ panic!(\"{n}\") }}\n\
             ({n}, x.wrapping_mul({}).wrapping_add(x)) }}",
            twice - 1
        ),
    }
}

fn answer(n: usize) -> String {
    format!("({n}, {})", 10 * (2 * n + 1))
}

#[test]
fn ten_thousand_patches_under_eight_threads() {
    let source = |n: usize| format!("{BASE}{}\n", body(n));
    let mut program = Program::new(&source(0));
    let base = program.base();
    let patches = program.path("patches");
    let prepared: Vec<_> = (1..=BODIES)
        .map(|n| {
            program.save(&source(n));
            program.rebuild()
        })
        .collect();
    let mut session = Session::open(&base, &patches).expect("opening the session");
    let mut running = Running::start(&session, &base.host);
    assert_eq!(running.line("?"), answer(0));

    let mut times = Vec::new();
    let mut patch = |running: &mut Running, session: &mut Session, body: usize| {
        let start = Instant::now();
        let (functions, _) = running.patch(session, &prepared[body - 1..body]);
        times.push(start.elapsed());
        assert_eq!(functions, ["program::work"]);
    };
    for n in 0..IMAGES {
        let body = n % BODIES + 1;
        patch(&mut running, &mut session, body);
        if n % 50 == 0 {
            assert_eq!(running.line("?"), answer(body));
            // They are mapped, and need no names.
            let files = std::fs::read_dir(&patches).expect("the images").flatten();
            let removed = files.map(|file| std::fs::remove_file(file.path())).filter(Result::is_ok).count();
            assert_eq!(removed, if n == 0 { 1 } else { 50 }, "each patch has an image");
        }
    }
    for n in 0..SWITCHES {
        let body = n % 2 + 1;
        patch(&mut running, &mut session, body);
        if n % 50 == 0 {
            assert_eq!(running.line("?"), answer(body));
        }
    }
    let median = |times: &mut [Duration]| {
        times.sort();
        times[times.len() / 2]
    };
    let (images, switches) = times.split_at_mut(IMAGES);
    println!("{:?} with an image, {:?} without (medians)", median(images), median(switches));
    let figures = running.line("figures");
    println!("calls, wrong, system calls, interrupted: {figures}");
    let figures: Vec<u64> = figures.split(' ').map(|n| n.parse().expect("a number")).collect();
    assert!(figures[0] > 1_000_000 && figures[2] > 100);
    assert_eq!((figures[1], figures[3]), (0, 0));
    assert!(running.child.try_wait().expect("it is ours").is_none());
}
