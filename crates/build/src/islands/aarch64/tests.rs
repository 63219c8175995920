//! Where things go, and what they are, on small examples.

use crate::islands::{Islands, PlanError};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::Function;
use livepatch_proto::{Stage, WireAddress, WireRange};
use std::ops::Range;

const MIB: u64 = 1 << 20;
const START: u64 = 0x55_5500_0000;
/// What is free below the host.
const BELOW: (u64, u64) = (START - 512 * MIB, START);
/// stp x29, x30, [sp, #-16]!; mov x29, sp; ldp x29, x30, [sp], #16; ret
const FRAME: [u32; 4] = [0xa9bf_7bfd, 0x9100_03fd, 0xa8c1_7bfd, 0xd65f_03c0];

fn host(length: u64) -> Range<RuntimeAddress> {
    RuntimeAddress(START)..RuntimeAddress(START + length)
}

fn islands(length: u64, free: &[(u64, u64)]) -> Islands {
    let free: Vec<_> = free
        .iter()
        .map(|&(start, end)| WireRange { start: WireAddress(start), end: WireAddress(end) })
        .collect();
    Islands::new(Architecture::Aarch64, 4096, host(length), &free)
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn function(text: &[u8], at: u64) -> Function<'_> {
    Function { entry: RuntimeAddress(START + at), text, offset: 0, size: text.len(), padding: 0 }
}

/// Where a `B` at `at` leads.
fn target(at: u64, word: u32) -> u64 {
    assert_eq!(word >> 26, 0b000101, "{word:#x} is no branch");
    at.wrapping_add_signed(i64::from((word << 6).cast_signed() >> 6) * 4)
}

#[test]
fn the_entry_leads_to_the_island_and_that_through_the_slot() {
    let text = bytes(&FRAME);
    let mut islands = islands(8 * MIB, &[BELOW]);
    let plan = islands.plan(&function(&text, 0x1004)).expect("a plan");
    let [Stage::Word { store }] = plan.redirect.stages.as_slice() else { panic!("{plan:?}") };
    assert_eq!((store.at.0, store.traps), (START + 0x1000, 0));
    assert_eq!(plan.redirect.expected[0].bytes, text[..4], "its neighbour in the word stays");
    let island = target(START + 0x1004, (store.new >> 32) as u32);
    let code = plan.writes.iter().find(|write| write.at.0 == island).expect("the island is written");
    let word =
        |index: usize| u32::from_le_bytes(code.bytes[4 * index..][..4].try_into().expect("four bytes"));
    let veneer = target(island, word(0));
    assert_eq!(veneer, island + 4);
    // adrp x16; ldr x16, [x16, #…]; br x16
    assert_eq!(
        (word(1) & 0x9f00_001f, word(2) & 0xffc0_03ff, word(3)),
        (0x9000_0010, 0xf940_0210, 0xd61f_0200)
    );
    let pages = i64::from((word(1) << 8).cast_signed() >> 13) << 2 | i64::from(word(1) >> 29 & 3);
    let slot = (veneer & !0xfff).wrapping_add_signed(pages << 12) + u64::from(word(2) >> 10 & 0xfff) * 8;
    assert_eq!(slot, plan.slot.0);
    assert!(plan.traps.is_empty() && !plan.traps_calls);
    let jump = plan.jump.expect("the island's own jump");
    let near = WireAddress(START - MIB);
    assert_eq!((jump.toward(near).to, jump.toward(near).at.0), (near, island));
    let far = WireAddress(START - 400 * MIB);
    assert_eq!(jump.toward(far).to.0, veneer, "a body out of reach is reached by way of the slot");
}

#[test]
fn large_hosts_get_islands_where_their_code_is() {
    // 600 MiB of code: nothing below it is in reach of its end.
    let text = bytes(&FRAME);
    let free = [(START - 64 * MIB, START), (START + 600 * MIB, START + 700 * MIB)];
    let mut islands = islands(600 * MIB, &free);
    for at in [0x1000, 50 * MIB, 560 * MIB, 599 * MIB] {
        let plan = islands.plan(&function(&text, at)).expect("a plan");
        let island = plan.jump.expect("its jump").through_slot().at.0;
        assert!(island.abs_diff(START + at) < 128 * MIB, "{at:#x}: {island:#x}");
    }
    let middle = islands.plan(&function(&text, 300 * MIB));
    assert!(matches!(middle, Err(PlanError::NoRoom { .. })), "nothing is in reach there");
}

#[test]
fn functions_share_pages_and_are_planned_once() {
    let text = bytes(&FRAME);
    let mut islands = islands(8 * MIB, &[BELOW]);
    let mut pages = 0;
    for index in 0..100 {
        let plan = islands.plan(&function(&text, 0x1000 + 16 * index)).expect("a plan");
        pages += plan.pages.iter().map(|page| page.length / 4096).sum::<u64>();
    }
    assert!(pages <= 3, "{pages}");
    assert!(matches!(islands.plan(&function(&text, 0x1000)), Err(PlanError::Again { .. })));
}

#[test]
fn loops_change_before_the_entry() {
    // subs x0, x0, #1; b.ne .-4; ret
    let text = bytes(&[0xf100_0400, 0x54ff_ffe1, 0xd65f_03c0]);
    let mut islands = islands(8 * MIB, &[BELOW]);
    let plan = islands.plan(&function(&text, 0x1000)).expect("a plan");
    assert!(plan.hazards.loop_head);
    let [Stage::Word { store: first }, Stage::Word { store: second }] = plan.redirect.stages.as_slice()
    else {
        panic!("{plan:?}")
    };
    let back = target(START + 0x1004, (first.new >> 32) as u32);
    let copy = plan.original.0;
    assert!((copy..copy + 64).contains(&back), "into the copy");
    assert_ne!(second.new as u32, 0);
    assert_eq!(plan.redirect.expected.len(), 2);
}
