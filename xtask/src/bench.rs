//! Measurements, with the peers in the same run.
//!
//! Every contender has a folder of its own with the same program; in every round each of them gets the same
//! edit, one after the other. So what disturbs the machine disturbs all of them, and ratios are taken
//! round by round.

mod art;
mod calls;
mod contender;
mod floor;
mod generate;
mod growth;
mod livepatch;
mod peers;
mod plot;
mod project;
mod results;
mod samples;
mod start;
mod stubs;

use crate::linker;
use crate::macho;
use crate::report;
use crate::run::{Result, cargo_livepatch, output, target};
use contender::{Contender, PlainCargo};
use floor::Floor;
use livepatch::Livepatch;
use peers::{CargoHot, HotLib};
use project::{Program, Project, Variant};
use results::Measured;
use samples::Series;
pub(crate) use samples::median;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rounds whose times are not kept.
const WARM_UP: u32 = 2;

/// `cargo xtask bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Measure with this program only
    #[arg(long, value_enum)]
    only: Option<Program>,
    /// Rounds, besides two to warm up
    #[arg(long, default_value_t = 9, value_name = "N")]
    runs: u32,
    /// Measure the peers as well; cargo-hot is installed into the target directory where it is missing
    #[arg(long, overrides_with = "no_peers", default_value_t = true)]
    peers: bool,
    /// Do without the peers
    #[arg(long)]
    no_peers: bool,
    /// Edit → live only: no first starts, no memory, no calls
    #[arg(long)]
    edits_only: bool,
}

/// What is measured by itself.
#[derive(clap::Subcommand)]
enum Part {
    /// Stub objects: reading hosts, making stubs
    Stubs(stubs::Arguments),
    /// The dynamic linker, with glibc and the peers beside it
    Linker(linker::bench::Arguments),
    /// Mach-O images: binding at the first call, at once, and by glibc
    Macho(macho::bench::Arguments),
    /// Replacing Java methods, and comparing dex files
    Art(art::Arguments),
}

/// Where things are.
struct Places {
    livepatch: PathBuf,
    work: PathBuf,
    cargo_hot: Option<std::result::Result<PathBuf, String>>,
}

/// Measures everything that was asked for.
pub(crate) fn run(arguments: &Arguments) -> Result {
    match &arguments.part {
        Some(Part::Stubs(arguments)) => return stubs::run(arguments),
        Some(Part::Linker(arguments)) => return linker::bench::run(arguments),
        Some(Part::Macho(arguments)) => return macho::bench::run(arguments),
        Some(Part::Art(arguments)) => return art::run(arguments),
        None => {}
    }
    let machine = report::machine();
    let places = Places {
        livepatch: cargo_livepatch()?,
        work: target()?.join("bench"),
        cargo_hot: (arguments.peers && !arguments.no_peers).then(peers::install_cargo_hot),
    };
    let mut measured = Measured::new(machine);
    for program in [Program::Small, Program::Large] {
        if arguments.only.is_none_or(|only| only == program) {
            measured.edits.push((program, edits(program, &places, arguments.runs)?));
            if !arguments.edits_only {
                let project = Project::create(program, Variant::Plain, &places.folder(program, "start"))?;
                eprintln!("══ {}: first start", program.name());
                measured.starts.push((program, start::measure(&project, &places.livepatch)));
            }
        }
    }
    if !arguments.edits_only {
        others(&mut measured, &places, arguments.runs as usize);
    }
    let name = arguments.only.map_or("bench".to_owned(), |only| format!("bench-{}", only.name()));
    report::save(&name, &measured.to_json(), &measured.markdown())
}

/// What is measured once, whatever the program.
fn others(measured: &mut Measured, places: &Places, runs: usize) {
    eprintln!("══ a hundred patches");
    let small = places.folder(Program::Small, "growth");
    let growth = Project::create(Program::Small, Variant::Plain, &small)
        .and_then(|project| growth::measure(&project, &places.livepatch));
    measured.growth = growth.unwrap_or_else(|error| {
        eprintln!("{error}");
        serde_json::json!({ "failure": error })
    });
    let mut series = |what: &'static str, result: Result<Vec<Series>>| match result {
        Ok(more) => measured.calls.extend(more),
        Err(error) => {
            eprintln!("{what}: {error}");
            let mut failed = Series::new(what);
            failed.failure = Some(error);
            measured.calls.push(failed);
        }
    };
    eprintln!("══ the cost of a call");
    series("calls", calls::cost(&places.work.join("calls"), &places.livepatch, runs));
    eprintln!("══ a thousand functions in one edit");
    series("many functions", calls::many(&places.work.join("many"), &places.livepatch, runs));
}

impl Places {
    fn folder(&self, program: Program, contender: &str) -> PathBuf {
        self.work.join(format!("{}-{contender}", program.name()))
    }
}

/// The same edits, for all.
fn edits(program: Program, places: &Places, runs: u32) -> Result<Vec<Series>> {
    let mut all: Vec<(Series, Option<Box<dyn Contender>>)> = Vec::new();
    let mut enter = |name: &'static str, start: &dyn Fn() -> Result<Box<dyn Contender>>| {
        eprintln!("══ {}: {name} builds", program.name());
        let mut series = Series::new(name);
        let contender = start().map_err(|error| fail(&mut series, error)).ok();
        all.push((series, contender));
    };
    let first = places.folder(program, "cargo");
    let project = |variant, contender: &str| {
        let folder = places.folder(program, contender);
        share(&first, &folder)?;
        Project::create(program, variant, &folder)
    };
    enter("cargo build", &|| Ok(Box::new(PlainCargo::start(project(Variant::Plain, "cargo")?)?)));
    enter("floor", &|| Ok(Box::new(Floor::start(project(Variant::Plain, "floor")?, &places.livepatch)?)));
    enter("livepatch", &|| {
        Ok(Box::new(Livepatch::start(project(Variant::Plain, "livepatch")?, &places.livepatch)?))
    });
    if let Some(cargo_hot) = &places.cargo_hot {
        enter("cargo-hot", &|| {
            Ok(Box::new(CargoHot::start(project(Variant::CargoHot, "cargo-hot")?, cargo_hot.as_ref()?)?))
        });
        enter("hot-lib-reloader", &|| Ok(Box::new(HotLib::start(project(Variant::HotLib, "hot-lib")?)?)));
    }
    for round in 1..=WARM_UP + runs {
        eprintln!("   {}: round {round} of {}", program.name(), WARM_UP + runs);
        // Each is the first one in turn: nobody always comes after the same neighbour's work.
        let count = all.len();
        for at in 0..count {
            let (series, contender) = &mut all[(at + round as usize) % count];
            let Some(running) = contender else { continue };
            match running.edit(round) {
                Ok(times) if round > WARM_UP => series.rounds.push(times),
                Ok(_) => {}
                Err(error) => {
                    fail(series, error);
                    *contender = None;
                }
            }
        }
    }
    let ended = all.into_iter().map(|(mut series, contender)| {
        match contender.map(Contender::end) {
            Some(Ok(facts)) => series.facts = facts,
            Some(Err(error)) => fail(&mut series, error),
            None => {}
        }
        series
    });
    Ok(ended.collect())
}

fn fail(series: &mut Series, error: String) {
    eprintln!("{}: {error}", series.name);
    series.failure = Some(error);
}

/// Gives a folder that has nothing built yet what another has built: dependencies are the same.
fn share(from: &Path, to: &Path) -> Result {
    let (from, to) = (from.join("target"), to.join("target"));
    if !from.exists() || to.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&to).map_err(|error| error.to_string())?;
    output(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(from.join(".")).arg(&to))?;
    Ok(())
}
