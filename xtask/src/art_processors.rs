//! `cargo xtask art-processors`: methods replaced in Android's runtime on other processors than this machine's.
//!
//! The runtime, its C library and what programs are linked with are unpacked into one folder for each processor. x86 is
//! run by this machine itself, the others by emulators.

use crate::apt::Apt;
use crate::cross_rustc;
use crate::run::{Result, cargo, output, step, target};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// The runtime, what it needs, and what programs are linked with.
const PACKAGES: [&str; 17] = [
    "android-libart",
    "android-libbacktrace",
    "android-libbase",
    "android-liblog",
    "android-libnativebridge",
    "android-libnativeloader",
    "android-libziparchive",
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
    let failed: Vec<String> =
        chosen.iter().filter_map(|processor| on(&processor.names(), &arguments.cases).err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn on(names: &Names, cases: &str) -> Result {
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
    step(&format!("Android 11 on {}", names.debian), test.args(["--", cases]))
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
    let packages: Vec<String> = PACKAGES.iter().map(|name| format!("{name}:{}", names.debian)).collect();
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
