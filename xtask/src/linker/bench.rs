//! How long each loader takes for the same libraries: fresh processes, in turn, what the libraries need loaded before.

use crate::report::{self, machine_line, table};
use crate::run::{Result, cargo, cargo_in, output, root, step, target, write};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `cargo xtask bench linker`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each loader loads each library
    #[arg(long, default_value_t = 21, value_name = "N")]
    runs: usize,
    /// Which libraries
    #[arg(default_values = ["/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1", "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0",
        "/usr/lib/x86_64-linux-gnu/libz3.so.4", "/usr/lib/x86_64-linux-gnu/libz.so.1"])]
    libraries: Vec<PathBuf>,
}

const DLOPEN_RS: &str = "0.8.0";
const ELF_LOADER: &str = "0.18.0";

/// The loaders, as the tables name them. The first is what the others are compared with.
const LOADERS: [&str; 7] = ["glibc NOW", "glibc LAZY", "now", "lazy", "dlopen-rs NOW", "elf_loader", "floor"];

/// One loader's times for one library, in nanoseconds.
struct Row {
    library: String,
    loader: &'static str,
    times: Vec<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let own = own_program()?;
    let peers = peers();
    if let Err(reason) = &peers {
        eprintln!("without peers: {reason}");
    }
    let peers = peers.ok();
    let machine = report::machine();
    let mut rows = Vec::new();
    for library in arguments.libraries.iter().filter(|library| library.exists()) {
        let name = library.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut of_library: Vec<Row> =
            LOADERS.iter().map(|loader| Row { library: name.clone(), loader, times: Vec::new() }).collect();
        for round in 1..=arguments.runs {
            eprintln!("── {name}, round {round} of {}", arguments.runs);
            for row in &mut of_library {
                let time = measure(row.loader, library, &own, peers.as_deref());
                row.times
                    .extend(time.inspect_err(|error| eprintln!("{}: {error}", row.loader)).ok().flatten());
            }
        }
        rows.extend(of_library);
    }
    let samples: Vec<_> = rows
        .iter()
        .map(|row| json!({ "library": row.library, "loader": row.loader, "nanoseconds": row.times }))
        .collect();
    let results =
        json!({ "machine": machine, "dlopen-rs": DLOPEN_RS, "elf_loader": ELF_LOADER, "samples": samples });
    report::save("bench-linker", &results, &markdown(&machine, &rows))
}

fn own_program() -> Result<PathBuf> {
    let example = ["--release", "--quiet", "--package", "livepatch-linker", "--example", "load_time"];
    step("build the measuring program", cargo().arg("build").args(example))?;
    Ok(target()?.join("release/examples/load_time"))
}

/// A project with a program for each peer; where they are built.
fn peers() -> Result<PathBuf> {
    let folder = target()?.join("bench/linker-peers");
    let fixture = root().join("xtask/fixtures/bench-linker");
    for name in ["dlopen_rs.rs", "elf_loader.rs"] {
        let text = std::fs::read_to_string(fixture.join(name)).map_err(|error| format!("{name}: {error}"))?;
        write(&folder.join("src/bin").join(name), &text)?;
    }
    let manifest = format!(
        "[package]\nname = \"linker-peers\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nlibc = \"0.2\"\ndlopen-rs = \"={DLOPEN_RS}\"\nelf_loader = \"={ELF_LOADER}\"\n"
    );
    write(&folder.join("Cargo.toml"), &manifest)?;
    step("build the peers", cargo_in(&folder).args(["build", "--release", "--quiet"]))?;
    Ok(folder.join("target/release"))
}

/// One measurement; none if there is no such loader here.
fn measure(loader: &str, library: &Path, own: &Path, peers: Option<&Path>) -> Result<Option<u64>> {
    let mut command = match (loader, peers) {
        ("dlopen-rs NOW", Some(peers)) => {
            let mut command = Command::new(peers.join("dlopen_rs"));
            // It does not look for names everywhere that glibc does.
            let beside = |name: String| {
                let path = library.with_file_name(&name);
                if path.exists() { path } else { name.into() }
            };
            command.arg(library).args(needed(library)?.into_iter().map(beside));
            command
        }
        ("elf_loader", Some(peers)) => {
            let mut command = Command::new(peers.join("elf_loader"));
            let imports = peers.join("imports");
            write(&imports, &imports_of(library)?.join("\n"))?;
            command.arg(library).arg(needed(library)?.join(",")).arg(imports);
            command
        }
        ("dlopen-rs NOW" | "elf_loader", None) => return Ok(None),
        _ => {
            let mut command = Command::new(own);
            command.arg(loader.to_lowercase().replace(' ', "-")).arg(library);
            command
        }
    };
    let text = output(&mut command)?;
    text.trim().parse().map(Some).map_err(|_| format!("it says {text:?}"))
}

fn needed(library: &Path) -> Result<Vec<String>> {
    let text = output(Command::new("readelf").arg("-dW").arg(library))?;
    let lines = text.lines().filter(|line| line.contains("(NEEDED)"));
    Ok(lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect())
}

fn imports_of(library: &Path) -> Result<Vec<String>> {
    let text = output(Command::new("nm").args(["-D", "--undefined-only"]).arg(library))?;
    let names = text.lines().filter_map(|line| line.split_whitespace().last());
    Ok(names.map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect())
}

fn median(times: &[u64]) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).map(|&time| time as f64)
}

fn markdown(machine: &serde_json::Value, rows: &[Row]) -> String {
    let mut lines = Vec::new();
    for row in rows.iter().filter(|row| !row.times.is_empty()) {
        let reference = rows.iter().find(|other| other.library == row.library && other.loader == LOADERS[0]);
        let (own, of) = (median(&row.times), reference.and_then(|row| median(&row.times)));
        let best = row.times.iter().min().copied().unwrap_or(0) as f64;
        let ratio = own.zip(of).map_or(String::new(), |(own, of)| format!("{:.2}", own / of));
        let own = own.unwrap_or(0.0);
        let time = |nanoseconds: f64| format!("{:.3}", nanoseconds / 1e6);
        lines.push(vec![row.library.clone(), row.loader.to_owned(), time(own), time(best), ratio]);
    }
    let head = ["library", "loader", "median, ms", "best, ms", "median, glibc NOW = 1"];
    format!(
        "# Loading shared objects\n\n{}\n\n`now` and `lazy` are this linker, `floor` is mapping and relative relocations \
         only. Each measurement is a process of its own; what a library needs is loaded before and known to each loader, \
         and each loader has loaded another library. Initialisers \
         are in the times, except for `elf_loader` and `floor`.\n\n{}",
        machine_line(machine),
        table(&head, &lines)
    )
}
