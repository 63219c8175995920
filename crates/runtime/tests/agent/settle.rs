//! Functions that loop to their first instruction: a thread in such a loop is no caller.

use crate::plan::{LOOP8, LOOP8_STRADDLE, LOOP32, Plan, REST, Shape, Symbols, TIGHT8, TIGHT32};
use crate::support::Program;
use livepatch_proto::{FromProcess, Origin, Patch, ToProcess};
use std::time::Duration;

const COPIES: u64 = 100;

/// Redirects every copy of a function for the first time while eight threads loop in just that copy.
/// How often a loop went on in a new body.
fn wrong_calls(shape: Shape, settle: bool, nap: bool) -> Option<u64> {
    let mut program = Program::start()?;
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(shape, &symbols, &program.server, COPIES, 64);
    let bodies = [symbols.address("loop2"), symbols.address("loop3")];

    let mut pages = program.server.patch(1);
    pages.island_pages.clone_from(&plan.pages);
    program.server.apply(pages).expect("the islands' pages are free");
    program.ask(&format!("hot 0 {}", shape.name));
    program.ask("start_loops 8");
    let mut took = Vec::new();
    for copy in 0..COPIES {
        program.ask(&format!("hot {copy} {}", shape.name));
        std::thread::sleep(Duration::from_micros(500));
        if nap {
            // Loops are interrupted by a signal whose handler sleeps.
            program.ask("nap");
        }
        let mut patch = program.server.patch(copy as u32 + 2);
        plan.add(&mut patch, copy..copy + 1, bodies[copy as usize % 2]);
        if settle {
            plan.settle(&mut patch, copy..copy + 1);
        }
        took.push(program.server.apply(patch).expect("the patch applies").redirect / 1000);
    }
    let calls = program.ask("finish");
    took.sort_unstable();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{}, settle {settle}: {calls}; redirect median {median} µs, worst {worst} µs", shape.name);
    assert_eq!(program.ask(&format!("call 0 {}", shape.name)), "2005");
    assert_eq!(program.ask(&format!("call {} {}", COPIES - 1, shape.name)), "3005");
    assert_eq!(program.server.log, Vec::<String>::new());
    assert!(program.finish().success());
    calls.split(' ').nth(2).map(|wrong| wrong.parse().expect("a number"))
}

fn no_loop_goes_on_in_a_new_body(shape: Shape) {
    assert!(matches!(wrong_calls(shape, true, false), None | Some(0)));
}

#[test]
fn a_short_branch() {
    no_loop_goes_on_in_a_new_body(LOOP8);
}

#[test]
fn a_short_branch_behind_an_entry_across_words() {
    no_loop_goes_on_in_a_new_body(LOOP8_STRADDLE);
}

#[test]
fn a_near_branch() {
    no_loop_goes_on_in_a_new_body(LOOP32);
}

#[test]
fn a_short_branch_inside_the_jump() {
    no_loop_goes_on_in_a_new_body(TIGHT8);
}

#[test]
fn a_near_branch_inside_the_jump() {
    no_loop_goes_on_in_a_new_body(TIGHT32);
}

#[test]
fn loops_that_a_signal_interrupted() {
    assert!(matches!(wrong_calls(TIGHT8, true, true), None | Some(0)));
}

/// What the tests above would see if threads were not waited for: of a loop's instructions, processors are
/// interrupted at some more than at others (those of AMD hardly ever at the `pause` of the longer loops), so that it
/// depends on the machine which shapes show it, and how soon.
#[test]
fn without_settling_loops_go_on_in_a_new_body() {
    const ROUNDS: usize = 5;
    let shapes = [LOOP8, LOOP32, TIGHT8, TIGHT32];
    let wrong = (0..ROUNDS).flat_map(|_| shapes).map(|shape| wrong_calls(shape, false, false));
    // None: this machine has no such program.
    assert!(wrong.into_iter().any(|wrong| wrong != Some(0)), "a loop that is not waited for looks safe");
}

/// A program with a thread that stands at an entry for so long, and the patch of that function.
fn resting(milliseconds: u32, settle: bool) -> Option<(Program, Patch)> {
    let mut program = Program::start()?;
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(REST, &symbols, &program.server, 1, 64);
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, symbols.address("body2"));
    if settle {
        plan.settle(&mut patch, 0..1);
    }
    assert_eq!(program.ask(&format!("go_to_rest {milliseconds}")), "resting");
    Some((program, patch))
}

#[test]
fn a_thread_at_the_entry_goes_on_in_the_old_body() {
    for (settle, result) in [(false, "2000"), (true, "1000")] {
        let Some((mut program, patch)) = resting(300, settle) else { return };
        let times = program.server.apply(patch).expect("the patch applies");
        assert_eq!(times.redirect > 100_000_000, settle, "{times:?}");
        assert_eq!(program.ask("call 0 rest"), "2005");
        assert_eq!(program.ask("wake_up"), result);
        assert_eq!(program.server.log, Vec::<String>::new());
        assert!(program.finish().success());
    }
}

#[test]
fn a_thread_that_stays_there_is_named() {
    let Some((mut program, patch)) = resting(6000, true) else { return };
    let times = program.server.apply(patch).expect("the patch applies");
    assert!((2_000_000_000..4_000_000_000).contains(&times.redirect), "{times:?}");
    assert_eq!(program.ask("call 0 rest"), "2005");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", program.child.id())).expect("it runs");
    let [text] = &program.server.log[..] else { panic!("{:?}", program.server.log) };
    let named = |task: std::fs::DirEntry| {
        text.starts_with(&format!("thread {:?} ", task.file_name()).replace('"', ""))
    };
    assert!(tasks.flatten().any(named), "{text}");
}

/// While threads run on, everything does what it did; a child that is forked then is at the new patch.
#[test]
fn a_fork_while_a_patch_settles() {
    let Some((mut program, patch)) = resting(1500, true) else { return };
    program.server.tell(&ToProcess::Apply { patch });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(program.ask("call 0 rest"), "1005");
    let child = program.ask("fork 600 rest");
    assert_eq!(program.ask("call 0 rest"), "1005");
    let forked = program.accept(Duration::from_secs(5)).expect("the child dials");
    assert_eq!(forked.hello.origin, Origin::Forked { parent: program.child.id() });
    assert_eq!(forked.hello.current, 1);
    assert_eq!(program.line(), format!("{child} 2005"));
    assert!(matches!(program.server.answer(), FromProcess::Applied { patch: 1, .. }));
    assert_eq!(program.ask("call 0 rest"), "2005");
    assert_eq!(program.ask("wake_up"), "1000");
    assert_eq!(program.ask("reap"), "0");
    assert!(program.finish().success());
}
