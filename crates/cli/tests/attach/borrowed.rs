//! A thread that is borrowed notices nothing of it.

use cargo_livepatch::foreign::borrow::{Call, call};
use cargo_livepatch::foreign::library::{Library, code_of};
use cargo_livepatch::foreign::maps::Maps;
use livepatch_build::capture::Folders;
use livepatch_proto::Token;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Threads that wait in all ways, and compute; each counts what goes otherwise than it must.
const PROGRAM: &str = r#"
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

static WRONG: AtomicU64 = AtomicU64::new(0);
static TURNS: AtomicU64 = AtomicU64::new(0);
static END: AtomicBool = AtomicBool::new(false);
static HANDLED: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicU64 = AtomicU64::new(0);

extern "C" {
    fn nanosleep(time: *const [i64; 2], rest: *mut [i64; 2]) -> i32;
    fn poll(fds: *mut u64, count: u64, milliseconds: i32) -> i32;
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn setitimer(which: i32, new: *const [i64; 4], old: *mut [i64; 4]) -> i32;
}

extern "C" fn on_alarm(_: i32) { HANDLED.fetch_add(1, SeqCst); }

fn check(what: &str, right: bool) {
    TURNS.fetch_add(1, SeqCst);
    if !right {
        WRONG.fetch_add(1, SeqCst);
        eprintln!("wrong: {what}: {}", std::io::Error::last_os_error());
    }
}

fn until_the_end(mut turn: impl FnMut() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        turn();
        STARTED.fetch_add(1, SeqCst);
        while !END.load(SeqCst) { turn() }
    })
}

fn main() {
    let alarms = std::env::args().nth(1).is_some();
    if alarms {
        unsafe { signal(14, on_alarm); setitimer(0, &[0, 3000, 0, 3000], std::ptr::null_mut()); }
    }
    let mut threads = Vec::new();
    threads.push(until_the_end(move || {
        let since = Instant::now();
        let slept = unsafe { nanosleep(&[0, 20_000_000], std::ptr::null_mut()) };
        // A handler interrupts it; borrowing does not.
        let took = since.elapsed();
        check("nanosleep", alarms || slept == 0 && took >= Duration::from_millis(20));
    }));
    threads.push(until_the_end(move || {
        let since = Instant::now();
        let found = unsafe { poll(std::ptr::null_mut(), 0, 15) };
        check("poll", alarms || found == 0 && since.elapsed() >= Duration::from_millis(14));
    }));
    let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    threads.push(until_the_end(move || {
        let mut byte = [0];
        let read = near.read(&mut byte);
        check("read", alarms || matches!(read, Ok(1)) && byte == [7]);
    }));
    threads.push(until_the_end(move || {
        std::thread::sleep(Duration::from_millis(12));
        let _ = (&far).write_all(&[7]);
    }));
    static PAIR: (Mutex<u64>, Condvar) = (Mutex::new(0), Condvar::new());
    threads.push(until_the_end(|| {
        let lock = PAIR.0.lock().unwrap();
        let (lock, timeout) = PAIR.1.wait_timeout(lock, Duration::from_millis(18)).unwrap();
        check("condition", timeout.timed_out() && *lock == 0);
    }));
    threads.push(until_the_end(|| {
        let (_keep, asked) = mpsc::channel::<u8>();
        check("channel", asked.recv_timeout(Duration::from_millis(9)).is_err());
    }));
    // Every vector register, and the control word, over many turns.
    threads.push(until_the_end(|| {
        let a: [f64; 32] = std::array::from_fn(|i| i as f64 + 0.25);
        let mut sum = [0.0f64; 32];
        for _ in 0..50_000 {
            for i in 0..32 { sum[i] += std::hint::black_box(a[i]) }
        }
        check("floats", (0..32).all(|i| sum[i] == a[i] * 50_000.0));
    }));
    threads.push(until_the_end(|| {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for i in 0..200_000u64 { hash = (hash ^ std::hint::black_box(i)).wrapping_mul(0x100_0000_01b3) }
        check("integers", hash == HASH);
    }));
    while STARTED.load(SeqCst) < threads.len() as u64 { std::thread::sleep(Duration::from_millis(1)) }
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    END.store(true, SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("{} {} {}", WRONG.load(SeqCst), TURNS.load(SeqCst), HANDLED.load(SeqCst) > 0);
}
"#;

fn compile(folder: &Path) -> std::path::PathBuf {
    let hash =
        (0..200_000u64).fold(0xcbf2_9ce4_8422_2325u64, |hash, i| (hash ^ i).wrapping_mul(0x100_0000_01b3));
    let source = folder.join("waits.rs");
    std::fs::write(&source, format!("{PROGRAM}\nconst HASH: u64 = {hash};\n")).unwrap();
    let program = folder.join("waits");
    let built = Command::new("rustc")
        .args(["-O", "--edition=2021", "-o"])
        .arg(&program)
        .arg(&source)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

/// Borrows threads again and again, for a function that only says a number.
fn borrow_often(alarms: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = compile(folder.path());
    let inode = std::fs::metadata(&path).unwrap().ino();
    let mut program = Command::new(&path)
        .args(alarms.then_some("alarms"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(program.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    let pid = program.id();
    let maps = Maps::read(pid).unwrap();
    let libc = Library::read(&maps, code_of(&maps, "libc.so.6").unwrap()).unwrap();
    let mappings = maps.iter().count();
    let agent = cargo_livepatch::agent::path(&Folders::in_target(folder.path())).unwrap();
    let code = cargo_livepatch::agent::borrowed_code(&agent).unwrap();
    let mut places = BTreeMap::new();
    for _ in 0..40 {
        let asked = Call {
            code: &code,
            entry: Some(libc.function("getpid").unwrap().start),
            agent: &agent,
            socket: Path::new("/nowhere"),
            token: &Token([0; 32]),
        };
        let called = call(pid, inode, &asked).unwrap();
        assert_eq!(called.answer, pid.cast_signed());
        *places.entry(called.place).or_insert(0) += 1;
    }
    println!("{places:?}");
    let after = Maps::read(pid).unwrap().iter().count();
    assert!(after <= mappings + 4, "nothing of it stays mapped: {mappings} before, {after} after");
    drop(program.stdin.take());
    let counts = said.next().unwrap().unwrap();
    println!("{counts}");
    let mut counts = counts.split(' ');
    assert_eq!(counts.next(), Some("0"), "turns that went wrong");
    assert!(counts.next().unwrap().parse::<u64>().unwrap() > 100);
    assert_eq!(counts.next(), Some(if alarms { "true" } else { "false" }));
    assert!(program.wait().unwrap().success());
}

#[test]
fn whatever_it_does_meanwhile() {
    borrow_often(false);
}

#[test]
fn while_signals_rain() {
    borrow_often(true);
}
