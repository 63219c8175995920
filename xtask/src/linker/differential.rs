//! Every library that is found, loaded by glibc and by the linker: relocated words, symbols, and the order of
//! initialisers.

use super::{Ended, run_case, test_program};
use crate::report::{date, machine, machine_line, save, table};
use crate::run::Result;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// `cargo xtask linker-differential`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where libraries are looked for
    #[arg(default_value = "/usr/lib/x86_64-linux-gnu")]
    folders: Vec<PathBuf>,
}

const FILE: &str = "LIVEPATCH_LINKER_DIFFERENTIAL";

/// The cases, and what each compares.
const CASES: [(&str, &str); 2] = [
    ("differential::one", "words and symbols"),
    ("differential::order_of_libraries_with_dependencies", "order of initialisers"),
];

/// What came of a case, over all libraries.
#[derive(Default)]
struct Tally {
    well: usize,
    skipped: BTreeMap<String, usize>,
    /// What the numbers that each prints add up to.
    words: u64,
    symbols: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let program = test_program()?;
    let libraries = libraries(&arguments.folders)?;
    let (machine, mut bad, mut rows) = (machine(), Vec::new(), Vec::new());
    for (case, what) in CASES {
        let mut tally = Tally::default();
        for library in &libraries {
            let name = library.display().to_string();
            match run_case(&program, case, &[(FILE, &name)])? {
                Ended::Well(said) => tally.add(&said),
                Ended::Skipped(why) => *tally.skipped.entry(why).or_default() += 1,
                Ended::Badly(why) => {
                    eprintln!("{name}: {why}");
                    bad.push(name);
                }
            }
        }
        rows.push(tally.row(what));
    }
    let head = ["what", "the same for", "words", "symbols", "skipped"];
    let text = format!(
        "# Against glibc\n\n`cargo xtask linker-differential`, {}. {}\n\nEvery library in {}, each in a process of its \
         own: by glibc and by this linker. Relocated words and symbols are compared as distances into libraries.\n\n{}\n\n\
         Not as glibc has it: {}.\n",
        date(),
        machine_line(&machine),
        arguments
            .folders
            .iter()
            .map(|folder| format!("`{}`", folder.display()))
            .collect::<Vec<_>>()
            .join(", "),
        table(&head, &rows),
        if bad.is_empty() { "none".into() } else { bad.join(", ") },
    );
    save("linker-differential", &json!({ "machine": machine, "rows": rows, "not": bad }), &text)?;
    if bad.is_empty() { Ok(()) } else { Err(format!("not as glibc has it: {}", bad.join(", "))) }
}

impl Tally {
    /// `said` begins with the numbers of words and symbols, where there are such.
    fn add(&mut self, said: &str) {
        self.well += 1;
        let number = |unit: &str| {
            let words: Vec<&str> = said.split_whitespace().collect();
            words.windows(2).find(|pair| pair[1].starts_with(unit)).and_then(|pair| pair[0].parse().ok())
        };
        self.words += number("words").unwrap_or(0);
        self.symbols += number("symbols").unwrap_or(0);
    }

    fn row(&self, what: &str) -> Vec<String> {
        let count = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let skipped = self.skipped.iter().map(|(why, times)| format!("{times}: {why}"));
        let skipped = skipped.collect::<Vec<_>>().join("; ");
        vec![what.into(), format!("{} libraries", self.well), count(self.words), count(self.symbols), skipped]
    }
}

/// Shared objects of these folders, each file once.
fn libraries(folders: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let files = entries.flatten().map(|entry| entry.path());
        let named = files.filter(|file| file.to_string_lossy().contains(".so"));
        all.extend(named.filter_map(|file| file.canonicalize().ok()).filter(|file| file.is_file()));
    }
    Ok(all)
}
