//! The programs that tests compare with. One that is missing makes a test say so and skip.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command; its output if it succeeds, and what it says if not.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{command:?}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// The same, of which the test needs that it succeeds.
#[track_caller]
pub(crate) fn done(command: &mut Command) -> String {
    run(command).unwrap_or_else(|error| panic!("{error}"))
}

/// Which of these programs cannot be run here.
pub(crate) fn missing(programs: &[&Path]) -> Option<String> {
    let works = |program: &&&Path| Command::new(program).arg("--version").output().is_ok();
    let missing: Vec<_> = programs.iter().filter(|program| !works(program)).collect();
    (!missing.is_empty()).then(|| format!("cannot run {missing:?}"))
}

/// Says why a test does nothing.
macro_rules! skip {
    ($($reason:tt)*) => {{
        println!("skipped: {}", format_args!($($reason)*));
        return;
    }};
}
pub(crate) use skip;

/// One of LLD's faces. rustc brings them along.
pub(crate) fn lld(face: &str) -> PathBuf {
    let found = run(Command::new("rustc").args(["--print", "target-libdir"])).ok().and_then(|libraries| {
        let own = Path::new(libraries.trim()).parent()?.join("bin/gcc-ld").join(face);
        own.exists().then_some(own)
    });
    found.unwrap_or_else(|| face.into())
}

/// A test program of this folder.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stubs/programs").join(name)
}
