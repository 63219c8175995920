//! `cargo xtask macho-packages`: real packages for macOS on Linux, each made to do something, as a table.
//!
//! What each does is a function of `xtask/fixtures/macho/checks.py`, which is run in a Python of its own.

use crate::fixtures::{self, Set};
use crate::report;
use crate::run::{Result, cargo, output, root, step, target};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// One check, and how it went.
struct Row {
    package: String,
    check: String,
    runs: bool,
    /// What it did, or why it does not run.
    result: String,
    images: u64,
    binder_calls: u64,
}

/// Longer takes only what hangs.
const LONGEST: Duration = Duration::from_secs(90);

/// Fetches them, runs the checks, and writes what they have answered.
pub(crate) fn run() -> Result {
    // Those that cannot be fetched are in the table as missing.
    if let Err(reason) = fixtures::run(&[Set::Macho]) {
        eprintln!("{reason}");
    }
    let example = ["build", "--release", "--package", "livepatch-linker", "--example", "macho_python"];
    step("build", cargo().args(example))?;
    let checks = root().join("xtask/fixtures/macho/checks.py");
    let library = target()?.join("release/examples/libmacho_python.so");
    let listed = output(Command::new("python3").arg(&checks).arg("--list"))?;
    let folders: Vec<String> = fixtures::folders(Set::Macho)?
        .iter()
        .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let mut rows = Vec::new();
    for line in listed.lines() {
        let Some((name, check)) = line.split_once(' ') else { continue };
        let package = folders.iter().find(|folder| folder.starts_with(name));
        let row = match package {
            Some(package) => run_check(&checks, &library, package, check)?,
            None => return Err(format!("{name} is not in xtask/fixtures/macho/packages.toml")),
        };
        eprintln!("── {} {}: {}", row.package, row.check, row.result);
        rows.push(row);
    }
    let machine = report::machine();
    let data = json!({ "machine": machine, "packages": rows.iter().map(Row::json).collect::<Vec<_>>() });
    report::save("macho-packages", &data, &markdown(&rows, &report::machine_line(&machine)))
}

fn run_check(checks: &Path, library: &Path, package: &str, check: &str) -> Result<Row> {
    let fixtures = fixtures::place()?;
    let row = |runs, result: String, images, binder_calls| Row {
        package: package.to_owned(),
        check: check.to_owned(),
        runs,
        result,
        images,
        binder_calls,
    };
    if !fixtures.join(package).join("complete").exists() {
        return Ok(row(false, "it is not fetched".to_owned(), 0, 0));
    }
    let said = target()?.join("macho-packages.txt");
    let file = std::fs::File::create(&said).map_err(|error| format!("{}: {error}", said.display()))?;
    let other = file.try_clone().map_err(|error| error.to_string())?;
    let mut python = Command::new("python3");
    python.arg(checks).arg(library).arg(&fixtures).arg(package).arg(check);
    let child = python.stdout(file).stderr(other).spawn();
    let mut child = child.map_err(|error| format!("python3: {error}"))?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status.to_string(),
            None if began.elapsed() > LONGEST => {
                child.kill().map_err(|error| error.to_string())?;
                child.wait().map_err(|error| error.to_string())?;
                break "it hangs".to_owned();
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = std::fs::read_to_string(&said).unwrap_or_default();
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
    if let (Some(answer), Some(figures)) = (line("answer: "), line("images: ")) {
        let mut figures = figures.split(' ').map(|figure| figure.parse().unwrap_or(0));
        return Ok(row(true, answer, figures.next().unwrap_or(0), figures.next().unwrap_or(0)));
    }
    let last = text.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("why: "));
    let seen = last.unwrap_or("it said nothing").to_owned();
    let why = line("why: ").map(|why| format!("{why}; ")).unwrap_or_default();
    Ok(row(false, format!("{why}seen: {status}, `{}`", seen.replace('`', "'")), 0, 0))
}

const RUNS: &str = "yes";
const LOADS: &str = "loads";
const FAILS: &str = "**no**";

impl Row {
    fn how(&self) -> &'static str {
        match (self.runs, self.result.starts_with(LOADS)) {
            (true, false) => RUNS,
            (true, true) => LOADS,
            (false, _) => FAILS,
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "package": self.package,
            "check": self.check,
            "runs": self.runs,
            "result": self.result,
            "images": self.images,
            "binder_calls": self.binder_calls,
        })
    }
}

fn markdown(rows: &[Row], machine: &str) -> String {
    let count = |how: &str| rows.iter().filter(|row| row.how() == how).count();
    let (running, loading) = (count(RUNS), count(LOADS));
    let mut text = format!(
        "# macOS packages on Linux\n\n`cargo xtask macho-packages`, {}. {machine}\n\n\
         Each is loaded by `livepatch-linker`, bound lazily, in a process of CPython of its own, and compared with what \
         this system's Python, its libraries, or published values say: {running} of {} do what they should, {loading} more are loaded, which is all that is asked of them. Versions and \
         hashes of the packages are in `xtask/fixtures/macho/packages.toml`, the checks in `checks.py` beside it.\n\n\
         | package | check | runs | images | binder calls | what it did, or why not |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        report::date(),
        rows.len(),
    );
    for row in rows {
        let runs = row.how();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {runs} | {} | {} | {} |",
            row.package,
            row.check,
            row.images,
            row.binder_calls,
            row.result.replace('|', "\\|"),
        );
    }
    text
}
