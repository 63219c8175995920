//! The project's own chores: `cargo xtask --help`.

mod android_libraries;
mod apt;
mod art_processors;
mod art_runtimes;
mod bench;
mod ci;
mod cross_rustc;
mod demo;
mod directions;
mod fixtures;
mod fuzz;
mod hot_calls;
mod http;
mod jar;
mod linker;
mod live;
mod macho;
mod memory;
mod realworld;
mod report;
mod run;
mod soak;
mod storm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build everything, start a program, edit it while it runs, roll back, print the times
    Demo,
    /// Measure, with the peers in the same run; writes benches/results
    Bench(bench::Arguments),
    /// Measure calls that ask a jump table first, with the peer's beside them; writes benches/results
    HotCalls(hot_calls::Arguments),
    /// Edit unmodified programs of the registry while they run
    Realworld(realworld::Arguments),
    /// Thousands of patches of one process, each checked; writes benches/results
    Soak(soak::Arguments),
    /// Patch a server under load as fast as edits can be made live; writes benches/results
    Storm(storm::Arguments),
    /// Load every library that is found with glibc and with the linker, and compare
    LinkerDifferential(linker::differential::Arguments),
    /// Load damaged libraries, each in a process of its own
    LinkerMutants(linker::mutants::Arguments),
    /// Fuzz everything that reads bytes from outside
    Fuzz {
        /// How long each target runs
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this target
        #[arg(long, value_name = "TARGET")]
        only: Option<String>,
    },
    /// Fetch real Android libraries and Mach-O images for tests, through npm and pip, checked by their hashes
    Fixtures {
        /// Only these
        sets: Vec<fixtures::Set>,
    },
    /// Read every real Mach-O image, and compare each record with llvm-objdump's; writes benches/results
    MachoDifferential,
    /// Load real Android libraries and have each do something; writes benches/results
    AndroidLibraries,
    /// Load real macOS packages on Linux and have each do something; writes benches/results
    MachoPackages,
    /// Build livepatch.Loader, which loads libraries of Java programs as Android does, and its native part; and
    /// livepatch.art, which patches Java programs on Android
    Jar,
    /// Unpack Android's runtimes of other releases of Debian, and print the variables by which tests find them
    ArtRuntimes,
    /// Replace methods in Android's runtime on x86, ARM64 and ARM, unpacked and emulated
    ArtProcessors(art_processors::Arguments),
    /// Set up and run all tests
    Test,
    /// Format, lints, dependency directions, documentation and all tests
    Ci,
    /// Check which crate depends on which
    Directions,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Demo => demo::run(),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::HotCalls(arguments) => hot_calls::run(&arguments),
        Chore::Realworld(arguments) => realworld::run(&arguments),
        Chore::Soak(arguments) => soak::run(&arguments),
        Chore::Storm(arguments) => storm::run(&arguments),
        Chore::Fuzz { seconds, only } => fuzz::run(seconds, only.as_deref()),
        Chore::LinkerDifferential(arguments) => linker::differential::run(&arguments),
        Chore::LinkerMutants(arguments) => linker::mutants::run(&arguments),
        Chore::Fixtures { sets } => fixtures::run(&sets),
        Chore::MachoDifferential => macho::differential::run(),
        Chore::AndroidLibraries => android_libraries::run(),
        Chore::MachoPackages => macho::packages::run(),
        Chore::Jar => jar::run(),
        Chore::ArtRuntimes => art_runtimes::run(),
        Chore::ArtProcessors(arguments) => art_processors::run(&arguments),
        Chore::Test => ci::test(),
        Chore::Ci => ci::all(),
        Chore::Directions => directions::check(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
