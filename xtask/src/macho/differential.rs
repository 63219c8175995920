//! `cargo xtask macho-differential`: every record of real images, as `livepatch-object` reads it and as llvm-objdump
//! does: rebases, binds of all kinds, chained pointers, exports, indirect symbols.
//!
//! The comparison is a test of `livepatch-object`; here it is run for each image. LIEF, if Python has it, is compared
//! with as well.

use crate::fixtures::{self, Set};
use crate::report;
use crate::run::{Result, output, test_program};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Which file the test compares.
const FILE: &str = "LIVEPATCH_MACHO_DIFFERENTIAL";

/// What was found out about one slice.
struct Row {
    package: String,
    file: String,
    architecture: String,
    counts: BTreeMap<String, u64>,
    lief: String,
}

pub(crate) fn run() -> Result {
    if let Err(reason) = fixtures::run(&[Set::Macho]) {
        eprintln!("{reason}");
    }
    let program = test_program("livepatch-object", "macho")?;
    let mut rows = Vec::new();
    let mut bad = Vec::new();
    for (package, file) in super::images()? {
        match compare(&program, &package, &file) {
            Ok(mut found) => rows.append(&mut found),
            Err(why) => {
                eprintln!("{}: {why}", file.display());
                bad.push(format!("{package}/{}", name(&file)));
            }
        }
    }
    if rows.is_empty() {
        return Err("no image was compared".to_owned());
    }
    let machine = report::machine();
    let data = json!({
        "machine": machine,
        "llvm-objdump": objdump(),
        "slices": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "differ": bad,
    });
    report::save("macho-differential", &data, &markdown(&rows, &bad, &report::machine_line(&machine)))?;
    if bad.is_empty() { Ok(()) } else { Err(format!("not as llvm-objdump has it: {}", bad.join(", "))) }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Which version was compared with: the newest, as the test chooses it.
fn objdump() -> Option<String> {
    let programs = (14..=22).rev().map(|version| format!("llvm-objdump-{version}"));
    let said = |program: String| output(Command::new(program).arg("--version")).ok();
    let text = programs.chain(["llvm-objdump".to_owned()]).find_map(said)?;
    text.lines().find(|line| line.contains("version")).map(|line| line.trim().to_owned())
}

fn compare(program: &Path, package: &str, file: &Path) -> Result<Vec<Row>> {
    let mut command = Command::new("timeout");
    command.arg("300").arg(program).args(["--exact", "differential::a_given_file", "--nocapture"]);
    let said = output(command.env(FILE, file))?;
    let mut rows: Vec<Row> = Vec::new();
    for line in said.lines() {
        let Some((what, text)) = line.split_once(": ") else { continue };
        if let Some(architecture) = what.strip_prefix("LIEF of ") {
            let row = rows.iter_mut().find(|row| row.architecture == architecture);
            row.ok_or("LIEF before llvm-objdump")?.lief = text.to_owned();
            continue;
        }
        let count = |count: &str| {
            let (number, table) = count.split_once(' ')?;
            Some((table.to_owned(), number.parse().ok()?))
        };
        let counts: BTreeMap<String, u64> = text.split(", ").filter_map(count).collect();
        if !counts.is_empty() {
            let (package, architecture) = (package.to_owned(), what.to_owned());
            rows.push(Row { package, file: name(file), architecture, counts, lief: String::new() });
        }
    }
    Ok(rows)
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "package": self.package,
            "file": self.file,
            "architecture": self.architecture,
            "records": self.counts,
            "lief": self.lief,
        })
    }
}

fn markdown(rows: &[Row], bad: &[String], machine: &str) -> String {
    const TABLES: [&str; 7] =
        ["rebase", "bind", "lazy bind", "weak bind", "chained", "exports", "indirect symbols"];
    let total: u64 = rows.iter().flat_map(|row| row.counts.values()).sum();
    let mut head = vec!["package", "image", "slice"];
    head.extend(TABLES);
    head.push("LIEF");
    let line = |row: &Row| {
        let mut cells = vec![row.package.clone(), row.file.clone(), row.architecture.clone()];
        cells.extend(TABLES.map(|table| row.counts.get(table).map_or(String::new(), u64::to_string)));
        cells.push(row.lief.clone());
        cells
    };
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    let verdict = match bad {
        [] => "All are the same.".to_owned(),
        bad => format!("**Not the same: {}.**", bad.join(", ")),
    };
    format!(
        "# Real Mach-O images, record by record\n\n`cargo xtask macho-differential`, {}. {machine}\n\n\
         Every record that `livepatch-object` reads, compared with {}'s: {total} records of {} slices. {verdict} Numbers \
         are those of records. llvm-objdump shows neither relocation entries nor what indirect symbols do to pointers of \
         images that are older than `LC_DYLD_INFO`. Versions and hashes of the packages are in \
         `xtask/fixtures/macho/packages.toml`.\n\n{}",
        report::date(),
        objdump().unwrap_or_else(|| "llvm-objdump".to_owned()),
        rows.len(),
        report::table(&head, &lines)
    )
}
