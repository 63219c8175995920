//! Commands that talk to a session.

use crate::project::{Project, number};
use crate::session::{Session, livepatch};

fn text(project: &Project, arguments: &[&str]) -> (Option<i32>, String) {
    let output = livepatch(project, arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn status_rollback_restart_stop() {
    let project = Project::simple();
    let mut session = Session::start(&project);
    assert!(text(&project, &["status"]).1.contains("none: the code the program was started with"));
    let (code, said) = text(&project, &["rollback"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no patch is live"), "{said}");
    for n in 2..4 {
        project.write("src/number.rs", &number(n));
        session.wait_for("patched");
    }
    assert!(text(&project, &["status"]).1.contains("patch      2\n"));
    assert_eq!(text(&project, &["rollback"]).0, Some(0));
    assert_eq!(session.wait_for("rolled_back")["to"], 1);
    assert_eq!(text(&project, &["rollback", "--to", "0"]).0, Some(0));
    assert_eq!(session.wait_for("rolled_back")["to"], 0);
    assert_eq!(text(&project, &["rollback", "--to", "7"]).0, Some(1));
    let (code, said) = text(&project, &["restart"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("started anew as process"), "{said}");
    session.wait_for("restarted");
    session.wait_for("ready");
    session.wait_until_said("number 3");
    assert_eq!(text(&project, &["stop"]).0, Some(0));
    assert!(session.wait().success());
    session.wait_for("exited");
    let (code, said) = text(&project, &["status"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no `cargo livepatch run` is running"), "{said}");
}

#[test]
fn one_session_for_each_target_directory() {
    let project = Project::simple();
    let session = Session::start(&project);
    let (code, said) = text(&project, &["run"]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("process {} runs", session.child.id())), "{said}");
    let _second = Session::start_with(&project, &["--target-dir", "other"]);
    assert!(text(&project, &["status", "--target-dir", "other"]).1.contains("other/debug/app"));
}
