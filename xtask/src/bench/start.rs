//! The first start, against plain cargo on the same tree.

use super::contender::{ms, quietly};
use super::livepatch::first_start;
use super::project::Project;
use super::samples::Series;
use crate::run::{Result, cargo_in};
use std::path::Path;
use std::time::Instant;

/// Everything from nothing, so many times: dependencies take their time.
const FROM_NOTHING: usize = 1;
/// With the dependencies there.
const PREBUILT: usize = 3;

/// The folder's first starts: with dependencies prebuilt, and without.
pub(super) fn measure(project: &Project, command: &Path) -> Result<[Series; 2]> {
    let mut prebuilt = Series::new("first start, dependencies prebuilt");
    quietly(cargo_in(&project.folder).arg("build"))?;
    for round in 0..PREBUILT {
        eprintln!("   first start, dependencies prebuilt: {}", round + 1);
        let times = pair(project, command, &forget_own)?;
        prebuilt.rounds.push(times);
    }
    let mut nothing = Series::new("first start, from nothing");
    for round in 0..FROM_NOTHING {
        eprintln!("   first start, from nothing: {}", round + 1);
        let times = pair(project, command, &forget_all)?;
        nothing.rounds.push(times);
    }
    Ok([prebuilt, nothing])
}

fn pair(
    project: &Project,
    command: &Path,
    forget: &dyn Fn(&Project) -> Result,
) -> Result<super::samples::Times> {
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
