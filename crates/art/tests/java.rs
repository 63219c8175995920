//! The Java side: what is kept and in which order it is applied, in an ordinary virtual machine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn patches_are_managed() {
    if ["javac", "java"].iter().any(|tool| Command::new(tool).arg("--version").output().is_err()) {
        println!("patches_are_managed skipped: there is no javac, or no java");
        return;
    }
    let (folder, here) = (tempfile::tempdir().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut javac = Command::new("javac");
    // Android's build tools take this, too.
    javac.args(["-Xlint:all,-options,-deprecation", "-Werror", "--release", "11", "-d"]).arg(folder.path());
    let sources = std::fs::read_dir(here.join("java/livepatch/art")).unwrap();
    javac.args(sources.map(|entry| entry.unwrap().path()));
    run(javac.args(
        ["tests/java/dalvik/system/DexFile.java", "tests/java/livepatch/art/Managing.java"]
            .map(|path| here.join(path)),
    ));
    run(Command::new("java").arg("-cp").arg(folder.path()).arg("livepatch.art.Managing"));
}
