//! `cargo xtask art-processors`: methods replaced in Android's runtime on other processors than this machine's.
//!
//! The runtime, its C library and what programs are linked with are unpacked into one folder for each processor. x86 is
//! run by this machine itself, the others by emulators.

use crate::apt::Apt;
use crate::art_runtimes::ANDROID;
use crate::cross_rustc;
use crate::report::{date, machine, machine_line, save, table};
use crate::run::{Result, cargo, output, target};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these
    #[arg(value_enum)]
    processors: Vec<Processor>,
    /// Only cases with this in their names
    #[arg(long, default_value = "art11")]
    cases: String,
}

/// Processors that Debian has the runtime for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Processor {
    X86,
    Arm64,
    Arm,
}

/// What their names are in various places.
struct Names {
    debian: &'static str,
    folder: &'static str,
    rust: &'static str,
    loader: &'static str,
    emulator: Option<&'static str>,
}

impl Processor {
    fn names(self) -> Names {
        match self {
            Self::X86 => Names {
                debian: "i386",
                folder: "i386-linux-gnu",
                rust: "i686-unknown-linux-gnu",
                loader: "lib/ld-linux.so.2",
                emulator: None,
            },
            Self::Arm64 => Names {
                debian: "arm64",
                folder: "aarch64-linux-gnu",
                rust: "aarch64-unknown-linux-gnu",
                loader: "lib/ld-linux-aarch64.so.1",
                emulator: Some("qemu-aarch64"),
            },
            Self::Arm => Names {
                debian: "armhf",
                folder: "arm-linux-gnueabihf",
                rust: "armv7-unknown-linux-gnueabihf",
                loader: "lib/ld-linux-armhf.so.3",
                emulator: Some("qemu-arm"),
            },
        }
    }
}

/// What the runtime needs besides its own, and what programs are linked with.
const PACKAGES: [&str; 10] = [
    "libatomic1",
    "libc6",
    "libc6-dev",
    "libgcc-12-dev",
    "libgcc-s1",
    "liblz4-1",
    "libstdc++6",
    "linux-libc-dev",
    "p7zip-full",
    "zlib1g",
];
/// The source of a std, for processors that Debian's rustc comes without one for.
const SOURCE: &str = "rust-web-src";

/// Runs the live cases on each.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let all = [Processor::X86, Processor::Arm64, Processor::Arm];
    let chosen = if arguments.processors.is_empty() { &all[..] } else { &arguments.processors };
    let mut rows = Vec::new();
    for processor in chosen {
        let names = processor.names();
        let said = on(&names, &arguments.cases)?;
        print!("{said}");
        rows.push(row(&names, &said)?);
    }
    let machine = machine();
    let head = ["processor", "run by", "passed", "of these skipped", "failed"];
    let text = format!(
        "# Java methods replaced on other processors\n\n{}\n\nLive cases of `{}`, each in a process of its own; a case that \
         is skipped says why.\n\n{}\n",
        machine_line(&machine),
        arguments.cases,
        table(&head, &rows),
    );
    // Only all of them are a result to keep.
    if arguments.processors.is_empty() {
        let data = json!({ "date": date(), "machine": machine, "cases": arguments.cases, "rows": rows });
        save("art-processors", &data, &text)?;
    }
    match rows.iter().all(|row| row.last().is_some_and(|failed| failed == "0")) {
        true => Ok(()),
        false => Err(format!("some cases failed\n{text}")),
    }
}

/// What a run of the cases has come to.
fn row(names: &Names, said: &str) -> Result<Vec<String>> {
    let line = said.lines().find(|line| line.starts_with("test result: "));
    let line = line.ok_or_else(|| format!("the cases on {} did not come to an end", names.debian))?;
    let count = |what: &str| {
        let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == what);
        at.and_then(|at| words.get(at.checked_sub(1)?)).map_or("–".to_owned(), |count| (*count).to_owned())
    };
    let skipped = said.lines().filter(|line| line.contains(" skipped: ")).count().to_string();
    let by = names.emulator.unwrap_or("this machine").to_owned();
    Ok(vec![names.debian.to_owned(), by, count("passed"), skipped, count("failed")])
}

/// What the cases say on a processor.
fn on(names: &Names, cases: &str) -> Result<String> {
    let root = root(names)?;
    let rustc = cross_rustc::find()?;
    let mut test = cargo();
    test.args(["test", "--package", "livepatch-art", "--test", "live", "--target", names.rust]);
    if !cross_rustc::has(&rustc, names.rust) {
        add_source(&rustc)?;
        // Cargo and the compiler take this from themselves only in builds that are not released.
        test.arg("-Zbuild-std=std,panic_unwind,test").env("RUSTC_BOOTSTRAP", "1");
    }
    let variable = format!("CARGO_TARGET_{}", names.rust.to_uppercase().replace('-', "_"));
    test.env("RUSTC", rustc).env(format!("{variable}_LINKER"), "clang");
    test.env(format!("{variable}_RUSTFLAGS"), flags(names, &root)).env("LIVEPATCH_ART_ROOT", &root);
    if let Some(emulator) = names.emulator {
        let runner = format!("{emulator} -L {}", root.display());
        test.env(format!("{variable}_RUNNER"), &runner).env("TEST_RUNNER", runner);
    }
    eprintln!("── Android's runtime on {}", names.debian);
    let output = test.args(["--", cases]).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{}: {error}", names.debian))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Programs are linked with what was unpacked; those that no emulator starts are told where their libraries are.
fn flags(names: &Names, root: &Path) -> String {
    let triple = names.rust.replace("-unknown", "");
    let root = root.display();
    let mut words =
        vec![format!("--target={triple}"), format!("--sysroot={root}"), "-fuse-ld=lld".to_owned()];
    if names.emulator.is_none() {
        words.push(format!("-Wl,--dynamic-linker={root}/{}", names.loader));
        let folder = names.folder;
        words.push(format!("-Wl,-rpath,{root}/lib/{folder}:{root}/usr/lib/{folder}"));
    }
    let words: Vec<String> = words.iter().map(|word| format!("-Clink-arg={word}")).collect();
    words.join(" ")
}

/// What was unpacked for a processor, or is now.
fn root(names: &Names) -> Result<PathBuf> {
    let folder = target()?.join("android").join(names.debian);
    let root = folder.join("root");
    if root.is_dir() {
        return Ok(root);
    }
    eprintln!("── unpack android-libart:{}, and what it needs", names.debian);
    let apt = Apt::of_machines(&folder, &["amd64", names.debian])?;
    // Not all sources have to answer, if those do that have the packages.
    let updated = apt.run("apt-get", &["update", "--quiet"]);
    let packages: Vec<String> =
        ANDROID.iter().chain(&PACKAGES).map(|name| format!("{name}:{}", names.debian)).collect();
    let part = folder.join("part");
    apt.unpack(packages.iter().map(String::as_str), &part).map_err(|error| match updated {
        Ok(_) => error,
        Err(earlier) => format!("{error} ({earlier})"),
    })?;
    std::fs::rename(&part, &root).map_err(|error| format!("{}: {error}", root.display()))?;
    Ok(root)
}

/// The std's source, where this rustc looks for it.
fn add_source(rustc: &Path) -> Result {
    let sysroot = PathBuf::from(output(Command::new(rustc).args(["--print", "sysroot"]))?.trim());
    if sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
        return Ok(());
    }
    let folder = target()?.join("cross");
    let root = folder.join("root");
    if sysroot != root.join("usr") {
        return Err(format!("{} has no std for other processors, and not its source", rustc.display()));
    }
    eprintln!("── unpack {SOURCE}");
    Apt::of_machines(&folder, &["amd64", "arm64"])?.unpack([SOURCE], &root)
}
