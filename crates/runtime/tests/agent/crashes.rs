//! Crashes are told, and change nothing of what the program sees of them.

use crate::plan::hex;
use crate::support::{Program, ask_without_agent, program};
use livepatch_proto::Crash;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;

const SIGABRT: i32 = 6;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;
const SI_USER: i32 = 0;
const SI_TKILL: i32 = -6;
const SEGV_MAPERR: i32 = 1;
const FPE_INTDIV: i32 = 1;

fn start() -> Option<Program> {
    Program::start_with(&program("crashes", &[])?, |_| {})
}

/// Tells the program to do something that ends it; what is told of it, and how it ended.
fn dies(mut program: Program, command: &str) -> (Option<Crash>, Option<i32>) {
    program.tell(command);
    let crash = program.accept_crash(|_| ());
    (crash, program.wait().signal())
}

#[test]
fn the_instruction_that_crashed_is_told() {
    for (command, signal, code, which) in
        [("fault", SIGSEGV, SEGV_MAPERR, 0), ("divide", SIGFPE, FPE_INTDIV, 1)]
    {
        let Some(mut program) = start() else { return };
        let pid = program.child.id();
        let addresses = program.ask("addresses");
        let at = hex(addresses.split(' ').nth(which).expect("an address"));
        let (crash, ended) = dies(program, command);
        let crash = crash.expect("it is told");
        assert_eq!((crash.signal.cast_signed(), crash.code, crash.pc.0), (signal, code, at), "{command}");
        assert_eq!((crash.pid, crash.thread, crash.parent), (pid, pid, 0));
        assert_eq!(ended, Some(signal), "{command}");
    }
}

#[test]
fn giving_up_is_told() {
    for (command, signal) in
        [("abort", SIGABRT), ("free_twice", SIGABRT), ("raise 6", SIGABRT), ("raise 11", SIGSEGV)]
    {
        let Some(program) = start() else { return };
        let (crash, ended) = dies(program, command);
        let crash = crash.expect("it is told");
        assert_eq!((crash.signal.cast_signed(), crash.code), (signal, SI_TKILL), "{command}");
        assert_eq!(ended, Some(signal), "{command}");
    }
    let Some(program) = start() else { return };
    let (crash, ended) = dies(program, "breakpoint");
    assert_eq!((crash.expect("it is told").signal, ended), (5, Some(5)));
}

/// A signal that somebody else sent is no crash.
#[test]
fn what_others_send_is_not_told() {
    for signal in [SIGABRT, SIGSEGV] {
        let Some(program) = start() else { return };
        // SAFETY: the child was not waited for, so the id is its own.
        assert_eq!(unsafe { libc::kill(program.child.id().cast_signed(), signal) }, SI_USER);
        let mut program = program;
        assert_eq!(program.child.wait().expect("it ends").signal(), Some(signal));
        assert!(program.accept(std::time::Duration::from_millis(50)).is_none());
    }
}

/// What the program asks about its own actions has the answers that it has without the agent.
#[test]
fn the_default_action_looks_as_it_is() {
    let Some(path) = program("crashes", &[]) else { return };
    let questions = |signal: i32| {
        format!(
            "query {signal}\ndefault {signal}\nquery {signal}\nagain {signal}\nquery {signal}\nsignal_default {signal}\nquery {signal}\nsignal_default {signal}\nignore {signal}\nquery {signal}\ndefault {signal}\nquery {signal}"
        )
    };
    for signal in [SIGABRT, SIGBUS, SIGFPE, SIGSEGV] {
        let without = ask_without_agent(&path, &questions(signal));
        let Some(mut program) = start() else { return };
        let with: Vec<String> = questions(signal).lines().map(|line| program.ask(line)).collect();
        assert_eq!(with.join("\n"), without, "signal {signal}");
        assert_eq!(with.len(), 12);
        assert!(program.finish().success());
    }
}

#[test]
fn handlers_of_the_program_run_as_ever() {
    let Some(path) = program("crashes", &[]) else { return };
    const SA_ONSTACK: i32 = 0x0800_0000;
    const SA_NODEFER: i32 = 0x4000_0000;
    let questions = format!(
        "signal_return 11\nrecover\nrecover\nnote 0\nnote {SA_ONSTACK}\nnote {SA_NODEFER}\nsignal_return 11\nrecover"
    );
    let without = ask_without_agent(&path, &questions);
    let Some(mut program) = start() else { return };
    let with: Vec<String> = questions.lines().map(|line| program.ask(line)).collect();
    assert_eq!(with.join("\n"), without);
    assert!(without.contains("recovered"), "{without}");
    assert!(program.accept(std::time::Duration::from_millis(50)).is_none(), "nothing was told");
    assert!(program.finish().success());
}

/// std's handler does so at any fault that is no stack overflow.
#[test]
fn a_handler_that_asks_for_the_default_action_gets_it() {
    let Some(mut program) = start() else { return };
    assert_eq!(program.ask("again 11"), "default");
    let at = hex(program.ask("addresses").split(' ').next().expect("an address"));
    let (crash, ended) = dies(program, "fault");
    assert_eq!((crash.expect("it is told").pc.0, ended), (at, Some(SIGSEGV)));
}

#[test]
fn a_handler_that_survives_an_abort_is_asked_first() {
    let Some(mut program) = start() else { return };
    assert_eq!(program.ask("again 6"), "default");
    // `abort` ends the program when the handler has returned: nothing stands in for the default then.
    program.tell("abort");
    assert_eq!(program.child.wait().expect("it ends").signal(), Some(SIGABRT));
    assert!(program.accept(std::time::Duration::from_millis(50)).is_none());
}

#[test]
fn many_threads_crash_once() {
    let Some(mut program) = start() else { return };
    let pid = program.child.id();
    program.tell("fault_in_threads");
    let crash = program.accept_crash(|crash| {
        // The process waits to be looked at, others of its threads crash meanwhile.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let task = format!("/proc/{pid}/task/{}/stat", crash.thread);
        assert!(Path::new(&task).exists());
    });
    assert_ne!(crash.expect("it is told").thread, pid);
    assert!(program.accept(std::time::Duration::from_millis(20)).is_none(), "told once");
    assert_eq!(program.wait().signal(), Some(SIGSEGV));
}

#[test]
fn a_child_that_crashes_is_told_as_such() {
    let Some(mut program) = start() else { return };
    let parent = program.child.id();
    program.tell("fault_in_child");
    let child: u32 = program.line().parse().expect("a process id");
    let crash = program.accept_crash(|_| ()).expect("it is told");
    assert_eq!((crash.pid, crash.parent), (child, parent));
    assert_eq!(program.line(), SIGSEGV.to_string());
    assert!(program.finish().success());
}

/// Where nobody listens any more, the program ends all the same, and soon.
#[test]
fn a_crash_without_a_server_is_a_crash() {
    for command in ["fault", "abort"] {
        let Some(mut program) = start() else { return };
        std::fs::remove_dir_all(&program.folder.0).expect("the socket's folder");
        program.tell(command);
        let signal = program.child.wait().expect("it ends").signal();
        assert_eq!(signal, Some(if command == "abort" { SIGABRT } else { SIGSEGV }));
    }
}

/// The kernel's picture of the crash, as gdb reads it, is that of the crash and not of the handler.
#[test]
fn a_core_dump_shows_the_crash() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.trim() != "core" || Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: core dumps go to {}, or there is no gdb", pattern.trim());
        return;
    }
    let Some(path) = program("crashes", &[]) else { return };
    let folder = crate::support::Folder::new();
    for (command, function) in [("fault", "fault"), ("raise 11", "raise"), ("abort", "abort")] {
        let mut program = Program::start_with(&path, |command| {
            let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            command.current_dir(&folder.0);
            // SAFETY: setrlimit(2) is async-signal-safe, and reads what the closure owns.
            unsafe {
                command.pre_exec(move || {
                    libc::setrlimit(libc::RLIMIT_CORE, &raw const unlimited);
                    Ok(())
                })
            };
        })
        .expect("compiled above");
        program.tell(command);
        program.accept_crash(|_| ()).expect("it is told");
        let status = program.child.wait().expect("it ends");
        if !status.core_dumped() {
            println!("skipped: no core was dumped");
            return;
        }
        let core = std::fs::read_dir(&folder.0).expect("the folder").flatten().map(|entry| entry.path());
        let core = core.into_iter().next().expect("a core file");
        let gdb = Command::new("gdb")
            .args([
                "-batch",
                "-nx",
                "-iex",
                "set debuginfod enabled off",
                "-ex",
                "bt",
                "-ex",
                "p $_siginfo.si_signo",
            ])
            .args([&path, &core])
            .output()
            .expect("gdb runs");
        let said = String::from_utf8_lossy(&gdb.stdout).into_owned();
        let signal = if command == "abort" { SIGABRT } else { SIGSEGV };
        assert!(said.contains(&format!("$1 = {signal}\n")), "{command}: {said}");
        assert!(said.contains(function) && !said.contains("signal handler called"), "{command}: {said}");
        std::fs::remove_file(core).expect("the core file");
    }
}
