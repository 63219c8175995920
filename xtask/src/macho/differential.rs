//! `cargo xtask macho-differential`: every record of real images, as `livepatch-object` reads it and as llvm-objdump
//! does: rebases, binds of all kinds, chained pointers, exports, indirect symbols.
//!
//! The comparison is a test of `livepatch-object`; here it is run for each image. LIEF, if Python has it, is asked for
//! the numbers of binds and exports, too.

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

/// What LIEF sees: for each slice `architecture binds exports`.
const LIEF: &str = "import lief, sys
lief.logging.disable()
for image in lief.MachO.parse(sys.argv[1]):
    names = {'X86_64': 'x86_64', 'ARM64': 'arm64'}
    kind = str(image.header.cpu_type).split('.')[-1]
    exports = len(list(image.dyld_exports_trie.exports)) if image.has_dyld_exports_trie else len(list(image.dyld_info.exports)) if image.has_dyld_info else -1
    binds = len(list(image.bindings))
    print(names.get(kind, kind), binds, exports)
";

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
    let lief = lief(file);
    let mut rows = Vec::new();
    for line in said.lines() {
        let Some((architecture, counts)) = line.split_once(": ") else { continue };
        let counts: BTreeMap<String, u64> = counts
            .split(", ")
            .filter_map(|count| {
                let (number, table) = count.split_once(' ')?;
                Some((table.to_owned(), number.parse().ok()?))
            })
            .collect();
        if counts.is_empty() {
            continue;
        }
        let lief = lief.get(architecture).map_or("–".to_owned(), |seen| agreement(&counts, seen));
        let row = Row {
            package: package.to_owned(),
            file: name(file),
            architecture: architecture.to_owned(),
            counts,
            lief,
        };
        rows.push(row);
    }
    Ok(rows)
}

/// What LIEF counts in each slice; nothing if it is not there or cannot read the file.
fn lief(file: &Path) -> BTreeMap<String, (u64, u64)> {
    let said = output(Command::new("python3").args(["-c", LIEF]).arg(file)).unwrap_or_default();
    let slice = |line: &str| {
        let mut words = line.split_whitespace();
        let architecture = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        Some((architecture, (number()?, number()?)))
    };
    said.lines().filter_map(slice).collect()
}

fn agreement(counts: &BTreeMap<String, u64>, (binds, exports): &(u64, u64)) -> String {
    let of = |table: &str| counts.get(table).copied().unwrap_or(0);
    // Of chained pointers, which are binds is not counted apart here.
    let ours = of("bind") + of("lazy bind") + of("weak bind");
    let same = |ours: u64, theirs: u64| {
        if ours == theirs { "the same".to_owned() } else { format!("{theirs}, not {ours}") }
    };
    match of("chained") {
        0 => format!("binds {}, exports {}", same(ours, *binds), same(of("exports"), *exports)),
        _ => format!("exports {}", same(of("exports"), *exports)),
    }
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
