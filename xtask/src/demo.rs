//! The main job, shown: a program runs, is edited, goes on with its state, is rolled back.

use crate::live::Live;
use crate::run::{Result, cargo_livepatch, root};
use serde_json::Value;
use std::path::Path;

/// What is edited, in `demo/src/main.rs`.
const EDITS: [(&str, &str, &str); 3] = [
    (
        "the text that a function returns",
        "format!(\"reading {number}: {value} °C\")",
        "format!(\"№ {number}: {value} °C = {} °F\", value * 9 / 5 + 32)",
    ),
    ("a method behind a trait object made at the start", "noise() % 5", "noise() % 5 - 40"),
    (
        "a new function and a part of std that the program never had",
        "fn main() {",
        "fn main() {\n    // Nothing here changes; `report` does, below.",
    ),
];

/// The third edit's other half: `report` tells of the history.
const SUMMARY: (&str, &str) = (
    "= {} °F\", value * 9 / 5 + 32)",
    "= {} °F, seen {:?}\", value * 9 / 5 + 32, history.iter().collect::<std::collections::BTreeSet<_>>())",
);

/// Runs the demonstration in a copy of `demo/` under the target directory.
pub(crate) fn run() -> Result {
    let command = cargo_livepatch()?;
    let project = command.parent().and_then(Path::parent).ok_or("no target directory")?.join("demo");
    copy(&root().join("demo"), &project)?;
    println!("$ cargo livepatch run        (in a copy of demo/: an ordinary program that prints readings)");
    let mut live = Live::start(&command, &project, &[])?;
    let ready = live.event("ready")?;
    let mut timings = Vec::new();
    show(&mut live)?;
    let source = project.join("src/main.rs");
    for (at, (what, from, to)) in EDITS.into_iter().enumerate() {
        println!("\n── edit {}: {what}", at + 1);
        let mut text = std::fs::read_to_string(&source).map_err(|error| error.to_string())?;
        text = text.replacen(from, to, 1);
        if at == 2 {
            text = text.replacen(SUMMARY.0, SUMMARY.1, 1);
        }
        std::fs::write(&source, text).map_err(|error| error.to_string())?;
        let patched = live.event("patched")?;
        println!("   patched: {}", names(&patched));
        timings.push(patched);
        live.skip_lines();
        live.line()?;
        show(&mut live)?;
    }
    println!("\n── roll back to the beginning: the readings go on counting");
    live.control(&["rollback", "--to", "0"])?;
    live.event("rolled_back")?;
    live.skip_lines();
    live.line()?;
    show(&mut live)?;
    live.stop()?;
    println!(
        "\nThe same process (pid {}) all along. From the save to the new behaviour, in ms:",
        ready["pid"]
    );
    print_timings(&timings);
    Ok(())
}

fn show(live: &mut Live) -> Result {
    for _ in 0..3 {
        println!("   {}", live.line()?);
    }
    Ok(())
}

fn names(patched: &Value) -> String {
    let names = patched["functions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(", ")
}

fn print_timings(patches: &[Value]) {
    const STEPS: [&str; 6] = ["rustc", "diff", "resolve", "write", "apply", "total"];
    println!("   edit {}", STEPS.map(|step| format!("{step:>8}")).concat());
    for (at, patch) in patches.iter().enumerate() {
        let time = |step: &str| patch["ms"][step].as_f64().unwrap_or(f64::NAN);
        println!("   {:>4} {}", at + 1, STEPS.map(|step| format!("{:>8.2}", time(step))).concat());
    }
}

/// Copies a project's own files, not what was built from them.
fn copy(from: &Path, to: &Path) -> Result {
    let fail = |error: std::io::Error| format!("copying {}: {error}", from.display());
    std::fs::create_dir_all(to.join("src")).map_err(fail)?;
    for file in ["Cargo.toml", "src/main.rs"] {
        std::fs::copy(from.join(file), to.join(file)).map_err(fail)?;
    }
    Ok(())
}
