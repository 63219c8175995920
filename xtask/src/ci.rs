//! What a change must pass.

use crate::art_runtimes;
use crate::cross_rustc;
use crate::directions;
use crate::run::{Result, cargo, root, step, target};
use std::path::Path;
use std::process::Command;

/// Programs that tests compare with. A test that misses one says so and is skipped.
const TOOLS: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("nm", "binutils"),
    ("objdump", "binutils"),
    ("readelf", "binutils"),
    ("gdb", "gdb"),
    ("perf", "linux-perf"),
    ("clang", "clang"),
    ("llvm-nm", "llvm"),
    ("ld.lld", "lld"),
    ("mold", "mold"),
    ("qemu-aarch64", "qemu-user"),
    ("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("arm-linux-gnueabihf-ld", "binutils-arm-linux-gnueabihf"),
    ("riscv64-linux-gnu-ld", "binutils-riscv64-linux-gnu"),
    ("llvm-objdump-19", "llvm-19"),
    ("ld64.lld-19", "lld-19"),
    ("javac", "default-jdk-headless"),
    ("dexdump", "dexdump"),
];

/// Libraries and their packages: C libraries of other machines, Android's runtime, an assembler in Java.
const LIBRARIES: &[(&str, &str)] = &[
    ("/usr/aarch64-linux-gnu/lib/Scrt1.o", "libc6-dev-arm64-cross"),
    ("/usr/arm-linux-gnueabihf/lib/Scrt1.o", "libc6-dev-armhf-cross"),
    ("/usr/riscv64-linux-gnu/lib/Scrt1.o", "libc6-dev-riscv64-cross"),
    ("/usr/i686-linux-gnu/lib/Scrt1.o", "libc6-dev-i386-cross"),
    ("/usr/lib/x86_64-linux-gnu/android/libart.so.0", "android-libart"),
    ("/usr/lib/p7zip/7z.so", "p7zip-full"),
    ("/usr/share/java/smali.jar", "libsmali-java"),
];

/// Installs what the tests need, where that is possible, and runs them all.
pub(crate) fn test() -> Result {
    install();
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--quiet", "--no-fail-fast"]);
    match cross_rustc::find() {
        Ok(rustc) => drop(tests.env(cross_rustc::VARIABLE, rustc)),
        Err(reason) => eprintln!("{reason}: tests that need it are skipped and say so"),
    }
    for runtime in &art_runtimes::ALL {
        match runtime.find() {
            Ok(variables) => drop(tests.envs(variables)),
            Err(reason) => eprintln!("{reason}: tests that need it are skipped and say so"),
        }
    }
    step("tests", &mut tests)
}

/// Everything.
pub(crate) fn all() -> Result {
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    directions::check()?;
    let lints = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
    step("lints", cargo().args(lints))?;
    let agent =
        ["clippy", "--package", "livepatch", "--features", "agent", "--quiet", "--", "--deny", "warnings"];
    step("lints of the agent", cargo().args(agent))?;
    let docs = ["doc", "--workspace", "--no-deps", "--quiet"];
    step("documentation", cargo().args(docs).env("RUSTDOCFLAGS", "--deny warnings"))?;
    // Not a part of the workspace, and built by nothing else here: what they call may have changed.
    install();
    let fuzz = ["check", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"];
    step("fuzz targets", cargo().args(fuzz).arg(target()?.join("fuzz-check")).current_dir(root()))?;
    test()
}

/// Installs missing tools with the system's package manager, if this is a machine where that works.
fn install() {
    let works = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let tools = TOOLS.iter().filter(|(program, _)| !works(program));
    let libraries = LIBRARIES.iter().filter(|(file, _)| !Path::new(file).exists());
    let missing: Vec<&str> = tools.chain(libraries).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return;
    }
    eprintln!("── install {}", missing.join(", "));
    let apt =
        |arguments: &[&str]| Command::new("apt-get").args(arguments).status().is_ok_and(|s| s.success());
    let update = apt(&["update", "--quiet"]);
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    if update && apt(&[&install[..], &missing].concat()) {
        return;
    }
    // One by one: distributions name some of them otherwise.
    for package in missing {
        if !(update && apt(&[&install[..], &[package]].concat())) {
            eprintln!("could not install {package}: tests that need it are skipped and say so");
        }
    }
}
