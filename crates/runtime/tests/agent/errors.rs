//! A patch that cannot be applied changes nothing.

use crate::plan::{FIVE, PUSH_MOV, Plan, STRADDLE, Symbols, THREE, from_hex};
use crate::support::Program;
use livepatch_proto::{
    ApplyError, BuildId, IslandPage, MemoryWrite, Patch, SlotSet, Stage, TlsInit, Trap, TrapTarget,
    WireAddress,
};

struct Bench {
    program: Program,
    symbols: Symbols,
    plan: Plan,
    patch: Patch,
}

/// A program, and a patch for it that would apply.
fn bench() -> Option<Bench> {
    let mut program = Program::start()?;
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let mut patch = program.server.patch(1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, symbols.address("body2"));
    Some(Bench { program, symbols, plan, patch })
}

impl Bench {
    /// Applies the patch after `spoil`; asserts that it fails and that the program is as it was.
    fn fails(&mut self, spoil: impl FnOnce(&mut Patch, &Symbols, &Plan)) -> ApplyError {
        let mut patch = self.patch.clone();
        spoil(&mut patch, &self.symbols, &self.plan);
        let before = self.program.ask("mappings");
        let error = self.program.server.apply(patch).expect_err("the patch must not apply");
        println!("{error}");
        assert_eq!(self.program.ask("mappings"), before, "{error}");
        let code = from_hex(&self.program.ask("code 0 push_mov"));
        assert_eq!(code, self.symbols.bytes("push_mov"), "{error}");
        assert_eq!(self.program.ask("call 0 push_mov"), "1005", "{error}");
        error
    }

    /// The patch applies still.
    fn succeeds(mut self) {
        self.program.server.apply(self.patch).expect("the patch applies");
        assert_eq!(self.program.ask("call 0 push_mov"), "2005");
        assert!(self.program.finish().success());
    }
}

#[test]
fn checks_come_first() {
    let Some(mut bench) = bench() else { return };
    let error = bench.fails(|patch, _, _| patch.predecessor = 3);
    assert_eq!(error, ApplyError::OutOfOrder { current: 0, predecessor: 3 });
    let error = bench.fails(|patch, _, _| patch.number = 0);
    assert!(matches!(error, ApplyError::Invalid { .. }), "{error}");
    let error = bench.fails(|patch, _, _| patch.build_id = BuildId(vec![1; 20]));
    assert_eq!(error, ApplyError::WrongBuild { process: bench.patch.build_id.to_string() });
    let error = bench.fails(|patch, _, _| patch.redirects[0].expected[0].bytes[3] ^= 1);
    let ApplyError::CodeDiffers { address, expected, found } = error else { panic!("{error}") };
    assert_eq!(address, bench.patch.redirects[0].entry);
    assert_eq!((expected[3] ^ 1, expected.len()), (found[3], found.len()));
    let roll_back = bench.program.server.roll_back(7, 0, Vec::new());
    assert_eq!(roll_back, Err(ApplyError::OutOfOrder { current: 0, predecessor: 7 }));
    bench.succeeds();
}

#[test]
fn addresses_are_checked() {
    let Some(mut bench) = bench() else { return };
    let bad = |error: ApplyError| assert!(matches!(error, ApplyError::BadAddress { .. }), "{error}");
    bad(bench.fails(|patch, _, _| patch.redirects[0].entry = WireAddress(0x1000)));
    bad(bench.fails(|patch, _, _| patch.redirects[0].expected[0].at = WireAddress(u64::MAX - 3)));
    bad(bench.fails(|patch, _, _| {
        let Stage::Word { store } = &mut patch.redirects[0].stages[0] else { panic!("one store") };
        store.at.0 += 4;
    }));
    bad(bench.fails(|patch, _, _| patch.slots[0].slot.0 += 4));
    bad(bench.fails(|patch, symbols, _| patch.slots[0].slot = WireAddress(symbols.address("body2"))));
    bad(bench.fails(|patch, _, plan| patch.slots[0].target = plan.slot(0)));
    bad(bench.fails(|patch, _, plan| patch.settle.push(plan.set(0, plan.slot(0).0))));
    bad(bench.fails(|patch, symbols, plan| {
        let slot = WireAddress(symbols.address("body2"));
        patch.settle.push(SlotSet { slot, ..plan.set(0, plan.original(0)) });
    }));
    // A jump whose displacement is not aligned, one on a page for slots, one that leads to no code.
    bad(bench.fails(|patch, symbols, plan| {
        let mut set = plan.set_jump(0, symbols.address("body2"), symbols.address("body2"));
        set.jump.iter_mut().for_each(|jump| jump.at.0 += 1);
        patch.slots = vec![set];
    }));
    bad(bench.fails(|patch, symbols, plan| {
        let mut set = plan.set_jump(0, symbols.address("body2"), symbols.address("body2"));
        set.jump.iter_mut().for_each(|jump| jump.at.0 = plan.slot(0).0 + 3);
        patch.slots = vec![set];
    }));
    bad(bench.fails(|patch, symbols, plan| {
        patch.slots = vec![plan.set_jump(0, symbols.address("body2"), plan.slot(0).0)];
    }));
    bad(bench.fails(|patch, _, _| patch.island_writes[0].at.0 -= 8192));
    bad(bench.fails(|patch, symbols, _| {
        patch
            .island_writes
            .push(MemoryWrite { at: WireAddress(symbols.address("body2")), bytes: vec![0xcc] });
    }));
    bad(bench.fails(|patch, _, _| patch.island_pages[0].start.0 += 8));
    bad(bench.fails(|patch, _, plan| {
        patch.traps.push(Trap { at: plan.slot(0), target: TrapTarget::Slot { slot: plan.slot(0) } });
    }));
    bad(bench.fails(|patch, symbols, _| {
        let target = TrapTarget::Slot { slot: WireAddress(symbols.address("body2")) };
        patch.traps.push(Trap { at: patch.redirects[0].entry, target });
    }));
    let bad_rollback = vec![SlotSet { slot: WireAddress(16), target: WireAddress(16), jump: None }];
    bad(bench.program.server.roll_back(0, 0, bad_rollback).expect_err("no slot is there"));
    bench.succeeds();
}

#[test]
fn contradictions_are_refused() {
    let Some(mut bench) = bench() else { return };
    let invalid = |error: ApplyError| assert!(matches!(error, ApplyError::Invalid { .. }), "{error}");
    invalid(bench.fails(|patch, _, _| patch.redirects.push(patch.redirects[0].clone())));
    invalid(bench.fails(|patch, _, _| patch.island_writes.push(patch.island_writes[0].clone())));
    invalid(bench.fails(|patch, _, _| patch.island_pages.push(patch.island_pages[0])));
    invalid(bench.fails(|patch, _, _| patch.island_pages[0].code = 9));
    invalid(bench.fails(|patch, _, plan| patch.settle.push(plan.set(1, plan.original(0)))));
    invalid(bench.fails(|patch, symbols, plan| {
        let body = symbols.address("body2");
        patch.slots = vec![plan.set_jump(0, body, body)];
    }));
    invalid(bench.fails(|patch, _, plan| {
        patch.settle.push(plan.set_jump(0, plan.original(0), plan.original(0)));
    }));
    invalid(bench.fails(|patch, _, _| patch.redirects[0].expected.clear()));
    invalid(bench.fails(|patch, _, _| patch.tls.push(TlsInit { offset: 4030, bytes: vec![0; 8] })));
    bench.succeeds();
}

#[test]
fn taken_pages_are_not_replaced() {
    let Some(mut bench) = bench() else { return };
    let error = bench.fails(|patch, symbols, _| {
        let start = WireAddress(symbols.address("body2") & !0xfff);
        patch.island_pages.push(IslandPage { start, length: 4096, code: 0 });
    });
    let ApplyError::IslandOccupied { address, free_ranges } = error else { panic!("{error}") };
    assert_eq!(address.0, bench.symbols.address("body2") & !0xfff);
    assert_eq!(free_ranges, bench.program.server.hello.free_ranges);
    bench.succeeds();
}

/// Stages that let a function's entry trap are refused while a thread blocks the trap.
#[test]
fn blocked_traps_are_noticed() {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    for (number, shape) in [(1, THREE), (2, STRADDLE)] {
        assert_eq!(program.ask("block_raw"), "0");
        let plan = Plan::new(shape, &symbols, &program.server, 1, 64);
        let mut patch = program.server.patch(number);
        patch.island_pages.clone_from(&plan.pages);
        plan.add(&mut patch, 0..1, symbols.address("body2"));
        let error = program.server.apply(patch.clone()).expect_err("a thread blocks SIGTRAP");
        assert_eq!(error, ApplyError::TrapsBlocked { thread: program.child.id() });
        program.ask("unblock");
        program.server.apply(patch).expect("the patch applies now");
        assert_eq!(program.ask(&format!("call 0 {}", shape.name)), "2005");
    }
    // One store that leaves no boundary needs no trap.
    assert_eq!(program.ask("block_raw"), "0");
    let plan = Plan::new(FIVE, &symbols, &program.server, 1, 64);
    let mut patch = program.server.patch(3);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, symbols.address("body2"));
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask("call 0 five"), "2005");
}
