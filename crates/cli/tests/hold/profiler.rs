//! A profiler that looks on names patched functions, the ones of before too.

use crate::live::Live;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CODE: &str = r#"
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
static STEPS: AtomicU64 = AtomicU64::new(0);
pub fn start() {
    std::thread::spawn(|| loop {
        step();
        STEPS.fetch_add(1, Relaxed);
    });
}
pub fn answer(_: &str) -> String {
    STEPS.load(Relaxed).to_string()
}
fn step() {
    // Nothing is called here: all the time is this function's.
    let mut n = 0;
    while n < 20_000u64 {
        n += 1;
    }
}
"#;

/// A time source that virtual machines have too.
const EVENT: [&str; 2] = ["-e", "cpu-clock"];

/// Why there is nothing to test with.
fn unusable(scratch: &Path) -> Option<String> {
    let mut perf = Command::new("perf");
    perf.arg("record").args(EVENT).arg("-o").arg(scratch).args(["--", "true"]);
    match perf.output() {
        Err(error) => Some(format!("perf: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("perf record: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Starts to look on, and returns when it does.
fn record(pid: u32, data: &Path) -> Child {
    let [control, answers] = ["control", "answers"].map(|name| data.with_extension(name));
    for pipe in [&control, &answers] {
        let _ = std::fs::remove_file(pipe);
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    // Open for both directions, so that neither opening nor reading waits for the other side to be there.
    let open = |pipe| OpenOptions::new().read(true).write(true).open(pipe).unwrap();
    let (mut asking, answering) = (open(&control), open(&answers));
    let mut perf = Command::new("perf");
    perf.arg("record").args(EVENT).arg("-o").arg(data).args(["-p", &pid.to_string()]);
    perf.arg("--control").arg(format!("fifo:{},{}", control.display(), answers.display()));
    let perf = perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    asking.write_all(b"ping\n").unwrap();
    let mut answer = String::new();
    BufReader::new(answering).read_line(&mut answer).unwrap();
    assert_eq!(answer, "ack\n");
    perf
}

/// Samples of `app::code::step`, by the file that has it.
fn samples(mut perf: Child, data: &Path) -> HashMap<PathBuf, usize> {
    // Interrupted, it writes down what it has.
    assert!(Command::new("kill").args(["-s", "INT", &perf.id().to_string()]).status().unwrap().success());
    perf.wait().unwrap();
    let mut script = Command::new("perf");
    script.arg("script").arg("-i").arg(data).args(["-F", "ip,sym,dso"]);
    let output = script.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((left, file)) = line.trim_end().trim_end_matches(')').rsplit_once(" (") else { continue };
        if left.trim_start().split_once(' ').is_some_and(|(_, name)| name.starts_with("app::code::step")) {
            *found.entry(file.into()).or_default() += 1;
        }
    }
    found
}

/// Waits until the thread that works has gone on: its time is what is sampled.
fn go_on(live: &mut Live) {
    let begun: u64 = live.ask("?").parse().unwrap();
    let since = Instant::now();
    while live.ask("?").parse::<u64>().unwrap() < begun + 5_000 {
        assert!(since.elapsed() < Duration::from_secs(60), "it stands still");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn perf_names_patched_functions() {
    let mut live = Live::new(CODE);
    let data = live.project.file("perf.data");
    if let Some(why) = unusable(&data) {
        println!("skipped: {why}");
        return;
    }
    let host = live.project.file("target/debug/app").canonicalize().unwrap();
    let perf = record(live.pid(), &data);
    go_on(&mut live);
    live.edit("20_000u64", "30_000u64");
    go_on(&mut live);
    let found = samples(perf, &data);
    let images = live.project.file("target/livepatch").canonicalize().unwrap();
    let in_image = |file: &PathBuf| file.starts_with(&images);
    assert!(found.contains_key(&host), "it looked on before the edit: {found:?}");
    assert!(found.keys().any(in_image), "it looked on during the edit: {found:?}");
    // One that comes later reads what is there.
    let perf = record(live.pid(), &data);
    go_on(&mut live);
    let found = samples(perf, &data);
    // The jump at its entry still is: an instruction of hundreds.
    let patched: usize = found.iter().filter(|(file, _)| in_image(file)).map(|(_, samples)| samples).sum();
    let before = found.get(&host).copied().unwrap_or_default();
    assert!(patched > 10 * before, "the old body is not run any more: {found:?}");
}
