//! Every library that is found, loaded by glibc and by the linker: relocated words, symbols, and the order of
//! initialisers.

use super::{Ended, run_case, test_program};
use crate::run::Result;
use std::collections::BTreeSet;
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

pub(crate) fn run(arguments: &Arguments) -> Result {
    let program = test_program()?;
    let libraries = libraries(&arguments.folders)?;
    let mut bad = Vec::new();
    for (case, what) in CASES {
        let (mut well, mut skipped) = (0, 0);
        for library in &libraries {
            let name = library.display().to_string();
            match run_case(&program, case, &[(FILE, &name)])? {
                Ended::Well(_) => well += 1,
                Ended::Skipped(_) => skipped += 1,
                Ended::Badly(why) => {
                    eprintln!("{name}: {why}");
                    bad.push(name);
                }
            }
        }
        println!("{what}: the same for {well} libraries, {skipped} skipped, {} not", bad.len());
    }
    if bad.is_empty() { Ok(()) } else { Err(format!("not as glibc has it: {}", bad.join(", "))) }
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
