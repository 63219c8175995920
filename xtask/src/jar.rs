//! `cargo xtask jar`: `livepatch.Loader` for Java programs, and its native part; `livepatch.art` for Android's.

use crate::run::{Result, cargo, root, step, target};
use std::process::Command;

/// Builds both, in release mode, and says where they are.
pub(crate) fn run() -> Result {
    let native = ["build", "--release", "--quiet", "--package", "livepatch-jni"];
    step("build livepatch-jni", cargo().args(native))?;
    let target = target()?;
    let classes = target.join("jar");
    let sources = root().join("crates/jni/java/livepatch");
    let mut javac = Command::new("javac");
    // The oldest release with what it uses that is still maintained.
    javac.args(["--release", "11", "-d"]).arg(&classes);
    step(
        "compile its Java side",
        javac.arg(sources.join("Loader.java")).arg(sources.join("NativeMethods.java")),
    )?;
    let jar = target.join("livepatch.jar");
    let mut pack = Command::new("jar");
    step("pack it", pack.args(["--create", "--file"]).arg(&jar).arg("-C").arg(&classes).arg("livepatch"))?;
    println!("{}\n{}", jar.display(), target.join("release/liblivepatch_jni.so").display());
    art()
}

/// The Java side of `livepatch-art`. Its native part is built for a device, with a linker that only who has one knows.
fn art() -> Result {
    let target = target()?;
    let (classes, crate_) = (target.join("jar-art"), root().join("crates/art"));
    let sources = crate_.join("java/livepatch/art");
    let mut javac = Command::new("javac");
    javac.args(["-nowarn", "--release", "11", "-d"]).arg(&classes);
    // What it uses of Android's own.
    javac.arg("-sourcepath").arg(crate_.join("tests/java"));
    let files = std::fs::read_dir(&sources).map_err(|error| error.to_string())?;
    javac.args(files.flatten().map(|entry| entry.path()));
    step("compile livepatch.art", &mut javac)?;
    let jar = target.join("livepatch-art.jar");
    let mut pack = Command::new("jar");
    step("pack it", pack.args(["--create", "--file"]).arg(&jar).arg("-C").arg(&classes).arg("livepatch"))?;
    println!("{}", jar.display());
    Ok(())
}
