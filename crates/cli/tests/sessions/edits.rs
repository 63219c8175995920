//! Saved edits.

use crate::project::{Project, manifest, number};
use crate::session::Session;
use std::time::Duration;

const QUIET: Duration = Duration::from_millis(600);

#[test]
fn every_way_of_saving_is_one_edit() {
    let project = Project::simple();
    let mut session = Session::start(&project);
    project.write("src/number.rs", &number(2));
    assert_eq!(session.wait_for("patched")["patch"], 1);
    project.write_over("src/number.rs", &number(3));
    assert_eq!(session.wait_for("patched")["patch"], 2);
    std::fs::remove_file(project.file("src/number.rs")).unwrap();
    project.write("src/number.rs", &number(4));
    assert_eq!(session.wait_for("patched")["patch"], 3);
    assert_eq!(session.rest(QUIET), [""; 0]);
}

#[test]
fn touching_is_no_edit_and_a_comment_changes_nothing() {
    let project = Project::simple();
    let mut session = Session::start(&project);
    project.write("src/number.rs", &number(1));
    assert_eq!(session.rest(QUIET), [""; 0]);
    project.write("src/number.rs", &format!("{}// the end\n", number(1)));
    session.wait_for("unchanged");
}

#[test]
fn the_steps_are_told() {
    let project = Project::simple();
    let mut session = Session::start(&project);
    project.write("src/number.rs", &number(2));
    let edit = session.wait_for("edit");
    assert!(edit["files"][0].as_str().unwrap().ends_with("src/number.rs"));
    let patched = session.wait_for("patched");
    for step in ["rustc", "diff", "resolve", "write", "apply", "total"] {
        assert!(patched["ms"][step].is_number(), "{step}: {patched}");
    }
    assert!(patched["ms"]["total"].as_f64() >= patched["ms"]["rustc"].as_f64());
}

#[test]
fn what_does_not_compile_is_told_once_and_the_cure_goes_live() {
    let project = Project::simple();
    let mut session = Session::start(&project);
    project.write("src/number.rs", "pub fn number() -> u64 { \"two\" }\n");
    let rejected = session.wait_for("rejected");
    let diagnostic = &rejected["diagnostics"][0];
    assert_eq!(diagnostic["message"], "mismatched types");
    assert_eq!(diagnostic["file"], "src/number.rs");
    session.wait_until_said("error[E0308]: mismatched types");
    assert_eq!(session.rest(QUIET), [""; 0]);
    project.write("src/number.rs", &number(2));
    session.wait_for("patched");
}

#[test]
fn a_module_may_come_after_the_line_that_names_it() {
    let project = Project::simple();
    let mut session = Session::start(&project);
    project.write("src/number.rs", "mod deep;\npub fn number() -> u64 { deep::number() }\n");
    session.wait_for("rejected");
    project.write("src/number/deep.rs", &number(5));
    session.wait_for("patched");
    // The new file is watched from now on.
    project.write("src/number/deep.rs", &number(6));
    session.wait_for("patched");
}

#[test]
fn a_newer_edit_takes_the_place_of_one_under_way() {
    let project = Project::simple();
    let mut session = Session::start(&project);
    for n in 2..12 {
        project.write("src/number.rs", &number(n));
        std::thread::sleep(Duration::from_millis(15));
    }
    session.wait_for("patched");
    let rest = session.rest(QUIET);
    assert!(!rest.contains(&"rejected".to_owned()), "{rest:?}");
    project.write("src/number.rs", &number(11));
    assert_eq!(session.rest(QUIET), [""; 0], "the last edit is live already");
}

#[test]
fn files_that_are_included_count() {
    let project = Project::simple();
    project.write(
        "src/number.rs",
        "pub fn number() -> u64 { include_str!(\"n.txt\").trim().parse().unwrap() }\n",
    );
    project.write("src/n.txt", "1\n");
    let mut session = Session::start(&project);
    project.write("src/n.txt", "2\n");
    session.wait_for("edit");
}

#[test]
fn an_edit_of_a_library_reaches_its_dependents() {
    let project = Project::workspace();
    let mut session = Session::start_with(&project, &["-p", "app"]);
    session.wait_until_said("number 1");
    project.write("lib/src/lib.rs", &number(2));
    session.wait_for("patched");
    // The dependent was compiled against the new library, and can be again.
    project.write("app/src/number.rs", "pub fn number() -> u64 { lib::number() + 10 + outside::zero() }\n");
    session.wait_for("patched");
    project.write("lib/src/lib.rs", "pub fn number() -> u64 { more() }\npub fn more() -> u64 { 3 }\n");
    session.wait_for("patched");
    project.write("app/src/number.rs", "pub fn number() -> u64 { lib::more() + outside::zero() }\n");
    session.wait_for("patched");
}

#[test]
fn a_library_outside_the_workspace_starts_the_program_anew() {
    let project = Project::workspace();
    let mut session = Session::start_with(&project, &["-p", "app"]);
    project.write("outside/src/lib.rs", "pub fn zero() -> u64 { 100 }\n");
    let restarted = session.wait_for("restarted");
    assert!(restarted["reason"].as_str().unwrap().contains("outside the workspace"), "{restarted}");
    session.wait_until_said("number 101");
}

#[test]
fn what_only_cargo_understands_starts_the_program_anew() {
    let project = Project::simple();
    project.write(
        "build.rs",
        "fn main() {\n    println!(\"cargo:rerun-if-changed=n.txt\");\n    println!(\
        \"cargo:rustc-env=N={}\", std::fs::read_to_string(\"n.txt\").unwrap().trim());\n}\n",
    );
    project.write("n.txt", "7\n");
    project.write("src/number.rs", "pub fn number() -> u64 { env!(\"N\").parse().unwrap() }\n");
    let mut session = Session::start(&project);
    session.wait_until_said("number 7");
    project.write("n.txt", "8\n");
    assert_eq!(session.wait_for("restarted")["reason"], "n.txt changed, which the build script of app reads");
    session.wait_for("ready");
    session.wait_until_said("number 8");

    project.write("Cargo.toml", "nonsense");
    session.wait_for("rejected");
    project.write("Cargo.toml", &manifest("app", "[features]\nnew = []\n"));
    assert_eq!(session.wait_for("restarted")["reason"], "Cargo.toml changed");
}
