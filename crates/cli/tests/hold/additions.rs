//! Code that the program never had.

use crate::live::{Live, functions, package_with};
use crate::project::{Project, manifest};
use std::process::Command;

const CODE: &str = r#"
pub fn start() {}
pub fn answer(question: &str) -> String {
    match std::panic::catch_unwind(|| work(question)) {
        Ok(text) => text,
        Err(payload) => format!("caught {}", payload.downcast_ref::<String>().unwrap()),
    }
}
fn work(question: &str) -> String {
    match question {
        "a" => "old".to_string(),
        _ => "other".to_string(),
    }
}
"#;

/// Whether a file has a symbol with that text in its name, as another tool sees it.
fn has(project: &Project, file: &str, text: &str) -> bool {
    let output = Command::new("nm").arg("-C").arg(project.file(file)).output().expect("nm can be run");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).contains(text)
}

#[test]
fn functions_imports_prints_and_arms_that_panic() {
    let mut live = Live::new(CODE);
    assert_eq!([live.ask("a"), live.ask("b")], ["old", "other"]);
    let added = "fn added(x: u32) -> String { format!(\"added {x:>5} {:?}\", Some(x)) }\n";
    let code = live.code.replace("\"old\".to_string()", "added(4)") + added;
    assert_eq!(functions(&live.patch(&code)), ["app::code::work"]);
    assert_eq!(live.ask("a"), "added     4 Some(4)");

    let code = format!("use std::collections::BTreeMap;\n{code}");
    let code = code.replace("added(4)", "format!(\"{:?}\", BTreeMap::from([(2, 'b'), (1, 'a')]))");
    live.patch(&code);
    assert_eq!(live.ask("a"), "{1: 'a', 2: 'b'}");

    let printing = "\"a\" => { println!(\"printed {} {:#x} {:?}\", question, 255, [1.5f32]); \"p\".into() }";
    live.patch(&code.replace("\"a\" =>", &format!("{printing}\n\"A\" =>")));
    assert_eq!(live.ask("a"), "p");
    live.session.wait_until_said("printed a 0xff [1.5]");

    live.edit("\"A\" =>", "\"z\" => panic!(\"no {question} with {}\", question.len()),\n\"A\" =>");
    assert_eq!(
        [live.ask("z"), live.ask("b"), live.ask("A")],
        ["caught no z with 1", "other", "{1: 'a', 2: 'b'}"]
    );
}

#[test]
fn what_std_has_and_the_program_never_linked() {
    let mut live = Live::new(CODE);
    let host = "target/debug/app";
    assert!(has(&live.project, host, "app::code::work"));
    assert!(!has(&live.project, host, "to_lowercase"));
    live.edit("\"old\".to_string()", "\"ÀÉΣ of Stone\".to_lowercase()");
    assert_eq!(live.ask("a"), "àéς of stone");
    // A compiler builtin: division of 128 bits.
    assert!(!has(&live.project, host, "__udivti3"));
    live.edit("_ => \"other\".to_string()", "_ => (u128::MAX / (question.len() as u128 + 2)).to_string()");
    assert_eq!(live.ask("bc"), "85070591730234615865843651857942052863");
    // Much of std at once, with statics and thread-locals of its own.
    assert!(!has(&live.project, host, "std::sync::mpmc"));
    let channel = "\"c\" => { let (a, b) = std::sync::mpsc::sync_channel(1); \
        std::thread::spawn(move || a.send(41u64).unwrap()).join().unwrap(); \
        (b.recv().unwrap() + 1).to_string() }\n";
    live.edit("\"a\" =>", &format!("{channel}\"a\" =>"));
    assert_eq!(live.ask("c"), "42");
}

#[test]
fn libraries_of_the_system_that_the_program_never_called() {
    let mut live = Live::new(CODE);
    // `sin` is of libm, which this program was not linked with.
    assert!(!has(&live.project, "target/debug/app", " sin"));
    live.edit("\"old\".to_string()", "format!(\"{:.4}\", (question.len() as f64).sin())");
    assert_eq!(live.ask("a"), "0.8415");
}

#[test]
fn dependencies_that_were_declared_and_not_used() {
    let dependencies = "[dependencies]\nitoa = '1'\nmember = { path = 'member' }\noutside = { path = 'outside' }\n\
        [workspace]\nmembers = ['member']\nexclude = ['outside']\n";
    let project = package_with(dependencies, CODE);
    let library = |says: &str| {
        format!(
            "use std::cell::Cell;\nthread_local! {{ static N: Cell<u32> = const {{ Cell::new(0) }}; }}\n\
             static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();\n\
             pub fn says() -> String {{ N.set(N.get() + 1); format!(\"{{}} {{}}\", TEXT.get_or_init(|| \"{says}\".into()), N.get()) }}\n\
             pub fn map<T>(x: T, f: impl Fn(T) -> T) -> T {{ f(x) }}\n"
        )
    };
    for name in ["member", "outside"] {
        project.write(&format!("{name}/Cargo.toml"), &manifest(name, ""));
        project.write(&format!("{name}/src/lib.rs"), &library(name));
    }
    let mut live = Live::start(project, &[]);
    for name in ["itoa", "member", "outside"] {
        assert!(!has(&live.project, "target/debug/app", &format!("{name}::")));
    }
    assert_eq!(live.ask("a"), "old");
    live.edit("\"old\".to_string()", "itoa::Buffer::new().format(1_234_567_890_123u64).to_string()");
    assert_eq!(live.ask("a"), "1234567890123");
    live.edit("_ => \"other\".to_string()", "\"out\" => outside::says(),\n_ => member::says()");
    assert_eq!(
        ["out", "b", "b", "out"].map(|q| live.ask(q)),
        ["outside 1", "member 1", "member 2", "outside 2"]
    );
    live.edit(
        "_ => member::says()",
        "\"g\" => outside::map(20, |x| x + member::map(1, |y| y + 1)).to_string(),\n_ => member::says()",
    );
    assert_eq!(["g", "b", "out"].map(|q| live.ask(q)), ["22", "member 3", "outside 3"]);
}
