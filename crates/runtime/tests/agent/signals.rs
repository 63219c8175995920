//! The program's own use of SIGTRAP and SIGILL is as it was.

use crate::plan::{PUSH_MOV, Plan, Symbols, THREE};
use crate::support::Program;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SI_TKILL: i32 = -6;
const SI_KERNEL: i32 = 0x80;

fn patched() -> Option<Program> {
    let mut program = Program::start()?;
    patch(&mut program);
    Some(program)
}

/// Redirects a function through a trap at its entry, and one through a jump.
fn patch(program: &mut Program) {
    let symbols = Symbols::of(program);
    let mut patch = program.server.patch(1);
    for shape in [THREE, PUSH_MOV] {
        let plan = Plan::new(shape, &symbols, &program.server, 1, 64);
        patch.island_pages.extend_from_slice(&plan.pages);
        plan.add(&mut patch, 0..1, symbols.address("body2"));
    }
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask("call 0 three"), "2005");
}

#[test]
fn the_programs_own_handler_runs_before_and_after_a_patch() {
    let Some(mut program) = Program::start() else { return };
    assert_eq!(program.ask(&format!("install {SIGTRAP}")), "default mine");
    let raised = |program: &mut Program| {
        assert_eq!(program.ask(&format!("raise {SIGTRAP}")), format!("{SIGTRAP} {SI_TKILL}"));
        assert_eq!(program.ask("breakpoint"), format!("{SIGTRAP} {SI_KERNEL}"));
    };
    raised(&mut program);
    patch(&mut program);
    raised(&mut program);
    assert_eq!(program.ask("call 0 three"), "2005");
    assert_eq!(program.ask(&format!("install_plain {SIGTRAP}")), "handler mine");
    raised_plain(&mut program);
    assert_eq!(program.ask("call 0 three"), "2005");
    assert!(program.finish().success());
}

fn raised_plain(program: &mut Program) {
    let answer = program.ask(&format!("raise {SIGTRAP}"));
    assert!(answer.starts_with(&format!("{SIGTRAP} ")), "{answer}");
}

/// Tells the program to do something that ends it.
fn dies(mut program: Program, command: &str) -> ExitStatus {
    program.tell(command);
    program.wait()
}

#[test]
fn foreign_traps_end_the_program_as_ever() {
    for patched_before in [false, true] {
        let start = || if patched_before { patched() } else { Program::start() };
        for (command, signal) in
            [("raise 5", SIGTRAP), ("breakpoint", SIGTRAP), ("raise 4", SIGILL), ("illegal", SIGILL)]
        {
            let Some(program) = start() else { return };
            assert_eq!(dies(program, command).signal(), Some(signal), "{command}");
        }
    }
}

#[test]
fn a_handler_for_once_runs_once() {
    let Some(mut program) = patched() else { return };
    assert_eq!(program.ask(&format!("install_once {SIGTRAP}")), "0");
    assert_eq!(program.ask("breakpoint"), format!("{SIGTRAP} {SI_KERNEL}"));
    assert_eq!(program.ask("call 0 three"), "2005");
    assert_eq!(dies(program, "breakpoint").signal(), Some(SIGTRAP));
}

#[test]
fn an_ignored_trap_is_ignored_only_when_sent() {
    let Some(mut program) = patched() else { return };
    assert_eq!(program.ask(&format!("ignore {SIGTRAP}")), "ignored");
    assert_eq!(program.ask(&format!("raise {SIGTRAP}")), "0 0");
    assert_eq!(program.ask("call 0 three"), "2005");
    assert_eq!(dies(program, "breakpoint").signal(), Some(SIGTRAP));
}

#[test]
fn a_program_that_blocks_everything_does_not_block_traps() {
    for command in ["block 0", "block 1"] {
        let Some(mut program) = patched() else { return };
        assert_eq!(program.ask(command), "0 0 1");
        assert_eq!(program.ask("call 0 three"), "2005");
        assert!(program.finish().success());
    }
}

/// A handler installed by a system call of the program's own replaces the agent's until the next patch
/// that needs it.
#[test]
fn a_replaced_handler_becomes_the_second() {
    let Some(mut program) = Program::start() else { return };
    assert_eq!(program.ask(&format!("install_raw {SIGTRAP}")), "0");
    patch(&mut program);
    raised_plain(&mut program);
    assert_eq!(program.ask("call 0 three"), "2005");
    assert!(program.finish().success());
}

/// Other signals are none of the agent's business.
#[test]
fn other_signals_pass() {
    let Some(mut program) = patched() else { return };
    const SIGUSR1: i32 = 10;
    assert_eq!(program.ask(&format!("install {SIGUSR1}")), "default mine");
    assert_eq!(program.ask(&format!("raise {SIGUSR1}")), format!("{SIGUSR1} {SI_TKILL}"));
    assert!(program.finish().success());
}

/// Signal masks are inherited: the program may be started with traps blocked.
#[test]
fn an_inherited_mask_does_not_block_traps() {
    use std::os::unix::process::CommandExt as _;
    let Some(victim) = crate::support::victim(&[]) else { return };
    let program = Program::start_with(&victim, |command| {
        // SAFETY: the closure only makes async-signal-safe calls on a set of its own.
        unsafe {
            command.pre_exec(|| {
                let mut set = std::mem::zeroed();
                libc::sigfillset(&raw mut set);
                libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
                Ok(())
            });
        }
    });
    let mut program = program.expect("compiled above");
    patch(&mut program);
    assert!(program.finish().success());
}
