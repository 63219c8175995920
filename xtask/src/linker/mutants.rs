//! Damaged libraries, each loaded in a process of its own: refused or loaded, and never a crash before code of the
//! library itself runs.

use super::{Ended, run_case, test_program};
use crate::run::Result;

/// `cargo xtask linker-mutants`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many of each library
    #[arg(long, default_value_t = 2500)]
    count: u64,
    /// Which libraries
    #[arg(default_values = ["/usr/lib/x86_64-linux-gnu/libz.so.1", "/usr/lib/x86_64-linux-gnu/libgmp.so.10",
        "/usr/lib/x86_64-linux-gnu/libuuid.so.1", "/usr/lib/x86_64-linux-gnu/libexpat.so.1"])]
    libraries: Vec<String>,
}

/// So many in one process, so that progress is seen.
const STEP: u64 = 250;

pub(crate) fn run(arguments: &Arguments) -> Result {
    let program = test_program()?;
    let mut bad = 0;
    for library in &arguments.libraries {
        for first in (0..arguments.count).step_by(STEP as usize) {
            let seeds = format!("{first}+{}", STEP.min(arguments.count - first));
            let variables =
                [("LIVEPATCH_LINKER_MUTANT_OF", library.as_str()), ("LIVEPATCH_LINKER_MUTANT_SEEDS", &seeds)];
            match run_case(&program, "malformed::mutant", &variables)? {
                Ended::Well(said) => println!("{library} {seeds}: {said}"),
                Ended::Skipped(why) => return Err(why),
                Ended::Badly(why) => {
                    bad += 1;
                    println!("{library} {seeds}: {why}");
                }
            }
        }
    }
    if bad == 0 { Ok(()) } else { Err(format!("{bad} runs ended in the linker's own code")) }
}
