//! Damaged libraries, each loaded in a process of its own: refused or loaded, and never a crash before code of the
//! library itself runs.

use super::{Ended, run_case, test_program};
use crate::report::{date, machine, machine_line, save, table};
use crate::run::Result;
use serde_json::json;

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

/// What the test counts, as it names it.
const NUMBERS: [&str; 3] = ["refused", "loaded", "ended_inside"];

/// The number behind a name.
fn number(said: &str, name: &str) -> u64 {
    let rest = said.split_once(&format!("{name}: ")).map_or("", |(_, rest)| rest);
    rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// So many in one process, so that progress is seen.
const STEP: u64 = 250;

pub(crate) fn run(arguments: &Arguments) -> Result {
    let program = test_program()?;
    let (machine, mut bad, mut rows) = (machine(), 0, Vec::new());
    for library in &arguments.libraries {
        let mut sums = [0; NUMBERS.len()];
        for first in (0..arguments.count).step_by(STEP as usize) {
            let seeds = format!("{first}+{}", STEP.min(arguments.count - first));
            let variables =
                [("LIVEPATCH_LINKER_MUTANT_OF", library.as_str()), ("LIVEPATCH_LINKER_MUTANT_SEEDS", &seeds)];
            match run_case(&program, "malformed::mutant", &variables)? {
                Ended::Well(said) => {
                    println!("{library} {seeds}: {said}");
                    sums.iter_mut().zip(NUMBERS).for_each(|(sum, name)| *sum += number(&said, name));
                }
                Ended::Skipped(why) => return Err(why),
                Ended::Badly(why) => {
                    bad += 1;
                    println!("{library} {seeds}: {why}");
                }
            }
        }
        let name = library.rsplit('/').next().unwrap_or(library);
        let numbers = [arguments.count].into_iter().chain(sums).map(|number| number.to_string());
        rows.push([name.to_owned()].into_iter().chain(numbers).collect());
    }
    let text = format!(
        "# Damaged libraries\n\n`cargo xtask linker-mutants`, {}. {}\n\nEach mutant is loaded in a process. `{}`: a crash \
         in the mutant's own code, once control was passed to it.\n\n{}\n\nRuns that ended in the linker's own code: {bad}.\n",
        date(),
        machine_line(&machine),
        NUMBERS[2],
        table(&["library", "mutants", "refused", "loaded", "ended inside"], &rows),
    );
    save("linker-mutants", &json!({ "machine": machine, "rows": rows, "bad": bad }), &text)?;
    if bad == 0 { Ok(()) } else { Err(format!("{bad} runs ended in the linker's own code")) }
}
