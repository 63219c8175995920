//! One test for each fixture in `fixtures/`, and for each build that it names: see README.md.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at what it cannot do without")]

#[path = "../hold/live.rs"]
#[expect(dead_code, reason = "shared with the tests of what holds, which use more of it")]
mod live;
#[path = "../sessions/project.rs"]
#[expect(dead_code, reason = "shared with the tests of sessions, which use more of it")]
mod project;
#[path = "../sessions/session.rs"]
#[expect(dead_code, reason = "shared with the tests of sessions, which use more of it")]
mod session;

mod answer;
mod builds;
mod directives;
mod fixture;
mod run;
mod sources;

use builds::Build;
use fixture::Fixture;
use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/patch/fixtures");
    // A failing test has its own report; what panics here is also what is expected of pending ones.
    std::panic::set_hook(Box::new(|_| {}));
    let pending = Arc::new(Mutex::new(Vec::new()));
    let mut trials = Vec::new();
    for path in rust_files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().with_extension("").display().to_string();
        match Fixture::read(&path) {
            Ok(fixture) => trials.extend(trials_of(&name, fixture, &pending)),
            Err(error) => trials.push(Trial::test(name, move || Err(error.into()))),
        }
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    let pending = pending.lock().unwrap();
    if !pending.is_empty() {
        println!("{} pending:\n{}\n", pending.len(), pending.join("\n"));
    }
    conclusion.exit();
}

/// All fixtures, in order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A fixture's tests: one for each of its builds.
fn trials_of(name: &str, fixture: Fixture, pending: &Arc<Mutex<Vec<String>>>) -> Vec<Trial> {
    let fixture = Arc::new(fixture);
    let trial = |build: Build| {
        let name = build.label(name);
        let (fixture, pending) = (fixture.clone(), pending.clone());
        let is_skipped = fixture.images_only && std::env::var_os(session::VIA_VARIABLE).is_some();
        let trial = Trial::test(name.clone(), move || match fixture.pending(build) {
            None => run::run(&fixture, build).map_err(|failure| failure.text.into()),
            Some(reason) => match run::run(&fixture, build) {
                Err(failure) if !failure.in_a_step => Err(failure.text.into()),
                Err(failure) => {
                    let error: String =
                        failure.text.lines().next().unwrap_or_default().chars().take(100).collect();
                    pending.lock().unwrap().push(format!("    {name}: {reason}\n        {error}"));
                    Ok(())
                }
                Ok(()) => Err(format!("it passes and is marked as pending: {reason}").into()),
            },
        });
        trial.with_ignored_flag(is_skipped)
    };
    Build::chosen(&fixture.builds).into_iter().map(trial).collect()
}
