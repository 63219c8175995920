//! Fuzzing what reads bytes from outside. Needs a nightly compiler and `cargo install cargo-fuzz`.

use crate::run::{Result, cargo_livepatch, output, root, step};
use std::path::Path;
use std::process::Command;

/// The targets in `fuzz/`, and what they start from.
const TARGETS: [(&str, Seed); 6] = [
    ("relocatable", Seed::Objects),
    ("layout", Seed::DebugInformation),
    ("host", Seed::Programs),
    ("archive", Seed::Archives),
    ("protocol", Seed::Nothing),
    ("entry", Seed::Nothing),
];

#[derive(Clone, Copy)]
enum Seed {
    Objects,
    DebugInformation,
    Programs,
    Archives,
    Nothing,
}

/// Code with what the parsers look for: sections, thread-locals, constants.
const C: &str = "static int n; _Thread_local int t = 3; const char *const s[] = {\"a\", \"b\"};
int f(int x) { return x + n++; }
int main(void) { switch (n) { case 1: return t; case 2: return f(2); case 3: return s[0][0]; case 4: return 9; } return 0; }";

/// Code with what debug information describes: enums, a vtable, a closure, a coroutine, generics, statics.
const RUST: &str = "#![no_std]
pub enum Kind { Square(f32), Round { r: f64 } }
pub trait Acts { fn first(&self) -> u64; }
impl Acts for Kind { fn first(&self) -> u64 { 1 } }
pub static KIND: Kind = Kind::Square(1.0);
pub struct Of<T>(T, u8);
pub async fn work(k: Of<Kind>) -> [u8; 3] { [k.0.first() as u8; 3] }
pub fn f(k: &Kind, by: u64) -> &dyn Acts { let c = |x: u64| x + by; c(1); k }
pub fn g(f: fn(u8) -> Kind) -> impl core::future::Future { work(Of(f(0), 1)) }";

/// Runs each target for `seconds`; a finding is an error.
pub(crate) fn run(seconds: u32) -> Result {
    let target = cargo_livepatch()?;
    let target = target.ancestors().nth(2).ok_or("no target directory")?.join("fuzz");
    for (name, seed) in TARGETS {
        let corpus = target.join("corpus").join(name);
        std::fs::create_dir_all(&corpus).map_err(|error| error.to_string())?;
        plant(seed, &corpus)?;
        let mut fuzz = Command::new("cargo");
        fuzz.args(["+nightly", "fuzz", "run", "--target-dir"]).arg(&target).arg(name).arg(&corpus);
        fuzz.args(["--", "-timeout=10", "-rss_limit_mb=2048", &format!("-max_total_time={seconds}")]);
        step(&format!("fuzz {name} for {seconds} s"), fuzz.current_dir(root()))?;
    }
    Ok(())
}

/// Puts small real files where a target starts from.
fn plant(seed: Seed, corpus: &Path) -> Result {
    let source = corpus.with_extension("c");
    let object = corpus.with_extension("o");
    std::fs::write(&source, C).map_err(|error| error.to_string())?;
    let gcc = |arguments: &[&str], to: &Path| {
        output(Command::new("gcc").args(arguments).arg(&source).arg("-o").arg(to)).map(|_| ())
    };
    let sections = ["-c", "-g", "-fPIC", "-ffunction-sections", "-fdata-sections"];
    match seed {
        Seed::DebugInformation => {
            let source = corpus.with_extension("rs");
            std::fs::write(&source, RUST).map_err(|error| error.to_string())?;
            let flags =
                ["-g", "-Awarnings", "--edition=2024", "--crate-type=lib", "--emit=obj", "-Ccodegen-units=1"];
            ["4", "5"].into_iter().try_for_each(|version| {
                let mut rustc = Command::new("rustc");
                rustc.args(flags).arg(format!("-Cdwarf-version={version}")).arg(&source).arg("-o");
                output(rustc.arg(corpus.join(format!("dwarf-{version}.o")))).map(|_| ())
            })
        }
        Seed::Objects => gcc(&sections, &corpus.join("c.o")),
        Seed::Programs => gcc(&["-Wl,--build-id"], &corpus.join("program")),
        Seed::Archives => {
            gcc(&sections, &object)?;
            output(Command::new("ar").arg("rcs").arg(corpus.join("c.a")).arg(&object)).map(|_| ())
        }
        Seed::Nothing => Ok(()),
    }
}
