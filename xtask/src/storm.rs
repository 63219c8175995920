//! A server under load whose code changes all the time: every request is answered, and answered right.

mod load;
mod pieces;

use crate::bench::median;
use crate::live::Live;
use crate::report::{self, table};
use crate::run::{Result, cargo_livepatch, target, write};
use load::{Outcome, Tally, Times};
use pieces::{Piece, source};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// `cargo xtask storm`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many connections ask without pause, each from a thread of its own
    #[arg(long, default_value_t = 64)]
    threads: usize,
    /// For how long
    #[arg(long, default_value_t = WHOLE)]
    seconds: u64,
}

const WHOLE: u64 = 60;

/// What came of the edits.
#[derive(Default)]
struct Edits {
    patched: Vec<Value>,
    /// From the save to the answer of the command, in milliseconds.
    times: Vec<f64>,
    error: Option<String>,
}

/// Runs the server, the load and the edits.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let command = cargo_livepatch()?;
    let machine = report::machine();
    let folder = target()?.join("storm");
    let dependencies = include_str!("../fixtures/storm/dependencies.toml");
    let manifest = format!(
        "[package]\nname = \"storm\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{dependencies}"
    );
    write(&folder.join("Cargo.toml"), &manifest)?;
    write(&folder.join("Cargo.lock"), include_str!("../fixtures/storm/Cargo.lock"))?;
    write(&folder.join("src/main.rs"), include_str!("../fixtures/storm/main.rs"))?;
    write(&folder.join("src/code.rs"), &source([0; 4]))?;
    let mut live = Live::quiet(&command, &folder, &["--quiet"])?;
    live.event("ready")?;
    let port = live.line()?.parse().map_err(|error| format!("the server's port: {error}"))?;
    let times = Times::default();
    let began = Instant::now();
    let (edits, outcomes) = std::thread::scope(|scope| {
        let times = &times;
        let threads: Vec<_> =
            (0..arguments.threads).map(|at| scope.spawn(move || load::run(at, port, times))).collect();
        let edits = edit(&mut live, &folder, times, began + Duration::from_secs(arguments.seconds));
        times.over.store(true, SeqCst);
        let panicked =
            |_| Outcome { failed: vec!["a thread of the load panicked".into()], ..Outcome::default() };
        (edits, threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect::<Vec<_>>())
    });
    let seconds = began.elapsed().as_secs_f64();
    let stopped = if edits.error.is_none() { live.stop() } else { Ok(()) };
    let result = summary(arguments, seconds, &edits, outcomes);
    let mut text = format!(
        "# A server that is patched under load\n\n`cargo xtask storm`, {}. {}\n\nAn axum server of eight threads; \
         {} connections ask without pause, each from a thread of its own. Meanwhile edits are saved one after the \
         other, each as soon as the one before is live: an async handler's body, what one keeps across its awaits, \
         a helper function, a static. An answer is right if it is of code that was saved before it came, and not \
         of older code than what was live when it was asked for, or than the connection's answer before.\n\n",
        report::date(),
        report::machine_line(&machine),
        arguments.threads,
    );
    let rows = result.as_object().into_iter().flatten().map(|(name, value)| vec![name.clone(), shown(value)]);
    text += &table(&["", ""], &rows.collect::<Vec<_>>());
    let whole = arguments.seconds >= WHOLE;
    let name = if whole { "storm".into() } else { format!("storm-{}", arguments.seconds) };
    report::save(&name, &json!({ "date": report::date(), "machine": machine, "result": result }), &text)?;
    stopped?;
    match [
        &result["failed requests"],
        &result["wrong answers"],
        &result["counts lost or doubled"],
        &result["error"],
    ] {
        all if all.iter().all(|value| value.is_null() || **value == 0) && !edits.patched.is_empty() => Ok(()),
        _ => Err("not all went well".into()),
    }
}

/// Saves edits until it is time, each as soon as the one before is live.
fn edit(live: &mut Live, folder: &Path, times: &Times, until: Instant) -> Edits {
    let mut edits = Edits::default();
    let mut numbers = [0; Piece::ALL.len()];
    for number in 1.. {
        if Instant::now() >= until {
            break;
        }
        let which = (number % Piece::ALL.len() as u64) as usize;
        numbers[which] = number;
        times.saved[which].store(number, SeqCst);
        let saved = Instant::now();
        let patched =
            write(&folder.join("src/code.rs"), &source(numbers)).and_then(|()| live.event("patched"));
        match patched {
            Ok(event) => {
                times.live[which].store(number, SeqCst);
                edits.times.push(saved.elapsed().as_secs_f64() * 1e3);
                edits.patched.push(event);
            }
            Err(error) => {
                edits.error = Some(error);
                break;
            }
        }
    }
    edits
}

fn summary(arguments: &Arguments, seconds: f64, edits: &Edits, outcomes: Vec<Outcome>) -> Value {
    let mut all = Outcome::default();
    for outcome in outcomes {
        all.latencies.extend(outcome.latencies);
        all.failed.extend(outcome.failed);
        all.wrong.extend(outcome.wrong);
        for (edit, tally) in outcome.counted {
            all.counted.entry(edit).or_default().merge(&tally);
        }
    }
    for error in edits.error.iter().chain(&all.failed).chain(&all.wrong).take(10) {
        eprintln!("{error}");
    }
    all.latencies.sort_by(f64::total_cmp);
    let count = all.latencies.len();
    let at =
        |part: f64| all.latencies.get((count as f64 * part) as usize).map_or(f64::NAN, |s| rounded(s * 1e3));
    let time = |phase: &str| {
        edits.patched.iter().filter_map(|event| event["ms"][phase].as_f64()).collect::<Vec<f64>>()
    };
    let apply = time("apply");
    let versioned = edits.patched.iter().filter(|e| e["versioned"].as_array().is_some_and(|v| !v.is_empty()));
    json!({
        "threads of the load": arguments.threads,
        "seconds": rounded(seconds),
        "requests": count,
        "requests per second": (count as f64 / seconds).round(),
        "failed requests": all.failed.len(),
        "wrong answers": all.wrong.len(),
        "counts lost or doubled": broken(&all.counted),
        "statics counted in": all.counted.len().saturating_sub(1),
        "patches": edits.patched.len(),
        "… of them with versioned futures": versioned.count(),
        "save → live, median, ms": rounded(median(&edits.times)),
        "… of which rustc, median, ms": rounded(median(&time("rustc"))),
        "apply, median, ms": rounded(median(&apply)),
        "apply, longest, ms": rounded(apply.iter().copied().fold(f64::NAN, f64::max)),
        "request → answer, median, ms": at(0.5),
        "request → answer, 99th percentile, ms": at(0.99),
        "request → answer, longest, ms": at(1.0 - 0.5 / count.max(1) as f64),
        "error": edits.error,
    })
}

/// How many statics were not counted up by one for each answer.
fn broken(counted: &HashMap<Option<u64>, Tally>) -> usize {
    counted.values().filter(|tally| !tally.is_whole()).count()
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
