//! `cargo xtask android-libraries`: real Android libraries on glibc, each made to do something, as a table.
//!
//! What each does is a case of the linker's test `android`; its lines are put together here.

use crate::report;
use crate::run::{Result, cargo, step};
use serde_json::json;
use std::fmt::Write as _;
use std::process::Stdio;

/// Fetches them, runs the cases, and writes what they have answered.
pub(crate) fn run() -> Result {
    // Those that cannot be fetched are in the table as skipped.
    if let Err(reason) = crate::fixtures::run(&[crate::fixtures::Set::Android]) {
        eprintln!("{reason}");
    }
    step(
        "build",
        cargo().args(["test", "--quiet", "--package", "livepatch-linker", "--test", "android", "--no-run"]),
    )?;
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--package", "livepatch-linker", "--test", "android"]);
    let output = tests.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rows = rows(&said);
    let machine = report::machine();
    let data = json!({ "machine": machine, "libraries": rows.iter().map(Row::json).collect::<Vec<_>>() });
    report::save("android-libraries", &data, &markdown(&rows, &report::machine_line(&machine)))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("not all of them work:\n{said}")),
    }
}

#[derive(Default)]
struct Row {
    name: String,
    relocations: String,
    result: String,
}

impl Row {
    fn json(&self) -> serde_json::Value {
        json!({ "name": self.name, "relocations": self.relocations, "result": self.result })
    }
}

/// Lines are `<case> <what>: <text>`; of a case that has failed, only `test <case> ... FAILED`.
fn rows(said: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row = |name: &str, set: &dyn Fn(&mut Row)| match rows.iter_mut().find(|row| row.name == name) {
        Some(row) => set(row),
        None => {
            let mut new = Row { name: name.to_owned(), ..Row::default() };
            set(&mut new);
            rows.push(new);
        }
    };
    for line in said.lines() {
        let Some((name, rest)) = line.split_once(' ') else { continue };
        if let Some(text) = rest.strip_prefix("answers: ") {
            row(name, &|row| row.result = text.to_owned());
        } else if let Some(text) = rest.strip_prefix("relocations: ") {
            row(name, &|row| row.relocations = text.to_owned());
        } else if rest.starts_with("skipped: ") {
            row(name, &|row| row.result = rest.to_owned());
        } else if let Some((name, _)) = rest.split_once(" ... FAILED").filter(|_| name == "test") {
            row(name.trim(), &|row| row.result = "**fails**".to_owned());
        }
    }
    rows.sort_by_key(|row| (row.name.starts_with("shim"), row.name.to_lowercase()));
    rows
}

fn markdown(rows: &[Row], machine: &str) -> String {
    let mut text = format!(
        "# Android libraries on glibc\n\n`cargo xtask android-libraries`, {}. {machine}\n\n\
         Each is loaded by `livepatch-linker` with what Android code expects of bionic, in a process of its own. \
         Relocations are those of data, and of functions; versions and hashes of the packages are in \
         `xtask/fixtures/android/packages.toml`.\n\n\
         | library | relocations | what it did |\n| --- | --- | --- |\n",
        report::date()
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {} | {} |", row.name, row.relocations, row.result.replace('|', "\\|"));
    }
    text
}
