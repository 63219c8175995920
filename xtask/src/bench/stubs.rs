//! What stub objects cost: reading a host, and making them, against how many symbols, how large a patch and how large
//! a host; with a peer in the same rounds.

use super::median;
use super::plot::{Chart, Line, svg};
use super::samples::ratio;
use crate::report::{Verdict, date, machine, machine_line, save, table, verdict_table};
use crate::run::{Result, cargo_in, output, root, step, target, write};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const PEER: &str = "whisker-dev-server";
const PEER_VERSION: &str = "0.15.5";

/// Symbols of the host, and needed ones, at which the numbers to reach are looked at.
const REACH: u64 = 100_000;

/// Rounds of a run.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds, besides one to warm up
    #[arg(long, default_value_t = 9, value_name = "N")]
    runs: u32,
    /// Do without the peer
    #[arg(long)]
    no_peers: bool,
}

/// Measures, and writes tables and charts.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let machine = machine();
    let folder = target()?.join("bench/stubs");
    write(&folder.join("Cargo.toml"), &manifest(arguments)?)?;
    write(&folder.join("src/main.rs"), include_str!("../../fixtures/bench/stubs/main.rs"))?;
    step("build the measuring program", cargo_in(&folder).args(["build", "--release", "--quiet"]))?;
    let mut program = Command::new(folder.join("target/release/stubs"));
    let said = output(program.arg(&folder).arg(arguments.runs.to_string()))?;
    let measures: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
    let all = Measures(measures.as_array().ok_or("the measuring program says nothing")?.clone());
    let picture = root().join("benches/results/bench-stubs.svg");
    write(&picture, &svg(&all.charts()))?;
    let data = json!({
        "date": date(),
        "machine": machine,
        "peer": (!arguments.no_peers).then(|| format!("{PEER} {PEER_VERSION}")),
        "ms": measures,
    });
    save("bench-stubs", &data, &all.markdown(&machine))
}

fn manifest(arguments: &Arguments) -> Result<String> {
    let of = |name: &str| -> Result<String> {
        let path: &Path = &root().join("crates").join(name);
        Ok(path.to_str().ok_or("a path that is not text")?.to_owned())
    };
    let features = if arguments.no_peers { "" } else { "\"peer\"" };
    Ok(format!(
        "[package]\nname = \"stubs\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[features]\ndefault = [{features}]\npeer = [\"dep:{PEER}\"]\n\n\
         [dependencies]\nlivepatch-build = {{ path = {:?} }}\nlivepatch-object = {{ path = {:?} }}\nserde_json = \"1\"\n\
         {PEER} = {{ version = \"={PEER_VERSION}\", optional = true }}\n",
        of("build")?,
        of("object")?,
    ))
}

/// What the measuring program said.
struct Measures(Vec<Value>);

/// The samples of one measure.
fn samples(measure: &Value, who: &str) -> Vec<f64> {
    measure[who].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

impl Measures {
    fn of(&self, what: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |measure| measure["what"] == what)
    }

    fn at(&self, what: &str, size: u64) -> f64 {
        let found = self.of(what).find(|measure| measure["size"] == size);
        found.map_or(f64::NAN, |measure| median(&samples(measure, "livepatch")))
    }

    fn verdicts(&self) -> Vec<Verdict> {
        vec![
            Verdict {
                measure: "reading a host of 100,000 symbols, ms".into(),
                reach: "≤ 50",
                limit: 50.0,
                seen: self.at("parse", REACH),
            },
            Verdict {
                measure: "a stub, µs (100,000 of them, one core)".into(),
                reach: "≤ 1 (a million a second)",
                limit: 1.0,
                seen: self.at("stubs", REACH) * 1e3 / REACH as f64,
            },
        ]
    }

    fn charts(&self) -> Vec<Chart> {
        [
            ("stubs", "Stub object", "needed symbols", "size"),
            ("stubs in hosts of a size", "Stub object of 10,000", "symbols of the host", "size"),
            ("parse", "Reading a host", "symbols of the host", "size"),
            ("patch", "From a patch’s file to its stub object", "bytes of the patch’s object", "bytes"),
        ]
        .map(|(what, title, x, of)| {
            let line = |name, who: &str| Line {
                name,
                points: self
                    .of(what)
                    .filter(|measure| !samples(measure, who).is_empty())
                    .filter_map(|measure| Some((measure[of].as_f64()?, median(&samples(measure, who)))))
                    .collect(),
            };
            Chart {
                title: title.into(),
                x,
                y: "ms",
                lines: vec![line("livepatch", "livepatch"), line(PEER, "peer")],
            }
        })
        .into()
    }

    fn markdown(&self, machine: &Value) -> String {
        let mut text = format!(
            "# Stub objects\n\n`cargo xtask bench stubs`, {}. {}\n\nMedians in milliseconds; ratios are medians of \
             the ratios round by round. Hosts have the symbols alone, of one byte each, with names as long as \
             rustc’s. The peer, {PEER} {PEER_VERSION}, writes no report, handles functions only, and writes AArch64 \
             code, here for an x86-64 host.\n\n![Costs](bench-stubs.svg)\n\n",
            date(),
            machine_line(machine)
        );
        text += &verdict_table(&self.verdicts());
        for (what, title, size) in [
            ("parse", "Reading a host", "symbols"),
            ("stubs", "A stub object, in a host of 300,000 symbols", "needed"),
            ("stubs in hosts of a size", "A stub object of 10,000", "symbols of the host"),
            ("patch", "From a patch’s file to its stub object, in a host of 300,000 symbols", "references"),
        ] {
            let rows: Vec<Vec<String>> = self.of(what).map(row).collect();
            text += &format!("\n## {title}\n\n");
            text += &table(&[size, "bytes of the file", "livepatch", PEER, "ratio"], &rows);
        }
        text
    }
}

fn row(measure: &Value) -> Vec<String> {
    let (ours, peer) = (samples(measure, "livepatch"), samples(measure, "peer"));
    let number = |value: f64| if value.is_nan() { "–".to_owned() } else { format!("{value:.3}") };
    let times = if peer.is_empty() { "–".to_owned() } else { format!("{:.1} ×", ratio(&peer, &ours)) };
    vec![
        measure["size"].to_string(),
        measure["bytes"].to_string(),
        number(median(&ours)),
        number(median(&peer)),
        times,
    ]
}
