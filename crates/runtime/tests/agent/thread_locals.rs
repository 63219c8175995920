//! The reserve for thread-locals that patches bring (`threads.c`).

use crate::support::{Program, agent, ask_without_agent, compile, program};
use livepatch_proto::{ApplyError, Patch, TlsInit};
use std::process::Command;
use std::time::Duration;

/// A program whose thread-locals can be read.
fn start() -> Option<Program> {
    start_with(|_| {})
}

fn start_with(more: impl FnOnce(&mut Command)) -> Option<Program> {
    let mut program = Program::start_with(&program("threads", &[])?, more)?;
    let reserve = program.server.hello.tls_reserve.expect("the agent was preloaded");
    let base = reserve.tp_offset.to_string();
    assert_eq!(program.ask(&format!("base {base}")), base);
    Some(program)
}

fn value(patch: &mut Patch, offset: u32, value: u64) {
    patch.tls.push(TlsInit { offset, bytes: value.to_le_bytes().to_vec() });
}

#[test]
fn the_reserve_is_zero_and_values_arrive_where_they_should() {
    let Some(mut program) = start() else { return };
    let size = program.server.hello.tls_reserve.map_or(0, |reserve| reserve.size);
    for offset in (0..size).step_by(8) {
        assert_eq!(program.ask(&format!("main_reads {offset}")), "0");
    }
    let mut patch = program.server.patch(1);
    value(&mut patch, 64, 4242);
    value(&mut patch, size - 8, 77);
    patch.tls.push(TlsInit { offset: 84, bytes: vec![1, 2, 3] });
    program.server.apply(patch).expect("the patch applies");
    for command in ["main_reads", "new_reads"] {
        let mut read = |offset: u32| program.ask(&format!("{command} {offset}"));
        assert_eq!((read(64), read(size - 8)), ("4242".to_owned(), "77".to_owned()));
        assert_eq!(read(80), (0x0003_0201_u64 << 32).to_string());
        assert_eq!((read(56), read(72), read(88)), ("0".to_owned(), "0".to_owned(), "0".to_owned()));
    }

    // What is wrong is noticed before anything is written.
    let mut patch = program.server.patch(2);
    value(&mut patch, 64, 1);
    patch.tls.push(TlsInit { offset: u32::MAX, bytes: vec![1] });
    let error = program.server.apply(patch).expect_err("outside the reserve");
    assert!(matches!(error, ApplyError::Invalid { .. }), "{error}");
    assert_eq!(program.ask("main_reads 64"), "4242");
    assert_eq!(program.ask("new_reads 64"), "4242");
    assert!(program.finish().success());
}

/// The main thread, three to be joined, a detached one, one of C11, one with the smallest stack.
#[test]
fn threads_that_run_have_the_values_at_once() {
    let Some(mut program) = start() else { return };
    assert_eq!(program.ask("workers"), "0");
    assert_eq!(program.ask("all_read 64"), "0 0 0 0 0 0 0");
    let mut patch = program.server.patch(1);
    value(&mut patch, 64, 5);
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask("all_read 64"), "5 5 5 5 5 5 5");
    assert_eq!(program.ask("new_reads 64"), "5");
    assert_eq!(program.ask("end_workers"), "good");
    assert!(program.finish().success());
}

#[test]
fn a_thread_that_is_not_known_is_noticed_and_nothing_stays() {
    let Some(mut program) = start() else { return };
    assert_eq!(program.ask("workers"), "0");
    let mut patch = program.server.patch(1);
    value(&mut patch, 64, 5);
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask("stranger"), "0");
    let mut patch = program.server.patch(2);
    value(&mut patch, 64, 6);
    value(&mut patch, 72, 7);
    let error = program.server.apply(patch.clone()).expect_err("a thread is not known");
    let ApplyError::Invalid { detail } = &error else { panic!("{error}") };
    assert!(detail.starts_with("a thread that the agent does not know ("), "{error}");
    assert_eq!(program.ask("all_read 64"), "5 5 5 5 5 5 5");
    assert_eq!(program.ask("all_read 72"), "0 0 0 0 0 0 0");
    assert_eq!((program.ask("new_reads 64"), program.ask("new_reads 72")), ("5".to_owned(), "0".to_owned()));

    // A patch without values, or with zeros only, is none of its business.
    let mut zeros = program.server.patch(2);
    value(&mut zeros, 80, 0);
    program.server.apply(zeros).expect("the patch applies");
    patch.number = 3;
    patch.predecessor = 2;
    program.server.apply(patch.clone()).expect_err("it is still there");
    assert_eq!(program.ask("end_stranger"), "0");
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask("all_read 72"), "7 7 7 7 7 7 7");
    assert_eq!(program.ask("end_workers"), "good");
    assert!(program.finish().success());
}

/// Threads that end by a system call of their own take their stacks along without a word.
#[test]
fn threads_that_vanish_are_not_written_to() {
    let Some(mut program) = start() else { return };
    for number in 1..=5 {
        assert_eq!(program.ask("vanish"), "vanished");
        let mut patch = program.server.patch(number);
        value(&mut patch, 64, number.into());
        program.server.apply(patch).expect("the patch applies");
        assert_eq!(program.ask("main_reads 64"), number.to_string());
    }
    assert!(program.finish().success());
}

/// A thread is known until its destructors have had three rounds of four; in the last it is a stranger.
#[test]
fn threads_in_their_destructors_have_the_values() {
    let Some(mut program) = start() else { return };
    for round in 1..=4 {
        assert_eq!(program.ask(&format!("linger {round}")), "lingering");
        let mut patch = program.server.patch(round);
        value(&mut patch, 8 * round, round.into());
        let applied = program.server.apply(patch);
        let seen = program.ask(&format!("linger_reads {}", 8 * round));
        assert_eq!(
            (applied.is_ok(), seen),
            if round < 4 { (true, round.to_string()) } else { (false, "0".into()) }
        );
    }
    assert!(program.finish().success());
}

/// A child's values are its own, and it knows its threads: also where a thread forked that is not known.
#[test]
fn a_child_has_values_of_its_own() {
    let Some(mut program) = start() else { return };
    assert_eq!(program.ask("workers"), "0");
    for command in ["fork_reads 64", "stranger_forks 64"] {
        let child = program.ask(command);
        let mut forked = program.accept(Duration::from_secs(5)).expect("the child dials");
        assert_eq!(forked.hello.pid.to_string(), child);
        let mut patch = forked.patch(1);
        value(&mut patch, 64, 9);
        forked.apply(patch).expect("the patch applies");
        assert_eq!(program.line(), "9 9");
        forked.hang_up();
    }
    assert_eq!(program.ask("all_read 64"), "0 0 0 0 0 0 0");
    let mut patch = program.server.patch(1);
    value(&mut patch, 64, 5);
    program.server.apply(patch).expect("the stranger ended");
    assert_eq!(program.ask("all_read 64"), "5 5 5 5 5 5 5");
    assert_eq!(program.ask("end_workers"), "good");
    assert!(program.finish().success());
}

/// Threads are made, cancelled, detached and joined, with large and smallest stacks, by four threads, and
/// forked, while 200 patches bring values. Each looks at all values, in its last destructors too.
#[test]
fn a_storm_of_threads() {
    let Some(mut program) = start() else { return };
    assert_eq!(program.ask("storm"), "blowing");
    for number in 1..=200 {
        let mut patch = program.server.patch(number);
        value(&mut patch, 8 * number, u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        program.server.apply(patch).expect("the patch applies");
        program.ask(&format!("acknowledge {number}"));
    }
    let calm = program.ask("calm");
    println!("{calm}");
    assert!(calm.ends_with(" 0 wrong 0 bad"), "{calm}");
    assert!(program.finish().success());
}

#[test]
fn what_pthread_create_says_is_unchanged() {
    let Some(mut with) = start() else { return };
    let path = program("threads", &[]).expect("compiled above");
    let said = with.ask("attributes");
    assert_eq!(said, ask_without_agent(&path, "attributes"));
    assert!(said.starts_with("0 300 ") && said.ends_with(&format!(" 0 0 {}", (5 << 16) + 1)), "{said}");
    assert!(with.finish().success());
}

#[test]
fn the_main_thread_may_end_first() {
    let Some(mut program) = start() else { return };
    assert_eq!(program.ask("leave_main 7"), "leaving");
    std::thread::sleep(Duration::from_millis(50));
    let mut patch = program.server.patch(1);
    value(&mut patch, 64, 5);
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.wait().code(), Some(7));
}

/// Another preloaded library may make threads before the agent's constructor: they work, and those that
/// stay are strangers.
#[test]
fn threads_may_be_older_than_the_agent() {
    let library = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("starts_early.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/starts_early.c");
    if compile(Command::new("gcc").args(["-shared", "-fPIC", "-pthread", source, "-o"]).arg(&library))
        .is_none()
    {
        return;
    }
    let known = [[agent(), &library], [&library, agent()]].map(|preload| {
        let preload = preload.map(|path| path.display().to_string()).join(":");
        let mut program = start_with(|command| {
            command.env("LD_PRELOAD", preload);
        })?;
        let mut patch = program.server.patch(1);
        value(&mut patch, 64, 5);
        let applied = program.server.apply(patch);
        assert_eq!(program.ask("main_reads 64"), if applied.is_ok() { "5" } else { "0" });
        assert!(program.finish().success());
        Some(applied.is_ok())
    });
    assert!(
        known == [None, None] || known.contains(&Some(false)) && known.contains(&Some(true)),
        "{known:?}"
    );
}
