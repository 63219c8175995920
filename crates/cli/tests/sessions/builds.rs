//! The captured build beside plain ones.

use crate::project::{Project, number};
use crate::session::{Session, command, livepatch};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Builds and starts, and ends.
fn once(project: &Project, arguments: &[&str]) -> String {
    project.write("quit", "0");
    let mut session = Session::start_only(project, arguments);
    assert!(session.wait().success(), "{}", session.said());
    std::fs::remove_file(project.file("quit")).unwrap();
    session.said()
}

#[test]
fn plain_and_captured_builds_share_dependencies_and_stay_fresh() {
    let project = Project::workspace();
    assert!(said(&project.cargo(&["build"])).contains("Compiling outside"));
    let captured = once(&project, &["-p", "app"]);
    assert!(!captured.contains("Compiling outside"), "{captured}");
    assert!(captured.contains("Compiling app"), "{captured}");
    let plain = said(&project.cargo(&["build"]));
    assert!(!plain.contains("Compiling"), "{plain}");
    let again = once(&project, &["-p", "app"]);
    assert!(!again.contains("Compiling"), "{again}");
}

#[test]
fn an_edit_does_not_leak_into_plain_builds() {
    let project = Project::workspace();
    let before = std::fs::metadata(project.file("lib/src/lib.rs")).unwrap().modified().unwrap();
    let mut session = Session::start_with(&project, &["-p", "app"]);
    project.write("lib/src/lib.rs", &number(2));
    session.wait_for("patched");
    drop(session);
    // The old source with its old time: cargo must not take the edited library for fresh.
    project.write("lib/src/lib.rs", &number(1));
    std::fs::File::open(project.file("lib/src/lib.rs")).unwrap().set_modified(before).unwrap();
    let mut session = Session::start_with(&project, &["-p", "app"]);
    session.wait_until_said("number 1");
    assert!(!session.said().contains("number 2"));
    project.write("lib/src/lib.rs", &number(3));
    session.wait_for("patched");
}

#[test]
fn missing_records_are_made_again() {
    let project = Project::workspace();
    once(&project, &["-p", "app"]);
    std::fs::remove_dir_all(project.file("target/livepatch")).unwrap();
    let mut session = Session::start_with(&project, &["-p", "app"]);
    assert!(!session.said().contains("Compiling outside"), "{}", session.said());
    project.write("lib/src/lib.rs", &number(2));
    session.wait_for("patched");
}

#[test]
fn a_killed_first_build_leaves_nothing_broken() {
    for delay in [60, 150, 250, 400] {
        let project = Project::simple();
        let mut first = command(&project, &["run"]);
        use std::os::unix::process::CommandExt;
        let mut child = first
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let group = format!("-{}", child.id());
        std::process::Command::new("kill").args(["-9", "--", &group]).status().unwrap();
        child.wait().unwrap();
        let mut session = Session::start(&project);
        project.write("src/number.rs", &number(2));
        session.wait_for("patched");
    }
}

#[test]
fn an_edit_during_the_first_build_is_not_lost() {
    let project = Project::simple();
    let mut session = Session::start_only(&project, &[]);
    session.wait_until_said("Compiling");
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(120) {
        std::thread::sleep(Duration::from_millis(10));
    }
    project.write("src/number.rs", &number(9));
    session.wait_for("ready");
    // Either cargo saw it, or it was patched.
    session.wait_until_said("number");
    project.write("src/number.rs", &number(9));
    session.rest(Duration::from_millis(800));
    drop(session);
    assert!(once(&project, &[]).contains("number 9"));
}

#[test]
fn release_with_lto_and_strip_is_captured_without() {
    let project = Project::simple();
    let manifest =
        crate::project::manifest("app", "[profile.release]\nlto = 'thin'\nstrip = true\npanic = 'abort'\n");
    project.write("Cargo.toml", &manifest);
    let mut session = Session::start_with(&project, &["--release"]);
    session.wait_until_said("lto is off for this build (profile `release` asks for it)");
    project.write("src/number.rs", "pub fn number() -> u64 { std::hint::black_box(2) }\n");
    session.wait_for("edit");
}

#[test]
fn examples_arguments_and_other_folders() {
    let project = Project::simple();
    let example = "fn main() { println!(\"{:?}\", std::env::args().collect::<Vec<_>>()); println!(\"{}\", \
        std::env::var(\"CARGO_PKG_NAME\").unwrap()); for (name, _) in std::env::vars() { \
        if name.starts_with(\"LIVEPATCH\") || name.contains(\"RUNNER\") || name.contains(\"WRAPPER\") { \
        println!(\"leaked {name}\"); } } }\n";
    project.write("examples/show.rs", example);
    let said =
        once(&project, &["--example", "show", "--target-dir", "other target", "-q", "--", "-x", "two words"]);
    assert!(said.contains("[\"other target/debug/examples/show\", \"-x\", \"two words\"]"), "{said}");
    assert!(said.contains("\napp\n") && !said.contains("leaked"), "{said}");
}

#[test]
fn build_errors_are_cargos() {
    let project = Project::simple();
    project.write("src/number.rs", "nonsense");
    let output = livepatch(&project, &["run"]);
    assert_eq!(output.status.code(), Some(101));
    assert!(said(&output).contains("could not compile `app`"), "{}", said(&output));
}

#[test]
fn a_runner_of_the_users_is_refused() {
    let project = Project::simple();
    project.write(".cargo/config.toml", "[target.'cfg(unix)']\nrunner = 'echo'\n");
    let output = livepatch(&project, &["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("target.'cfg(unix)'.runner"), "{}", said(&output));
    let doctor = livepatch(&project, &["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
}
