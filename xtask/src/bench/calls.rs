//! What a call costs, and what many functions in one patch cost.

use super::contender::{EDIT, Running, quietly};
use super::samples::{Series, Times};
use crate::live::Live;
use crate::run::{Result, cargo_in, write};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Functions that one edit changes.
const MANY: u64 = 1000;

const MANIFEST: &str = "[package]\nname = \"NAME\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n";

/// The functions of the program whose calls are timed, in the order of its output.
const TIMED: [(&str, &str); 5] = [
    ("ns per call: left alone", "ns per call: left alone, best batch"),
    ("ns per call: edited", "ns per call: edited, best batch"),
    ("ns per call: assembly, direct", "ns per call: assembly, direct, best batch"),
    ("ns per call: assembly, one jump", "ns per call: assembly, one jump, best batch"),
    ("ns per call: assembly, two jumps", "ns per call: assembly, two jumps, best batch"),
];

/// Nanoseconds per call, in release: of a function that is never edited, of one that is, and of ones that
/// always have jumps on the way.
pub(super) fn cost(folder: &Path, command: &Path, runs: usize) -> Result<Vec<Series>> {
    let source = |number: u64| {
        include_str!("../../fixtures/bench/calls/main.rs").replace("{{number}}", &number.to_string())
    };
    write(&folder.join("Cargo.toml"), &MANIFEST.replace("NAME", "calls"))?;
    write(&folder.join("src/main.rs"), &source(1))?;
    quietly(cargo_in(folder).args(["build", "--release"]))?;
    let mut plain = Running::start(&mut Command::new(folder.join("target/release/calls")))?;
    let mut without = Series::new("calls, without livepatch");
    for _ in 0..runs {
        without.rounds.push(call_times(&plain.lines.next()?, 1)?);
    }
    drop(plain);
    let mut live = Live::quiet(command, folder, &["--quiet", "--release"])?;
    live.event("ready")?;
    let mut unpatched = Series::new("calls, under livepatch, not patched");
    live.lines().skip();
    live.lines().next()?;
    for _ in 0..runs {
        unpatched.rounds.push(call_times(&live.line()?, 1)?);
    }
    write(&folder.join("src/main.rs"), &source(2))?;
    live.event("patched")?;
    let mut patched = Series::new("calls, patched");
    live.lines().skip();
    live.lines().next()?;
    for _ in 0..runs {
        patched.rounds.push(call_times(&live.line()?, 2)?);
    }
    live.stop()?;
    Ok(vec![without, unpatched, patched])
}

/// Reads a line of the program's: what the function answers, and the cost of each function, the median and the
/// best of its batches.
fn call_times(line: &str, answer: u64) -> Result<Times> {
    let words: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    match words.split_first() {
        Some((&said, times)) if said == answer as f64 && times.len() == 2 * TIMED.len() => {
            let pairs = TIMED.iter().zip(times.chunks_exact(2));
            Ok(pairs.flat_map(|(names, pair)| [(names.0, pair[0]), (names.1, pair[1])]).collect())
        }
        _ => Err(format!("expected {answer} and {} times: {line}", 2 * TIMED.len())),
    }
}

/// One edit that changes a thousand functions, and one that changes one of them.
pub(super) fn many(folder: &Path, command: &Path, runs: usize) -> Result<Vec<Series>> {
    write(&folder.join("Cargo.toml"), &MANIFEST.replace("NAME", "many"))?;
    write(&folder.join("src/main.rs"), &many_main())?;
    let save = |all: u64, first: u64| write(&folder.join("src/functions.rs"), &functions(all, first));
    save(1, 0)?;
    let mut live = Live::quiet(command, folder, &["--quiet"])?;
    live.event("ready")?;
    let mut one = Series::new("one function of a thousand");
    let mut thousand = Series::new("a thousand functions");
    let (mut all, mut first) = (1, 0);
    live.lines().until(&sum(all, first), EDIT)?;
    for round in 0..=runs as u64 {
        first = round + 1;
        save(all, first)?;
        let event = live.event("patched")?;
        live.lines().until(&sum(all, first), EDIT)?;
        let times_one = phases(&event);
        all = round + 2;
        save(all, first)?;
        let event = live.event("patched")?;
        live.lines().until(&sum(all, first), EDIT)?;
        // The first round warms up: afterwards every function has its redirection already.
        if round > 0 {
            one.rounds.push(times_one);
            thousand.rounds.push(phases(&event));
        } else {
            one.facts = serde_json::json!({ "first time": times_one });
            thousand.facts = serde_json::json!({ "first time": phases(&event) });
        }
    }
    live.stop()?;
    Ok(vec![one, thousand])
}

fn phases(event: &serde_json::Value) -> Times {
    let functions = event["functions"].as_array().map_or(0, Vec::len);
    let mut times = Times::from([("functions", functions as f64)]);
    for phase in ["rustc", "diff", "resolve", "write", "apply", "total"] {
        times.insert(phase, event["ms"][phase].as_f64().unwrap_or(f64::NAN));
    }
    times
}

/// A thousand functions that all hold `all`; the first holds `first` as well.
fn functions(all: u64, first: u64) -> String {
    let mut text = format!("const ALL: u64 = {all};\n\n");
    for n in 0..MANY {
        let more = if n == 0 { format!(" + {first}") } else { String::new() };
        let _ = writeln!(text, "pub fn f{n}(x: u64) -> u64 {{\n    x * ALL + {n}{more}\n}}\n");
    }
    text += "pub const TABLE: [fn(u64) -> u64; 1000] = [\n";
    for n in 0..MANY {
        let _ = writeln!(text, "    f{n},");
    }
    text + "];\n"
}

/// What the program prints when every function is the one of these numbers.
fn sum(all: u64, first: u64) -> String {
    let sum: u64 = (0..MANY).map(|n| 3 * all + n).sum::<u64>() + first;
    format!("sum {sum}")
}

fn many_main() -> String {
    "//! Prints the sum over a thousand functions whenever it changes.\n\nmod functions;\n\nfn main() {\n    \
     let table = functions::TABLE;\n    let mut last = 0;\n    loop {\n        \
     let sum: u64 = table.iter().map(|function| function(3)).sum();\n        if sum != last {\n            \
     println!(\"sum {sum}\");\n            last = sum;\n        }\n        \
     std::thread::sleep(std::time::Duration::from_millis(1));\n    }\n}\n"
        .into()
}
