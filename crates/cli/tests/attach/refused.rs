//! What cannot be attached to, and what is said then.

use crate::live::package;
use crate::session::{command, livepatch};
use crate::started::{Started, build, refused, said};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

const CODE: &str = r#"
extern "C" { fn prctl(option: i32, a: u64, b: *const Program, c: u64, d: u64) -> i32; }
#[repr(C)] struct Program { length: u16, filter: *const [u64; 1] }
pub fn start() {
    if std::env::var_os("FILTERED").is_some() {
        // PR_SET_NO_NEW_PRIVS; PR_SET_SECCOMP, SECCOMP_MODE_FILTER with one instruction: all is allowed.
        let all = Program { length: 1, filter: &[0x7fff_0000_0000_0006] };
        unsafe { assert!(prctl(38, 1, std::ptr::null(), 0, 0) == 0 && prctl(22, 2, &all, 0, 0) == 0) };
    }
}
pub fn answer(question: &str) -> String { question.len().to_string() }
"#;

#[test]
fn a_plain_build_is_told_from_a_captured_one() {
    let project = package(CODE);
    // Nothing was ever captured; then something else was.
    for captured in [false, true] {
        if captured {
            build(&project);
            project.write("src/code.rs", &format!("{CODE}// Other lines.\n"));
        }
        let built = project.cargo(&["build"]);
        assert!(built.status.success(), "{}", said(&built));
        let _ = std::fs::remove_file(project.file("talk"));
        let mut program =
            Command::new(project.file("target/debug/app")).current_dir(project.path()).spawn().unwrap();
        let said = refused(&project, program.id());
        assert!(
            said.contains("target/debug/app") && said.contains("no captured build is kept of it"),
            "{said}"
        );
        assert!(said.contains("`cargo livepatch build`"), "{said}");
        program.kill().unwrap();
        program.wait().unwrap();
    }
    let mut sleep = Command::new("sleep").arg("100").spawn().unwrap();
    let said = refused(&project, sleep.id());
    assert!(said.contains("which is not of this target directory"), "{said}");
    sleep.kill().unwrap();
    sleep.wait().unwrap();
}

#[test]
fn a_captured_build_that_was_replaced_is_told() {
    let program = Started::new(CODE);
    program.project().write("src/code.rs", &CODE.replace("len()", "len().pow(2)"));
    build(program.project());
    let said = program.refused();
    assert!(said.contains("an earlier captured build"), "{said}");
    // One of its crates was compiled again; the one that needs it could not be.
    let project = package(&format!("{CODE}use app as _;\n"));
    project.write("src/lib.rs", "pub fn one() -> u32 { 1 }\n");
    build(&project);
    let program = Started::start(project, |_| {});
    program.project().write("src/lib.rs", "pub fn one() -> u32 { 2 }\n");
    program.project().write("src/code.rs", "use app::two as _;\n");
    assert!(!livepatch(program.project(), &["build"]).status.success());
    let said = program.refused();
    assert!(said.contains("was compiled again since the program was linked"), "{said}");
    assert!(said.contains("`cargo livepatch build`"), "{said}");
}

#[test]
fn processes_that_are_not_there_or_not_ours() {
    let project = package(CODE);
    let said = refused(&project, 4_000_000);
    assert!(said.contains("there is no process 4000000"), "{said}");
    if !rustix::process::geteuid().is_root() {
        let said = refused(&project, 1);
        assert!(said.contains("process 1 is user 0's"), "{said}");
        return;
    }
    let mut nobody = Command::new("sleep").arg("100").uid(65534).spawn().unwrap();
    let said = refused(&project, nobody.id());
    assert!(said.contains("is user 65534's, this is user 0"), "{said}");
    nobody.kill().unwrap();
    nobody.wait().unwrap();
}

fn wait_for_state(pid: u32, state: &str) {
    let since = Instant::now();
    while !std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains(state) {
        assert!(since.elapsed() < Duration::from_secs(20), "{state}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn stopped_and_traced_processes_have_to_go_on_first() {
    let mut program = Started::new(CODE);
    let signal = |name: &str| {
        assert!(
            Command::new("kill").args(["-s", name, &program.pid().to_string()]).status().unwrap().success()
        );
    };
    signal("STOP");
    wait_for_state(program.pid(), "State:\tT");
    let told = program.refused();
    assert!(told.contains("is stopped") && told.contains("kill -CONT"), "{told}");
    signal("CONT");
    wait_for_state(program.pid(), "State:\tS");

    let process = nix::unistd::Pid::from_raw(program.pid().cast_signed());
    std::thread::scope(|scope| {
        // The tracer is a thread; when it ends, it lets go.
        let tracer = scope.spawn(|| {
            if let Err(error) = nix::sys::ptrace::seize(process, nix::sys::ptrace::Options::empty()) {
                println!("skipped: {error}");
                return;
            }
            let told = program.refused();
            assert!(told.contains("is traced by process") && told.contains("debugger"), "{told}");
        });
        tracer.join().unwrap();
    });
    let mut live = program.attach();
    assert_eq!(live.ask("abc"), "3");
    live.edit("question.len()", "(question.len() + 1)");
    assert_eq!(live.ask("abc"), "4");
}

#[test]
fn a_sandboxed_process_is_left_alone() {
    let project = package(CODE);
    build(&project);
    let mut program = Started::start(project, |command| {
        command.env("FILTERED", "1");
    });
    let told = program.refused();
    assert!(told.contains("filters its system calls (seccomp)"), "{told}");
    assert!(program.runs());
}

/// Without the right to trace, and without the parent's privilege.
#[test]
fn who_may_not_trace_is_told_so() {
    let program = Started::new(CODE);
    let attach = command(program.project(), &["attach", &program.pid().to_string()]);
    let mut dropped = Command::new("setpriv");
    dropped.args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]).arg(attach.get_program());
    dropped.args(attach.get_args()).current_dir(program.project().path());
    crate::project::clean(&mut dropped);
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root has a right to drop");
        return;
    }
    let Ok(output) = dropped.output() else {
        println!("skipped: there is no setpriv");
        return;
    };
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the system does not allow this command to trace process"), "{said}");
    assert!(said.contains("hint: "), "{said}");
}

#[test]
fn a_program_without_a_dynamic_c_library_cannot_load_the_agent() {
    let project = package(CODE);
    project.write(".cargo/config.toml", "[build]\nrustflags = ['-Ctarget-feature=+crt-static']\n");
    build(&project);
    let mut program = Started::start(project, |_| {});
    let told = program.refused();
    assert!(told.contains("no C library loaded"), "{told}");
    assert!(program.runs());
}
