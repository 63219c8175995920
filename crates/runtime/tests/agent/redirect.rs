//! Functions are redirected while threads call them.

use crate::plan::{
    FIVE, PUSH_MOV, PUSHES, Plan, SLOW, SLOW_STRADDLE, STRADDLE, SUB_RSP, Shape, Symbols, THREE,
};
use crate::support::{Program, victim};
use std::time::Duration;

const COPIES: u64 = 300;
const STRIDE: u64 = 64;

/// Redirects every copy of a function for the first time while eight threads call just that copy.
fn first_writes(shape: Shape) {
    let Some(program) = Program::start() else { return };
    first_writes_in(program, shape, COPIES);
}

fn first_writes_in(mut program: Program, shape: Shape, copies: u64) {
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(shape, &symbols, &program.server, copies, STRIDE);
    let bodies = [symbols.address("body2"), symbols.address("body3")];

    let mut pages = program.server.patch(1);
    pages.island_pages.clone_from(&plan.pages);
    program.server.apply(pages).expect("the islands' pages are free");
    program.ask(&format!("hot 0 {}", shape.name));
    program.ask("start 8");
    let mut took = Vec::new();
    for copy in 0..copies {
        program.ask(&format!("hot {copy} {}", shape.name));
        // All threads come to this copy, and are caught anywhere in it: the program counter that they
        // go on with is in a signal's frame while the code changes.
        std::thread::sleep(Duration::from_micros(500));
        program.ask("nap");
        let mut patch = program.server.patch(copy as u32 + 2);
        plan.add(&mut patch, copy..copy + 1, bodies[copy as usize % 2]);
        took.push(program.server.apply(patch).expect("the patch applies").redirect);
    }
    let calls = program.ask("finish");
    took.sort_unstable();
    println!(
        "{}: {calls}; redirect median {} ns, worst {} ns",
        shape.name,
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(calls.ends_with(" 0 wrong"), "{calls}");
    assert_eq!(program.ask(&format!("call 0 {}", shape.name)), "2005");
    assert_eq!(program.ask(&format!("call {} {}", copies - 1, shape.name)), "3005");
    assert!(program.finish().success());
}

#[test]
fn first_writes_push_mov() {
    first_writes(PUSH_MOV);
}

#[test]
fn first_writes_sub_rsp() {
    first_writes(SUB_RSP);
}

#[test]
fn first_writes_five() {
    first_writes(FIVE);
}

#[test]
fn first_writes_pushes() {
    first_writes(PUSHES);
}

#[test]
fn first_writes_straddling_a_word() {
    first_writes(STRADDLE);
}

/// Without the trap table, these two end the program at once.
#[test]
fn first_writes_under_threads_at_its_boundaries() {
    first_writes(SLOW);
}

#[test]
fn first_writes_straddling_under_threads_at_its_boundaries() {
    first_writes(SLOW_STRADDLE);
}

#[test]
fn first_writes_shorter_than_a_jump() {
    first_writes(THREE);
}

/// Points one function back and forth between two bodies and the original, while threads call it.
fn alternate(shape: Shape, times: u32) {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(shape, &symbols, &program.server, 1, STRIDE);
    let targets = [symbols.address("body2"), symbols.address("body3"), plan.original(0)];
    program.ask(&format!("hot 0 {}", shape.name));
    program.ask("start 8");
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, targets[0]);
    program.server.apply(patch).expect("the patch applies");
    for number in 2..=times {
        let mut patch = program.server.patch(number);
        patch.slots.push(plan.set(0, targets[number as usize % 3]));
        program.server.apply(patch).expect("the patch applies");
    }
    let calls = program.ask("finish");
    println!("{}: {calls}", shape.name);
    assert!(calls.ends_with(" 0 wrong"), "{calls}");
    let expected = [2005, 3005, 1005][times as usize % 3];
    assert_eq!(program.ask(&format!("call 0 {}", shape.name)), expected.to_string());
    // Back to the base build.
    program.server.roll_back(times, 0, vec![plan.set(0, plan.original(0))]).expect("rolls back");
    assert_eq!(program.ask(&format!("call 0 {}", shape.name)), "1005");
    assert!(program.finish().success());
}

#[test]
fn slots_alternate() {
    alternate(PUSH_MOV, 12_000);
}

#[test]
fn slots_alternate_behind_an_entry_across_words() {
    alternate(STRADDLE, 1000);
}

/// The same past the slot: threads run the island's jump while its displacement changes. Every fourth time it
/// leads to the stub, and the slot decides.
fn alternate_jumps(shape: Shape, times: u32) {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(shape, &symbols, &program.server, 1, STRIDE);
    let targets = [symbols.address("body2"), symbols.address("body3"), plan.original(0)];
    let answers = ["2005", "3005", "1005"];
    let call = format!("call 0 {}", shape.name);
    program.ask(&format!("hot 0 {}", shape.name));
    program.ask("start 8");
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, targets[0]);
    patch.island_writes = vec![plan.direct_island_write(0, targets[0])];
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask(&call), answers[0]);
    for number in 2..=times {
        let which = number as usize % 3;
        let target = targets[which];
        let to = if number % 4 == 0 { plan.stub(0) } else { target };
        let mut patch = program.server.patch(number);
        patch.slots.push(plan.set_jump(0, target, to));
        program.server.apply(patch).expect("the patch applies");
        // A patch that is live is what everyone calls.
        assert_eq!(program.ask(&call), answers[which], "{number}");
    }
    let calls = program.ask("finish");
    println!("{}: {calls}", shape.name);
    assert!(calls.ends_with(" 0 wrong"), "{calls}");
    let back = vec![plan.set_jump(0, plan.original(0), plan.original(0))];
    program.server.roll_back(times, 0, back).expect("rolls back");
    assert_eq!(program.ask(&call), "1005");
    assert!(program.finish().success());
}

#[test]
fn jumps_alternate() {
    alternate_jumps(PUSH_MOV, 12_001);
}

#[test]
fn jumps_alternate_behind_an_entry_across_words() {
    alternate_jumps(STRADDLE, 1000);
}

/// A thread that is inside a call made by the function's first instruction returns into the jump.
#[test]
fn a_return_address_inside_the_jump_still_works() {
    const CALLS: Shape = Shape::new("calls", &[2], 8);
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(CALLS, &symbols, &program.server, 1, STRIDE);
    assert_eq!(program.ask("hold"), "held");
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask("call 0 calls"), "2005");
    assert_eq!(program.ask("release"), "1007");
    assert!(program.finish().success());
}

/// The same for twenty thousand copies of each.
#[test]
#[ignore = "takes minutes"]
fn a_storm_of_first_writes() {
    let Some(victim) = victim(&["-DCOPIES=20000"]) else { return };
    for shape in [SLOW, SLOW_STRADDLE, PUSH_MOV, SUB_RSP, FIVE, PUSHES, STRADDLE, THREE] {
        let program = Program::start_with(&victim, |_| {}).expect("compiled above");
        first_writes_in(program, shape, 20_000);
    }
}
