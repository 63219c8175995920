//! How sessions of `attach` end.

use crate::started::Started;
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;

const CODE: &str = r#"
use std::hint::black_box;
pub fn start() {}
pub fn answer(question: &str) -> String {
    match question {
        "work" => inner(1).to_string(),
        "replace" => {
            use std::os::unix::process::CommandExt;
            panic!("{}", std::process::Command::new("sleep").arg("1000").exec())
        }
        _ => String::new(),
    }
}
#[inline(never)]
fn inner(x: u64) -> u64 { black_box(x) }
"#;

#[test]
fn ctrl_c_leaves_the_program_as_it_is() {
    let mut program = Started::new(CODE);
    for signal in ["INT", "TERM", "HUP"] {
        let mut live = program.attach();
        live.session.signal(signal);
        assert!(live.session.wait().success(), "{signal}: {}", live.report());
        assert_eq!(live.session.wait_for("detached")["patch"], 0);
        assert_eq!(live.ask("work"), "1");
        program.take_back(live);
    }
    assert!(program.runs());
}

#[test]
fn the_session_ends_with_the_program() {
    let mut program = Started::new(CODE);
    let mut live = program.attach();
    live.tell("quit 7");
    assert!(live.session.wait().success());
    assert_eq!(live.session.wait_for("exited")["status"], Value::Null);
    assert_eq!(program.wait().code(), Some(7));
}

#[test]
fn a_crash_is_told() {
    for (inner, name, number) in [
        ("{ unsafe { *(black_box(8) as *mut u64) = x }; x }", "SIGSEGV", 11),
        ("{ unsafe { std::arch::asm!(\"ud2\") }; x }", "SIGILL", 4),
        ("std::process::abort()", "SIGABRT", 6),
    ] {
        let mut program = Started::new(CODE);
        let mut live = program.attach();
        live.edit("{ black_box(x) }", &format!("{{ {inner} }}"));
        live.tell("work");
        let crashed = live.session.wait_for("crashed");
        assert_eq!(crashed["signal"], name);
        let place = if number == 6 { &crashed["called_from"] } else { &crashed };
        assert_eq!(
            (&place["function"], &place["patch"]),
            (&json!("app::code::inner"), &json!(1)),
            "{crashed}"
        );
        assert!(live.session.wait().success());
        assert_eq!(live.session.wait_for("exited")["status"], 128 + number);
        assert_eq!(program.wait().signal(), Some(number));
    }
}

#[test]
fn a_program_that_replaces_itself_is_not_patched_any_more() {
    let mut program = Started::new(CODE);
    let mut live = program.attach();
    live.tell("replace");
    live.session.wait_until_said("replaced itself (exec): it is not patched any more");
    let rejected = live.save(&CODE.replace("black_box(x)", "black_box(x) + 1"));
    assert_eq!(rejected["event"], "rejected", "{}", live.report());
    assert!(rejected["reason"].as_str().unwrap().contains("replaced itself"), "{rejected}");
    drop(live);
    assert!(program.runs());
}
