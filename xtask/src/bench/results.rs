//! The results, and what they say of the numbers to reach.

use super::project::Program;
use super::samples::{Series, extremes, median, ratio};
use crate::report::{Verdict, date, machine_line, table, verdict_table};
use serde_json::{Value, json};

/// Everything that was measured.
pub(super) struct Measured {
    machine: Value,
    pub(super) edits: Vec<(Program, Vec<Series>)>,
    pub(super) starts: Vec<(Program, [Series; 2])>,
    pub(super) growth: Value,
    pub(super) calls: Vec<Series>,
}

/// What the rows about calls are.
const CALLS: &str = "A patched function is reached by two jumps, the entry's and the island's. `assembly` are \
    functions of the program's own, beside the one that is edited: called directly; through one jump, the \
    least for code that moved while its callers stay as they are; through two.\n\n";

impl Measured {
    pub(super) fn new(machine: Value) -> Self {
        Self { machine, edits: Vec::new(), starts: Vec::new(), growth: Value::Null, calls: Vec::new() }
    }

    pub(super) fn to_json(&self) -> Value {
        let series = |all: &[Series]| all.iter().map(Series::to_json).collect::<Vec<_>>();
        let edits = self.edits.iter().map(|(program, all)| {
            json!({ "program": program.name(), "own lines": program.lines(), "contenders": series(all) })
        });
        let starts = self
            .starts
            .iter()
            .map(|(program, all)| json!({ "program": program.name(), "starts": series(all) }));
        json!({
            "date": date(),
            "machine": self.machine,
            "edits": edits.collect::<Vec<_>>(),
            "first starts": starts.collect::<Vec<_>>(),
            "a hundred patches": self.growth,
            "calls": series(&self.calls),
        })
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Measurements\n\n`cargo xtask bench`, {}. {}\n\nMedians; ratios are medians of the ratios round by \
             round, since in every round each contender gets the same edit. `seen` is timed from outside: from \
             the write of the file to the new text in a pipe.\n\n## Numbers to reach\n\n",
            date(),
            machine_line(&self.machine)
        );
        text += &verdict_table(&self.verdicts());
        for (program, all) in &self.edits {
            text +=
                &format!("\n## Edit → live: {}, {} lines of its own\n\n", program.name(), program.lines());
            text += &edit_table(all);
            text += &failures(all);
            text += &facts(all);
        }
        for (program, all) in &self.starts {
            text += &format!("\n## First start: {}\n\n", program.name());
            text += &times_table(all, "median, ms");
            text += &failures(all);
        }
        if !self.growth.is_null() {
            text += "\n## A hundred patches\n\n";
            text += &growth_table(&self.growth);
        }
        if !self.calls.is_empty() {
            text += "\n## Calls, and many functions in one edit\n\n";
            text += CALLS;
            text += &times_table(&self.calls, "median");
            text += &failures(&self.calls);
            text += &facts(&self.calls);
        }
        text
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (program, all) in &self.edits {
            verdicts.extend(edit_verdicts(*program, all));
        }
        for (program, all) in &self.starts {
            for series in all {
                let measure = format!("{}: {}, over `cargo build`", program.name(), series.name);
                let seen = ratio(&series.of("livepatch: built"), &series.of("cargo build"));
                verdicts.push(Verdict { measure, reach: "≤ 1.10 ×", limit: 1.10, seen });
            }
        }
        verdicts.extend(self.other_verdicts());
        verdicts.retain(|verdict| !verdict.seen.is_nan());
        verdicts
    }

    fn other_verdicts(&self) -> Vec<Verdict> {
        let series = |name: &str| self.calls.iter().find(|series| series.name == name);
        let middle =
            |name: &str, what: &str| series(name).map_or(f64::NAN, |series| median(&series.of(what)));
        // The best batches: what the code costs, not what disturbed it.
        let (edited, alone) = ("ns per call: edited, best batch", "ns per call: left alone, best batch");
        let unpatched = "calls, under livepatch, not patched";
        // The first time is the dearest: every function gets its redirection then.
        let first = series("a thousand functions")
            .map_or(f64::NAN, |series| series.facts["first time"]["apply"].as_f64().unwrap_or(f64::NAN));
        let kib = |what: &str| self.growth[what].as_f64().unwrap_or(f64::NAN) / 1024.0;
        let agent = self.growth["looks"][0]["resident bytes"].as_f64().unwrap_or(f64::NAN)
            - self.growth["without livepatch"]["resident bytes"].as_f64().unwrap_or(f64::NAN);
        let verdict =
            |measure: &str, reach, limit, seen| Verdict { measure: measure.to_owned(), reach, limit, seen };
        vec![
            verdict("apply, one function, ms", "≤ 1 ms", 1.0, middle("one function of a thousand", "apply")),
            verdict("apply, 1,000 functions for the first time, ms", "≤ 10 ms", 10.0, first),
            verdict(
                "call of an unpatched function, over the same beside it, ns",
                "0 instructions",
                0.1,
                middle(unpatched, edited) - middle(unpatched, alone),
            ),
            verdict(
                "call of a patched function, over a direct call, ns",
                "≤ 0.6 ns",
                0.6,
                middle("calls, patched", edited) - middle("calls, patched", alone),
            ),
            verdict("agent in the process, KiB", "≤ 1 MiB", 1024.0, agent / 1024.0),
            verdict(
                "resident per one-function patch, KiB",
                "≤ 64 KiB",
                64.0,
                kib("resident bytes per patch"),
            ),
        ]
    }
}

fn edit_verdicts(program: Program, all: &[Series]) -> Vec<Verdict> {
    let of = |name: &str, what: &str| {
        all.iter().find(|series| series.name == name).map_or_else(Vec::new, |series| series.of(what))
    };
    let name = program.name();
    let seen = of("livepatch", "seen");
    let after = if program == Program::Small { ("≤ 5 ms", 5.0) } else { ("≤ 15 ms", 15.0) };
    let facts = all.iter().find(|series| series.name == "livepatch").map_or(&Value::Null, |s| &s.facts);
    let fact = |what: &str| facts[what].as_f64().unwrap_or(f64::NAN);
    let held = fact("host .symtab + .strtab + .text bytes") + fact("object bytes");
    vec![
        Verdict {
            measure: format!("{name}: edit → live, over the bare rustc of the same edit"),
            reach: "≤ 1.15 ×",
            limit: 1.15,
            seen: ratio(&seen, &of("floor", "rustc")),
        },
        Verdict {
            measure: format!("{name}: edit → live, over `cargo build` + restart"),
            reach: "≤ 0.5 ×",
            limit: 0.5,
            seen: ratio(&seen, &of("cargo build", "build + restart")),
        },
        Verdict {
            measure: format!("{name}: everything after rustc, ms"),
            reach: after.0,
            limit: after.1,
            seen: median(&of("livepatch", "after rustc")),
        },
        Verdict {
            measure: format!("{name}: server's peak memory, over the host's symbol and object bytes"),
            reach: "≤ 3 ×",
            limit: 3.0,
            seen: fact("server peak bytes") / held,
        },
    ]
}

/// Who took how long, and how that compares with livepatch in the same rounds.
fn edit_table(all: &[Series]) -> String {
    let ours = all.iter().find(|series| series.name == "livepatch").map_or_else(Vec::new, |s| s.of("seen"));
    let mut rows = Vec::new();
    for series in all {
        for what in series.measures() {
            let samples = series.of(what);
            let (low, high) = extremes(&samples);
            rows.push(vec![
                series.name.to_owned(),
                what.to_owned(),
                number(median(&samples)),
                number(low),
                number(high),
                format!("{:.2}", ratio(&samples, &ours)),
            ]);
        }
    }
    table(&["", "", "median, ms", "min", "max", "over livepatch's `seen`"], &rows)
}

fn times_table(all: &[Series], unit: &str) -> String {
    let mut rows = Vec::new();
    for series in all {
        for what in series.measures() {
            let samples = series.of(what);
            let (low, high) = extremes(&samples);
            let cells = [median(&samples), low, high].map(number);
            rows.push([vec![series.name.to_owned(), what.to_owned()], cells.to_vec()].concat());
        }
    }
    table(&["", "", unit, "min", "max"], &rows)
}

fn growth_table(growth: &Value) -> String {
    const COLUMNS: [&str; 6] =
        ["patches", "resident bytes", "anonymous bytes", "mappings", "server resident bytes", "disk bytes"];
    let row = |look: &Value| COLUMNS.map(|column| look[column].to_string()).to_vec();
    let mut rows: Vec<Vec<String>> = growth["looks"].as_array().into_iter().flatten().map(row).collect();
    let alone = row(&growth["without livepatch"]).into_iter().skip(1).map(|cell| cell.replace("null", ""));
    rows.insert(0, std::iter::once("without livepatch".to_owned()).chain(alone).collect());
    let failure = growth["failure"].as_str().map_or(String::new(), |why| format!("\n{why}\n"));
    table(&COLUMNS, &rows) + &failure
}

fn failures(all: &[Series]) -> String {
    let failed = all.iter().filter_map(|series| {
        let why = series.failure.as_ref()?;
        Some(format!(
            "\n**{}** failed after {} rounds:\n\n```text\n{why}\n```\n",
            series.name,
            series.rounds.len()
        ))
    });
    failed.collect()
}

/// What is known of the contenders besides times.
fn facts(all: &[Series]) -> String {
    let mut rows = Vec::new();
    for series in all {
        for (what, value) in series.facts.as_object().into_iter().flatten() {
            rows.push(vec![series.name.to_owned(), what.clone(), value.to_string()]);
        }
    }
    if rows.is_empty() { String::new() } else { format!("\n{}", table(&["", "", ""], &rows)) }
}

fn number(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}
