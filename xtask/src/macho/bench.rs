//! `cargo xtask bench macho`: what binding at the first call costs, against binding at once and against glibc's.

use crate::fixtures;
use crate::report::{self, machine_line, table};
use crate::run::{Result, cargo, output, step, target, write};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// `cargo xtask bench macho`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each is measured, each time in a process of its own
    #[arg(long, default_value_t = 21, value_name = "N")]
    runs: usize,
    /// How many functions are imported
    #[arg(long, default_value_t = 1000, value_name = "N")]
    functions: usize,
}

/// Real images, with how many functions they leave to the binder.
const IMAGES: [(&str, &str); 2] = [
    ("libsodium (pyzmq 27.0.0)", "pyzmq-27.0.0-macosx_13_0_x86_64/zmq/.dylibs/libsodium.26.dylib"),
    ("OpenBLAS (numpy 1.21.6)", "numpy-1.21.6-macosx_13_0_x86_64/.dylibs/libopenblas.0.dylib"),
];

/// The middle of times, in nanoseconds.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Bench {
    program: PathBuf,
    folder: PathBuf,
    runs: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let example =
        ["build", "--release", "--quiet", "--package", "livepatch-linker", "--example", "macho_bind"];
    step("build the measuring program", cargo().args(example))?;
    let bench = Bench {
        program: target()?.join("release/examples/macho_bind"),
        folder: target()?.join("bench/macho"),
        runs: arguments.runs,
    };
    let count = arguments.functions;
    let (macho, elf) = bench.build(count)?;
    let machine = report::machine();
    let (mut cold, mut bound, mut warm, mut glibc) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut now, mut lazy) = (Vec::new(), Vec::new());
    for round in 0..bench.runs {
        eprintln!("── round {} of {}", round + 1, bench.runs);
        let ours = bench.numbers(&["calls", "macho", &macho, &count.to_string()])?;
        cold.push(ours[0] - ours[1]);
        bound.push(ours[1]);
        warm.push(ours[2] - ours[1]);
        let theirs = bench.numbers(&["calls", "glibc", &elf, &count.to_string()])?;
        glibc.push(theirs[0] - theirs[1]);
        now.push(bench.numbers(&["load", "now", &macho])?[0]);
        lazy.push(bench.numbers(&["load", "lazy", &macho])?[0]);
    }
    let eager = (median(now.clone()) - median(lazy.clone())) / count as f64;
    let mut rows = vec![
        ("first call, more than a bound one: Mach-O, cold".to_owned(), median(cold.clone()), "ns a function"),
        ("the same, with everything in the caches".to_owned(), median(warm.clone()), "ns a function"),
        (
            "first call, more than a bound one: ELF by glibc, cold".to_owned(),
            median(glibc.clone()),
            "ns a function",
        ),
        ("a bound call, the function included".to_owned(), median(bound.clone()), "ns a function"),
        ("bound at once: (load now − load lazy) / functions".to_owned(), eager, "ns a function"),
        (format!("load, {count} functions, lazily"), median(lazy.clone()) / 1e3, "µs"),
        (format!("load, {count} functions, at once"), median(now.clone()) / 1e3, "µs"),
    ];
    let mut images = Vec::new();
    for (name, file) in IMAGES {
        let path = fixtures::place()?.join(file);
        if !path.exists() {
            eprintln!("without {name}: `cargo xtask fixtures` fetches it");
            continue;
        }
        let path = path.to_string_lossy().into_owned();
        let (mut lazily, mut at_once) = (Vec::new(), Vec::new());
        for _ in 0..bench.runs {
            lazily.push(bench.numbers(&["load", "lazy", &path])?[0]);
            at_once.push(bench.numbers(&["load", "now", &path])?[0]);
        }
        rows.push((format!("load {name}, lazily"), median(lazily.clone()) / 1e3, "µs"));
        rows.push((format!("load {name}, at once"), median(at_once.clone()) / 1e3, "µs"));
        images.push(json!({ "image": name, "lazy": lazily, "now": at_once }));
    }
    let data = json!({
        "machine": machine, "functions": count, "cold": cold, "warm": warm, "bound": bound, "glibc": glibc,
        "load_lazy": lazy, "load_now": now, "images": images,
    });
    report::save("bench-macho", &data, &markdown(&rows, &machine_line(&machine), &bench, count))
}

impl Bench {
    /// Numbers that the program prints.
    fn numbers(&self, arguments: &[&str]) -> Result<Vec<f64>> {
        let text = output(Command::new(&self.program).args(arguments))?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match (arguments[0], numbers.len()) {
            ("load", 1) | ("calls", 4) => Ok(numbers),
            _ => Err(format!("it says {text:?}")),
        }
    }

    /// A library of so many functions, and one that calls each: as Mach-O and as ELF, from the same sources.
    fn build(&self, count: usize) -> Result<(String, String)> {
        let (mut functions, mut all) = (String::new(), String::new());
        let mut calls = String::new();
        for n in 0..count {
            // Writing to a string cannot fail.
            let _ = writeln!(functions, "long f{n}(long x) {{ return x + {n}; }}");
            let _ = writeln!(all, "long f{n}(long);");
            let _ = writeln!(calls, "x = f{n}(x);");
        }
        let _ = writeln!(all, "long all(long x) {{ {calls} return x; }}");
        write(&self.folder.join("dep.c"), &functions)?;
        write(&self.folder.join("all.c"), &all)?;
        let run = |program: &str, arguments: &[&str]| {
            output(Command::new(program).args(arguments).current_dir(&self.folder)).map(|_| ())
        };
        let lld = lld()?;
        for name in ["dep", "all"] {
            let (source, object) = (format!("{name}.c"), format!("{name}.o"));
            run(
                "clang",
                &["-target", "x86_64-apple-macos10.12", "-O2", "-fPIC", "-c", "-o", &object, &source],
            )?;
            let (id, file) = (format!("@rpath/lib{name}.dylib"), format!("lib{name}.dylib"));
            let mut link = vec!["-arch", "x86_64", "-platform_version", "macos", "10.12", "10.12", "-dylib"];
            link.extend([
                "-undefined",
                "dynamic_lookup",
                "-rpath",
                "@loader_path",
                "-install_name",
                &id,
                "-o",
                &file,
            ]);
            link.push(&object);
            link.extend(if name == "all" { ["-L.", "-ldep"].as_slice() } else { &[] });
            run(lld, &link)?;
            let shared = format!("lib{name}.so");
            let mut link = vec!["-shared", "-fPIC", "-O2", "-Wl,-z,lazy", "-o", &shared, &source];
            link.extend(if name == "all" {
                ["-L.", "-l:libdep.so", "-Wl,-rpath,$ORIGIN"].as_slice()
            } else {
                &[]
            });
            run("clang", &link)?;
        }
        let path = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        Ok((path("liball.dylib"), path("liball.so")))
    }
}

fn lld() -> Result<&'static str> {
    let names = ["ld64.lld", "ld64.lld-19", "ld64.lld-14"];
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    names.into_iter().find(is_there).ok_or_else(|| "ld64.lld is not installed".to_owned())
}

fn markdown(rows: &[(String, f64, &str)], machine: &str, bench: &Bench, count: usize) -> String {
    let lines: Vec<Vec<String>> =
        rows.iter().map(|(what, value, unit)| vec![what.clone(), format!("{value:.1} {unit}")]).collect();
    format!(
        "# Binding Mach-O images\n\n`cargo xtask bench macho`, {}. {machine}\n\nMedians of {} processes each. The first \
         three rows are of one library that calls {count} functions of another once each, from the same C as Mach-O and \
         as ELF; files are in the system's cache.\n\n{}",
        report::date(),
        bench.runs,
        table(&["what", "median"], &lines),
    )
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
