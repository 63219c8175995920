//! The first start, against plain cargo on the same tree.

use super::contender::{ms, quietly};
use super::livepatch::first_start;
use super::project::{Program, Project};
use super::samples::{Series, Times};
use crate::run::{Result, cargo_in};
use std::path::Path;
use std::time::Instant;

/// How often: with the dependencies there, and everything from nothing, where dependencies take their time.
const fn rounds(program: Program) -> [usize; 2] {
    match program {
        Program::Small => [15, 9],
        Program::Large => [3, 1],
    }
}

/// Takes back what was built.
type Forget = fn(&Project) -> Result;

/// The folder's first starts: with dependencies prebuilt, and without.
pub(super) fn measure(project: &Project, command: &Path) -> [Series; 2] {
    let [prebuilt, from_nothing] = rounds(project.program);
    let cases: [(&str, usize, Forget); 2] = [
        ("first start, dependencies prebuilt", prebuilt, forget_own),
        ("first start, from nothing", from_nothing, forget_all),
    ];
    cases.map(|(name, rounds, forget)| {
        let mut series = Series::new(name);
        let mut play = || {
            quietly(cargo_in(&project.folder).arg("build"))?;
            for round in 1..=rounds {
                eprintln!("   {name}: {round} of {rounds}");
                series.rounds.push(pair(project, command, forget)?);
            }
            Ok(())
        };
        if let Err(error) = play() {
            eprintln!("{name}: {error}");
            series.failure = Some(error);
        }
        series
    })
}

/// Plain cargo, then livepatch, each after the same is forgotten.
fn pair(project: &Project, command: &Path, forget: Forget) -> Result<Times> {
    forget(project)?;
    let began = Instant::now();
    quietly(cargo_in(&project.folder).arg("build"))?;
    let plain = ms(began);
    forget(project)?;
    let mut times = first_start(project, command)?;
    times.insert("cargo build", plain);
    Ok(times)
}

/// Forgets what was built of the program itself.
fn forget_own(project: &Project) -> Result {
    let _ = std::fs::remove_dir_all(project.folder.join("target/livepatch"));
    quietly(cargo_in(&project.folder).args(["clean", "--package", project.program.name()]))
}

fn forget_all(project: &Project) -> Result {
    std::fs::remove_dir_all(project.folder.join("target")).map_err(|error| error.to_string())
}
