//! What a call costs that asks a jump table first: ours and the peer's, in one program.

use crate::report::{self, Verdict, machine_line, table, verdict_table};
use crate::run::{Result, cargo_in, output, root, step, target, write};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// `cargo xtask hot-calls`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often the program is run in each profile
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: u32,
}

const SUBSECOND: &str = "0.7.10";

/// Ours, the peer's, and what both do.
const PAIRS: [(&str, &str, &str); 3] = [
    ("livepatch HotFn, function", "subsecond HotFn, function", "HotFn of a function"),
    ("livepatch HotFn, pointer", "subsecond HotFn, pointer", "HotFn of a function pointer"),
    ("livepatch call", "subsecond call", "call of a closure"),
];

/// How the program is compiled. Where `debug_assertions` are off, both ask no table.
const PROFILES: [&str; 3] = ["dev", "optimised", "release"];

/// One way of calling in one run: profile, whether patches are applied, its name, the answer, nanoseconds.
struct Sample {
    profile: &'static str,
    patched: bool,
    way: String,
    answer: u64,
    median: f64,
    best: f64,
}

/// Builds the program in each profile, runs it, and writes down what it says.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let machine = report::machine();
    let folder = target()?.join("bench/hot-calls");
    create(&folder)?;
    let symbols = library(&folder)?;
    let mut samples = Vec::new();
    for profile in PROFILES {
        step(profile, cargo_in(&folder).args(["build", "--quiet", "--profile", profile]))?;
    }
    for round in 1..=arguments.runs {
        eprintln!("── round {round} of {}", arguments.runs);
        for profile in PROFILES {
            let built = folder.join("target").join(if profile == "dev" { "debug" } else { profile });
            let mut program = Command::new(built.join("hot-calls"));
            program.args([folder.join("ours.so"), folder.join("theirs.so")]).args(&symbols);
            samples.extend(read(profile, &output(&mut program)?)?);
        }
    }
    check(&samples)?;
    let results = json!({ "machine": machine, "subsecond": SUBSECOND, "samples": samples.iter().map(Sample::to_json).collect::<Vec<_>>() });
    report::save("hot-calls", &results, &markdown(&machine, &samples))
}

fn create(folder: &Path) -> Result {
    let fixture = root().join("xtask/fixtures/hot-calls");
    for (from, to) in [("main.rs", "src/main.rs"), ("build.rs", "build.rs"), ("patch.c", "patch.c")] {
        let text = std::fs::read_to_string(fixture.join(from)).map_err(|error| format!("{from}: {error}"))?;
        write(&folder.join(to), &text)?;
    }
    let manifest = format!(
        "[package]\nname = \"hot-calls\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         livepatch = {{ path = {:?} }}\nsubsecond = \"={SUBSECOND}\"\n\n\
         [profile.optimised]\ninherits = \"release\"\ndebug-assertions = true\n",
        root().join("crates/runtime")
    );
    write(&folder.join("Cargo.toml"), &manifest)
}

/// Makes the patch library, twice: each of the two loads its own. Answers with its symbols, as arguments.
fn library(folder: &Path) -> Result<Vec<String>> {
    for name in ["ours.so", "theirs.so"] {
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-o", name, "patch.c"]).current_dir(folder);
        step(name, &mut compile)?;
    }
    let listed = output(Command::new("nm").arg("ours.so").current_dir(folder))?;
    let symbol = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        [address, _, name] if !address.is_empty() => Some(format!("{name}={address}")),
        _ => None,
    };
    Ok(listed.lines().filter_map(symbol).collect())
}

/// Reads what the program says: once before patches are applied, once after.
fn read(profile: &'static str, said: &str) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut patched = false;
    for line in said.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["end"] => patched = true,
            [way, answer, median, best] => {
                let number = |text: &str| text.parse::<f64>().map_err(|_| format!("no number: {line}"));
                let answer = answer.parse().map_err(|_| format!("no number: {line}"))?;
                let (median, best) = (number(median)?, number(best)?);
                samples.push(Sample { profile, patched, way: way.to_owned(), answer, median, best });
            }
            _ => return Err(format!("unexpected: {line}")),
        }
    }
    Ok(samples)
}

/// Whether calls arrived where they should.
fn check(samples: &[Sample]) -> Result {
    for Sample { profile, patched, way, answer, .. } in samples {
        let redirected = *patched && *profile != "release" && way != "direct";
        let expected = match (way.ends_with(" call"), redirected) {
            (true, false) => 1,
            (true, true) => 100,
            (false, false) => 11,
            (false, true) => 110,
        };
        if *answer != expected {
            return Err(format!("{profile}, {way}: {answer} instead of {expected}"));
        }
    }
    Ok(())
}

impl Sample {
    fn to_json(&self) -> Value {
        json!({
            "profile": self.profile, "patched": self.patched, "way": self.way,
            "median ns": self.median, "best ns": self.best,
        })
    }
}

/// The median of the medians, and the best of the best, of one way of calling.
fn seen(samples: &[Sample], profile: &str, patched: bool, way: &str) -> (f64, f64) {
    let of = || samples.iter().filter(|s| (s.profile, s.patched, s.way.as_str()) == (profile, patched, way));
    let medians: Vec<f64> = of().map(|sample| sample.median).collect();
    (crate::bench::median(&medians), of().map(|sample| sample.best).fold(f64::INFINITY, f64::min))
}

fn markdown(machine: &Value, samples: &[Sample]) -> String {
    let mut verdicts = Vec::new();
    let mut rows = Vec::new();
    for profile in PROFILES {
        for patched in [false, true] {
            let state = if patched { "patched" } else { "not patched" };
            let direct = seen(samples, profile, patched, "direct");
            rows.push(row(profile, state, "direct call", direct, (f64::NAN, f64::NAN)));
            for (ours, theirs, what) in PAIRS {
                let (ours, theirs) =
                    (seen(samples, profile, patched, ours), seen(samples, profile, patched, theirs));
                rows.push(row(profile, state, what, ours, theirs));
                verdicts.push(Verdict {
                    measure: format!("{profile}, {state}: {what}, over subsecond's (best batches)"),
                    // What both compile to is the same where it dissolves: a twentieth for the clock.
                    reach: "≤ 1.05 ×",
                    limit: 1.05,
                    seen: ours.1 / theirs.1,
                });
            }
        }
    }
    format!(
        "# Hot calls\n\n`cargo xtask hot-calls`, {}. {}\n\nCalls that ask a jump table first, of `livepatch` and of \
         `subsecond` {SUBSECOND}, in one program and in turns. The table has 24,790 other entries, as many as the program \
         `large` has functions. `optimised` is `release` with `debug-assertions`; in `release` neither asks.\n\n{}\n## \
         Nanoseconds per call\n\n{}",
        report::date(),
        machine_line(machine),
        verdict_table(&verdicts),
        table(&["profile", "", "", "livepatch, median", "best", "subsecond, median", "best"], &rows)
    )
}

fn row(profile: &str, state: &str, what: &str, ours: (f64, f64), theirs: (f64, f64)) -> Vec<String> {
    let number = |value: f64| if value.is_nan() { String::new() } else { format!("{value:.2}") };
    let times = [ours.0, ours.1, theirs.0, theirs.1].map(number);
    [vec![profile.to_owned(), state.to_owned(), what.to_owned()], times.to_vec()].concat()
}
