//! Replacing Java methods, and making patches: how long each step takes.

use super::median;
use crate::report::{date, machine, machine_line, save, table};
use crate::run::{Result, cargo, output, step, target};
use serde_json::{Value, json};
use std::process::Command;

/// `cargo xtask bench art`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds
    #[arg(long, default_value_t = 101, value_name = "N")]
    runs: usize,
}

/// Measures, and writes a table.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let machine = machine();
    let example = ["--release", "--quiet", "--package", "livepatch-art", "--example", "measure"];
    step("build the measuring program", cargo().arg("build").args(example))?;
    let mut program = Command::new(target()?.join("release/examples/measure"));
    let said = output(program.arg(arguments.runs.to_string()))?;
    let samples: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
    let data = json!({ "date": date(), "machine": machine, "microseconds": samples });
    save("bench-art", &data, &markdown(&machine, &samples)?)
}

fn of(samples: &Value, what: &str) -> Vec<f64> {
    samples[what].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn markdown(machine: &Value, samples: &Value) -> Result<String> {
    let all = samples.as_object().ok_or("the measuring program says nothing")?;
    let row = |what: &String| {
        let mut times = of(samples, what);
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).or(times.last()).copied();
        let text = |time: Option<f64>| time.map_or("–".to_owned(), |time| format!("{time:.1}"));
        vec![
            what.clone(),
            text(Some(median(&times))),
            text(times.first().copied()),
            text(at(0.95)),
            times.len().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = all.keys().map(row).collect();
    let middle = |what| median(&of(samples, what));
    let of_100 = middle("by entry: replace 100 methods at once") / 100.0;
    let compared = (middle("read both files") + middle("compare them")) / 1000.0;
    // Of 10,000, in nanoseconds.
    let each = |what| middle(what) / 10.0;
    Ok(format!(
        "# Replacing Java methods\n\n{}\n\nMicroseconds. Android 11's runtime from Debian's packages, which \
         interprets; two dex files of 200 classes with 61 methods each, of which one class changed. Replacing includes \
         the checks. By entry, one method is changed at once, and all other threads are held for several; by copies, all \
         other threads and the collector are held always, and their stacks are looked at. Calls are made from Java.\n\n\
         {}\nOf a hundred, each method takes {of_100:.1} µs. A call takes {:.0} ns, {:.0} ns if the method is replaced by its \
         entry, and {:.0} ns if by a copy. From two files to what changed: {compared:.1} ms.\n",
        machine_line(machine),
        table(&["what", "median", "least", "95 %", "samples"], &rows),
        each("10,000 calls of what it was"),
        each("by entry: 10,000 calls"),
        each("by copy: 10,000 calls"),
    ))
}
