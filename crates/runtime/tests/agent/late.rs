//! The agent comes into a program that runs already, and meets one server after another.

use crate::plan::{FIVE, PUSH_MOV, Plan, SLOW_STRADDLE, Symbols, hex};
use crate::support::{Program, agent, ask_without_agent, program, victim};
use livepatch_proto::attach::{BUSY, INVALID};
use livepatch_proto::{
    ApplyError, FromProcess, Origin, Patch, Redirected, Redirection, SlotSet, TlsInit, ToProcess, WireAddress,
};
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

const SIGTRAP: i32 = 5;
const SI_KERNEL: i32 = 0x80;

fn late() -> Option<Program> {
    Program::start_late(&victim(&[])?, |_| {})
}

fn with_plan(program: &Program, plan: &Plan, number: u32, target: u64) -> Patch {
    let mut patch = program.server.patch(number);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, target);
    patch
}

fn redirections(program: &mut Program) -> Vec<Redirected> {
    match program.server.ask(&ToProcess::Redirections) {
        FromProcess::Redirections { functions, .. } => functions,
        other => panic!("{other:?}"),
    }
}

/// Ends the conversation, and waits until the agent has.
fn leave(program: &mut Program) {
    program.server.tell(&ToProcess::Goodbye);
    assert!(program.server.is_over());
}

fn attach_when_it_can(program: &mut Program) {
    // The agent's thread may be on its way out.
    let begun = Instant::now();
    while program.ask("attach") == BUSY.to_string() {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    program.server = program.accept(Duration::from_secs(10)).expect("the agent dials");
}

#[test]
fn a_program_that_runs_is_patched_while_threads_call() {
    let Some(victim) = victim(&[]) else { return };
    let Some(mut program) = Program::start_late(&victim, |program| {
        program.tell("hot 0 slow_straddle");
        assert_eq!(program.line(), "hot");
        program.tell("start 4");
        assert_eq!(program.line(), "started");
    }) else {
        return;
    };
    let hello = &program.server.hello;
    assert_eq!((&hello.redirection, hello.tls_reserve), (&Redirection::Unguarded, None));
    assert_eq!((hello.origin, hello.current, hello.pid), (Origin::Started, 0, program.child.id()));
    let symbols = Symbols::of(&mut program);
    // In stages, with a trap at every boundary.
    let plan = Plan::new(SLOW_STRADDLE, &symbols, &program.server, 1, 64);
    let patch = with_plan(&program, &plan, 1, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask("call 0 slow_straddle"), "2005");
    let counts = program.ask("finish");
    assert!(counts.ends_with(" 0 wrong") && !counts.starts_with("0 "), "{counts}");
    assert!(program.finish().success());
}

/// Nothing keeps such a program from blocking traps, so the agent looks before it needs some.
#[test]
fn a_thread_that_blocks_traps_is_waited_for_and_named() {
    let Some(mut program) = late() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let patch = with_plan(&program, &plan, 1, symbols.address("body2"));
    assert_eq!(program.ask("block 0"), "1 1 1");
    let error = program.server.apply(patch.clone()).expect_err("the program's thread blocks traps");
    assert_eq!(error, ApplyError::TrapsBlocked { thread: program.child.id() });
    assert_eq!(program.ask("call 0 push_mov"), "1005");
    // What needs no trap needs no look.
    let plan = Plan::new(FIVE, &symbols, &program.server, 1, 64);
    let trapless = with_plan(&program, &plan, 1, symbols.address("body2"));
    program.server.apply(trapless).expect("no boundary is in the way");
    assert_eq!(program.ask("call 0 five"), "2005");
    assert_eq!(program.ask("unblock"), "unblocked");
    let mut patch = patch;
    (patch.number, patch.predecessor) = (2, 1);
    program.server.apply(patch).expect("nothing blocks them now");
    assert_eq!(program.ask("call 0 push_mov"), "2005");
    assert!(program.finish().success());
}

#[test]
fn traps_of_the_program_are_its_own() {
    let Some(victim) = victim(&[]) else { return };
    let Some(mut program) = Program::start_late(&victim, |program| {
        program.tell(&format!("install {SIGTRAP}"));
        assert_eq!(program.line(), "default mine");
    }) else {
        return;
    };
    assert_eq!(program.ask("breakpoint"), format!("{SIGTRAP} {SI_KERNEL}"));
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let patch = with_plan(&program, &plan, 1, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask("breakpoint"), format!("{SIGTRAP} {SI_KERNEL}"));
    assert_eq!(program.ask("call 0 push_mov"), "2005");
    // It replaces the agent's handler, which is there again when it is needed.
    assert_eq!(program.ask(&format!("install_plain {SIGTRAP}")), "other mine");
    let plan = Plan::new(SLOW_STRADDLE, &symbols, &program.server, 1, 64);
    let patch = with_plan(&program, &plan, 2, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");
    assert!(program.server.log.iter().any(|line| line.contains("replaced the trap handlers")));
    assert!(program.ask("breakpoint").starts_with(&format!("{SIGTRAP} ")));
    assert!(program.finish().success());
}

#[test]
fn new_thread_locals_have_no_place_in_it() {
    let Some(mut program) = late() else { return };
    let mut patch = program.server.patch(1);
    patch.tls.push(TlsInit { offset: 0, bytes: vec![1; 8] });
    let error = program.server.apply(patch).expect_err("there is no reserve");
    assert!(error.to_string().contains("ran already"), "{error}");
    assert!(program.finish().success());
}

#[test]
fn children_of_it_dial_as_ever() {
    let Some(mut program) = late() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let patch = with_plan(&program, &plan, 1, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");
    let child: u32 = program.ask("fork 400 push_mov").parse().expect("a process id");
    let forked = program.accept(Duration::from_secs(5)).expect("the child dials");
    let parent = program.child.id();
    assert_eq!((forked.hello.pid, forked.hello.origin), (child, Origin::Forked { parent }));
    assert_eq!((forked.hello.current, &forked.hello.redirection), (1, &Redirection::Unguarded));
    assert_eq!(program.line(), format!("{child} 2005"));
    assert_eq!(program.ask("reap"), "0");
    assert!(program.finish().success());
}

#[test]
fn one_server_at_a_time() {
    let Some(mut program) = late() else { return };
    assert_eq!(program.ask("attach"), BUSY.to_string());
    assert_eq!(program.ask("attach 1"), INVALID.to_string());
    leave(&mut program);
    assert_eq!(program.ask("attach 1"), INVALID.to_string());
    attach_when_it_can(&mut program);
    assert!(program.finish().success());
}

/// A preloaded agent whose server went away meets the next one, late or not.
#[test]
fn the_next_server_is_told_what_earlier_ones_did() {
    let Some(victim) = victim(&[]) else { return };
    let preloaded = || {
        let program = Program::start_with(&victim, |command| {
            command.env("LATE_AGENT", agent());
        });
        let mut program = program.expect("compiled above");
        // The test finds the entry as anybody would.
        assert_eq!(program.ask("load"), "loaded");
        program
    };
    for mut program in [preloaded(), late().expect("compiled above")] {
        let guarded = program.server.hello.redirection == Redirection::Entry;
        assert_eq!(redirections(&mut program), []);
        let symbols = Symbols::of(&mut program);
        let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
        let body = symbols.address("body2");
        let mut patch = with_plan(&program, &plan, 1, body);
        // Its island jumps past the slot, so that setting the slot alone would change nothing.
        patch.island_writes = vec![plan.direct_island_write(0, plan.stub(0))];
        patch.slots = vec![plan.set_jump(0, body, body)];
        let through_slot = plan.set_jump(0, body, plan.stub(0)).jump;
        patch.redirects[0].jump = through_slot;
        if guarded {
            patch.tls.push(TlsInit { offset: 16, bytes: vec![7; 16] });
        }
        program.server.apply(patch).expect("the patch applies");
        let before = program.server.hello.clone();
        // The server is killed: no goodbye.
        program.server.hang_up();
        assert_eq!(program.ask("call 0 push_mov"), "2005");
        attach_when_it_can(&mut program);
        let hello = &program.server.hello;
        assert_eq!((hello.current, &hello.redirection), (1, &before.redirection));
        assert_eq!(hello.tls_reserve.map(|reserve| reserve.size), before.tls_reserve.map(|r| r.size - 32));
        if let (Some(now), Some(then)) = (hello.tls_reserve, before.tls_reserve) {
            assert_eq!(now.tp_offset, then.tp_offset + 32);
        }
        let original = WireAddress(plan.original(0));
        let entry = WireAddress(plan.entry);
        let known = Redirected { entry, slot: plan.slot(0), original, jump: through_slot };
        assert_eq!(redirections(&mut program), [known]);
        let set = |target| SlotSet { slot: known.slot, target, jump: known.jump };
        let slots = vec![set(known.original)];
        program.server.roll_back(1, 0, slots).expect("the slot is known");
        assert_eq!(program.ask("call 0 push_mov"), "1005");
        // The first patch of another session: the entry is redirected already.
        let mut patch = program.server.patch(1);
        patch.slots.push(set(WireAddress(symbols.address("body3"))));
        if guarded {
            patch.tls.push(TlsInit { offset: 0, bytes: vec![9; 8] });
        }
        program.server.apply(patch).expect("the patch applies");
        assert_eq!(program.ask("call 0 push_mov"), "3005");
        if let Some(reserve) = program.server.hello.tls_reserve {
            // The new value is behind the old one, which stays for code that saw it.
            let value = |byte: u8| i64::from_le_bytes([byte; 8]).to_string();
            assert_eq!(program.ask(&format!("tls {}", reserve.tp_offset)), value(9));
            assert_eq!(program.ask(&format!("tls {}", reserve.tp_offset - 16)), value(7));
        }
        assert!(program.finish().success());
    }
}

#[test]
fn crashes_of_it_are_told() {
    let Some(path) = program("crashes", &[]) else { return };
    // With std's way of handling faults, and with none.
    for before in ["again 11", "query 11"] {
        let late = Program::start_late(&path, |program| {
            program.tell(before);
            assert!(program.line().starts_with("default"));
        });
        let mut program = late.expect("compiled above");
        let at = hex(program.ask("addresses").split(' ').next().expect("an address"));
        program.tell("fault");
        let crash = program.accept_crash(|_| ()).expect("it is told");
        assert_eq!((crash.signal, crash.pc.0), (11, at), "{before}");
        assert_eq!(program.wait().signal(), Some(11));
    }
    let mut program = Program::start_late(&path, |_| {}).expect("compiled above");
    program.tell("abort");
    assert_eq!(program.accept_crash(|_| ()).expect("it is told").signal, 6);
    assert_eq!(program.wait().signal(), Some(6));
}

/// What runs in the program's own handlers goes on as without the agent.
#[test]
fn its_handlers_of_faults_run_as_ever() {
    let Some(path) = program("crashes", &[]) else { return };
    let before = "signal_return 11";
    let questions = ["recover", "recover", "note 0", "note 134217728", "signal_return 11", "recover"];
    let without = ask_without_agent(&path, &format!("{before}\n{}", questions.join("\n")));
    let late = Program::start_late(&path, |program| {
        program.tell(before);
        assert_eq!(program.line(), "default");
    });
    let mut program = late.expect("compiled above");
    let with: Vec<String> = questions.iter().map(|question| program.ask(question)).collect();
    assert_eq!(format!("default\n{}", with.join("\n")), without);
    assert!(program.finish().success());
}
