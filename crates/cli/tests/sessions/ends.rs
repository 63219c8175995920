//! How a session ends.

use crate::project::{MAIN, Project};
use crate::session::Session;
use std::os::unix::process::ExitStatusExt;

#[test]
fn the_programs_exit_status_is_passed_on() {
    let project = Project::simple();
    let mut session = Session::start(&project);
    project.write("quit", "37");
    assert_eq!(session.wait().code(), Some(37));
    assert_eq!(session.wait_for("exited")["status"], 37);
}

#[test]
fn a_signal_that_ends_the_program_ends_the_session_alike() {
    let project = Project::simple();
    project.write("src/main.rs", &format!("{MAIN}// "));
    let mut session = Session::start(&project);
    session.signal("TERM");
    assert_eq!(session.wait().signal(), Some(15));
    assert_eq!(session.wait_for("exited")["status"], 128 + 15);
}

#[test]
fn a_program_that_ignores_the_first_signal_is_ended_by_the_second() {
    let project = Project::simple();
    let main = MAIN.replace("println!(\"started\");", "unsafe { signal(15, 1) }; println!(\"started\");");
    project
        .write("src/main.rs", &format!("{main}extern \"C\" {{ fn signal(n: i32, h: usize) -> usize; }}\n"));
    let mut session = Session::start(&project);
    session.wait_until_said("started");
    session.signal("TERM");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(session.child.try_wait().unwrap().is_none());
    session.signal("TERM");
    assert_eq!(session.wait().signal(), Some(9));
}

#[test]
fn a_program_that_replaces_itself_is_not_patched_any_more() {
    let project = Project::simple();
    let main = "fn main() {\n    std::thread::sleep(std::time::Duration::from_millis(500));\n    \
        use std::os::unix::process::CommandExt;\n    panic!(\"{}\", std::process::Command::new(\"sleep\").arg(\"1\").exec());\n}\n";
    project.write("src/main.rs", main);
    let mut session = Session::start(&project);
    assert!(session.wait().success());
    session.wait_until_said("replaced itself (exec)");
}
