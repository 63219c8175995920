//! Children: forked ones dial for themselves, those that run another program never do.

use crate::plan::{PUSH_MOV, Plan, Symbols};
use crate::support::{Folder, Program, agent, compile, victim};
use livepatch_proto::Origin;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_forked_child_is_patched_by_itself() {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");

    let child: u32 = program.ask("fork 400 push_mov").parse().expect("a process id");
    let mut forked = program.accept(Duration::from_secs(5)).expect("the child dials");
    let parent = program.child.id();
    assert_eq!((forked.hello.pid, forked.hello.origin), (child, Origin::Forked { parent }));
    assert_eq!(forked.hello.current, 1);
    assert_eq!(forked.hello.aslr_reference, program.server.hello.aslr_reference);
    // The child's islands are those of its parent; its slots are its own.
    let mut patch = forked.patch(2);
    patch.slots.push(plan.set(0, symbols.address("body3")));
    forked.apply(patch).expect("the patch applies");
    assert_eq!(program.line(), format!("{child} 3005"));
    assert_eq!(program.ask("reap"), "0");
    assert_eq!(program.ask("call 0 push_mov"), "2005");
    assert!(program.finish().success());
}

#[test]
fn a_child_that_runs_another_program_does_not_dial() {
    let Some(mut program) = Program::start() else { return };
    assert_eq!(program.ask("fork_exec"), "0");
    assert!(program.accept(Duration::from_millis(50)).is_none());
    assert!(program.finish().success());
}

/// Every child finds the patch whole, however the fork fell, and ends well.
#[test]
fn forks_while_patching() {
    let Some(program) = Program::start() else { return };
    fork_while_patching(program);
}

/// The same in a program whose allocator holds its own lock around a fork.
#[test]
fn forks_while_patching_with_another_allocator() {
    let Some(program) = victim(&[]) else { return };
    let folder = Folder::new();
    let allocator = folder.0.join("allocator.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/allocator.c");
    let mut gcc = Command::new("gcc");
    if compile(gcc.args(["-shared", "-fPIC", "-O1", "-pthread", source, "-o"]).arg(&allocator)).is_none() {
        return;
    }
    for preload in [[agent(), &allocator], [&allocator, agent()]] {
        let preload = preload.map(|path| path.display().to_string()).join(":");
        let program = Program::start_with(&program, |command| {
            command.env("LD_PRELOAD", preload);
        });
        fork_while_patching(program.expect("compiled above"));
    }
}

fn fork_while_patching(mut program: Program) {
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 512, 64);
    program.tell("forks 300 push_mov");
    for number in 1..=512 {
        let mut patch = program.server.patch(number);
        if number == 1 {
            patch.island_pages.clone_from(&plan.pages);
        }
        plan.add(&mut patch, u64::from(number) - 1..u64::from(number), symbols.address("body2"));
        program.server.apply(patch).expect("the patch applies");
    }
    assert_eq!(program.line(), "0");
    assert!(program.finish().success());
}
