//! Where things go, on small examples.

use crate::islands::{Islands, PlanError, Redirection};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::x86_64::Function;
use livepatch_proto::{Stage, WireAddress, WireRange};
use std::ops::Range;

const MIB: u64 = 1 << 20;
const HOST: Range<RuntimeAddress> =
    RuntimeAddress(0x5555_5555_4000)..RuntimeAddress(0x5555_5555_4000 + 8 * MIB);
/// push rbp; mov rbp, rsp; sub rsp, 0x20; leave; ret
const FRAME: [u8; 10] = [0x55, 0x48, 0x89, 0xE5, 0x48, 0x83, 0xEC, 0x20, 0xC9, 0xC3];

fn range(start: u64, end: u64) -> WireRange {
    WireRange { start: WireAddress(start), end: WireAddress(end) }
}

fn below() -> Vec<WireRange> {
    vec![range(HOST.start.0 - 2048 * MIB, HOST.start.0)]
}

fn function(text: &[u8], offset: usize, size: usize) -> Function<'_> {
    let entry = RuntimeAddress(HOST.start.0 + 0x1000 + offset as u64);
    Function { entry, text, offset, size, padding: 0 }
}

#[test]
fn images_go_just_below_the_host_side_by_side() {
    let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &below());
    let first = islands.take_image_range(0x5000, 0x1000, HOST).expect("room");
    assert_eq!(first.0, HOST.start.0 - 0x5000);
    let second = islands.take_image_range(0x1234, 0x2000, HOST).expect("room");
    assert_eq!(second.0 % 0x2000, 0);
    assert!(first.0 - (second.0 + 0x2000) < 0x2000);
    // What was handed out stays so, whatever the process reports.
    islands.refresh(&below());
    let third = islands.take_image_range(0x2000, 0x1000, HOST).expect("room");
    assert!(third.0 + 0x2000 <= second.0);
}

#[test]
fn images_keep_in_reach() {
    let reach = 1984 * MIB;
    let far = vec![range(HOST.start.0 - 2040 * MIB, HOST.start.0 - 1990 * MIB)];
    assert_eq!(
        Islands::new(Architecture::X86_64, 4096, HOST, &far).take_image_range(0x1000, 0x1000, HOST),
        None
    );
    // Above only if there is no room below, and then far from the heap.
    let above = vec![range(HOST.end.0 + 100 * MIB, HOST.end.0 + 2040 * MIB)];
    let at = Islands::new(Architecture::X86_64, 4096, HOST, &above)
        .take_image_range(0x1000, 0x1000, HOST)
        .expect("room");
    assert_eq!(at.0 + 0x1000, HOST.start.0 + reach);
}

#[test]
fn images_and_islands_do_not_overlap() {
    // So little room that they have to meet.
    let free = vec![range(HOST.start.0 - 352 * MIB, HOST.start.0 - 352 * MIB + 64 * 4096)];
    let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &free);
    let mut taken: Vec<Range<u64>> = Vec::new();
    let text = [&FRAME[..], &[0xCC; 6]].concat().repeat(400);
    for index in 0..400 {
        if let Ok(plan) = islands.plan(&function(&text, index * 16, FRAME.len())) {
            taken.extend(plan.pages.iter().map(|page| page.start.0..page.start.0 + page.length));
        }
        if let Some(at) = islands.take_image_range(0x1000, 0x1000, HOST) {
            taken.push(at.0..at.0 + 0x1000);
        }
    }
    taken.sort_by_key(|range| range.start);
    assert!(taken.len() > 10);
    assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start), "{taken:x?}");
}

#[test]
fn functions_share_pages() {
    let text = [&FRAME[..], &[0xCC; 6]].concat().repeat(300);
    let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &below());
    let plans: Vec<_> =
        (0..300).map(|index| islands.plan(&function(&text, index * 16, FRAME.len()))).collect();
    let pages: usize = plans.iter().flatten().map(|plan| plan.pages.len()).sum();
    assert!(plans.iter().all(|plan| matches!(plan, Ok(plan) if !plan.traps_calls)));
    // 300 slots, 300 copies and stubs, and islands one to each 16 bytes: the functions are as far apart, and
    // all jumps have the same lowest byte.
    assert!(pages <= 5, "{pages}");
}

#[test]
fn one_function_takes_three_pages() {
    let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &below());
    let plan = islands.plan(&function(&FRAME, 0, FRAME.len())).expect("a plan");
    assert_eq!(plan.pages.iter().map(|page| page.length).sum::<u64>(), 3 * 4096);
    assert_eq!(plan.pages.iter().filter(|page| page.code == 1).count(), 2);
}

#[test]
fn a_dropped_plan_leaves_no_trace() {
    let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &below());
    let first = islands.clone().plan(&function(&FRAME, 0, FRAME.len())).expect("a plan");
    assert_eq!(islands.plan(&function(&FRAME, 0, FRAME.len())).expect("the same plan"), first);
}

#[test]
fn entries_are_planned_once() {
    let text = [0x31, 0xC0, 0xC3, 0x31, 0xC0, 0xC3, 0x90, 0x90, 0xC3, 0xCC];
    let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &below());
    islands.plan(&function(&text, 3, 6)).expect("a plan");
    let entry = function(&text, 3, 6).entry;
    assert_eq!(islands.plan(&function(&text, 3, 6)), Err(PlanError::Again { entry }));
    // A second name, two bytes into the first.
    let inner = function(&text, 5, 4);
    assert!(matches!(islands.plan(&inner), Err(PlanError::Again { .. } | PlanError::Overlap { .. })));
}

#[test]
fn neighbours_in_a_word_keep_what_was_written() {
    // 0: xor eax, eax; ret: three bytes without room behind; 3: mov eax, 7; ret
    let text = [0x31, 0xC0, 0xC3, 0xB8, 7, 0, 0, 0, 0xC3, 0xCC, 0xCC, 0xCC];
    let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &below());
    let first = islands.plan(&function(&text, 0, 3)).expect("a plan");
    assert!(first.traps_calls);
    let second = islands.plan(&function(&text, 3, 6)).expect("a plan");
    let [Stage::Word { store }] = second.redirect.stages.as_slice() else { panic!("{second:?}") };
    assert_eq!(store.new.to_le_bytes()[..4], [0xCC, 0xC0, 0xC3, 0xE9]);
    // The byte that may or may not trap by then is not compared.
    let expected: Vec<u64> =
        second.redirect.expected.iter().map(|run| run.at.0 - HOST.start.0 - 0x1000).collect();
    assert_eq!(expected, [1]);
}

#[test]
fn without_room_in_reach_of_a_jump_calls_trap() {
    // Free memory that no displacement with the top byte of a trapping opcode reaches: -256 MiB.
    let free = vec![range(HOST.start.0 - 256 * MIB, HOST.start.0 - 255 * MIB)];
    let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &free);
    let plan = islands.plan(&function(&FRAME, 0, FRAME.len())).expect("a plan");
    assert!(plan.traps_calls);
    assert!(matches!(plan.redirect.stages.as_slice(), [Stage::Bytes { writes }] if writes.len() == 1));
    let mut nowhere = Islands::new(Architecture::X86_64, 4096, HOST, &[]);
    assert!(matches!(nowhere.plan(&function(&FRAME, 0, FRAME.len())), Err(PlanError::NoRoom { .. })));
}

#[test]
fn callers_of_a_function_stay_in_its_four_gigabytes() {
    let start = 0x5602_0000_0000;
    for host in [start + 16 * MIB, start + 2000 * MIB, start + 4000 * MIB] {
        let free = vec![range(host - 2048 * MIB, host), range(host + 8 * MIB, host + 2040 * MIB)];
        let host = RuntimeAddress(host)..RuntimeAddress(host + 8 * MIB);
        let mut islands = Islands::new(Architecture::X86_64, 4096, host.clone(), &free);
        let entry = RuntimeAddress(host.start.0 + 0x1000);
        // push rbp; sub rsp, 0x120; leave; ret: no instruction begins at the jump's last byte, which says how
        // far away the island is.
        let text = [0x55, 0x48, 0x81, 0xEC, 0x20, 0x01, 0, 0, 0xC9, 0xC3];
        let function = Function { entry, text: &text, offset: 0, size: text.len(), padding: 0 };
        let plan = islands.plan(&function).expect("a plan");
        assert!(plan.jump.is_some());
        assert!(plan.pages.iter().all(|page| page.start.0 >> 32 == entry.0 >> 32), "{:x?}", plan.pages);
    }
}

/// The entry's first bytes in the end, as far as they were written.
fn entry_bytes(plan: &Redirection) -> [u8; 8] {
    let mut bytes = [0; 8];
    let entry = plan.redirect.entry.0;
    for stage in &plan.redirect.stages {
        match stage {
            Stage::Word { store } => bytes = store.new.to_le_bytes(),
            Stage::Bytes { writes } => {
                writes.iter().for_each(|write| bytes[(write.at.0 - entry) as usize] = write.byte)
            }
        }
    }
    bytes
}

#[test]
fn a_breakpoint_at_an_old_instruction_leaves_the_jump_as_it_is() {
    // push rax; mov [rsp], rdi / sub rsp, 0x18; mov [rsp], rdi / push r15; push r14; push rbx; push rax
    let texts: [(&[u8], &[usize]); 4] = [
        (&FRAME, &[1, 4]),
        (&[0x50, 0x48, 0x89, 0x3C, 0x24, 0x58, 0xC3], &[1]),
        (&[0x48, 0x83, 0xEC, 0x18, 0x48, 0x89, 0x3C, 0x24, 0xC3], &[4]),
        (&[0x41, 0x57, 0x41, 0x56, 0x53, 0x50, 0xC3], &[2, 4]),
    ];
    for (text, boundaries) in texts {
        let mut islands = Islands::new(Architecture::X86_64, 4096, HOST, &below());
        let plan = islands.plan(&function(text, 0, text.len())).expect("a plan");
        let window = entry_bytes(&plan);
        assert_eq!(window[0], 0xE9);
        assert!(boundaries.iter().all(|&at| window[at] == 0xCC), "{window:x?}");
        assert!(plan.jump.is_some(), "and the island's is as good as any");
    }
    // Where that is not to be had, a jump that a breakpoint breaks is better than a trap for each call.
    let mut islands = Islands::new(
        Architecture::X86_64,
        4096,
        HOST,
        &[range(HOST.start.0 - 360 * MIB, HOST.start.0 - 340 * MIB)],
    );
    assert!(!islands.plan(&function(&FRAME, 0, FRAME.len())).expect("a plan").traps_calls);
}

#[test]
fn low_executables_use_the_room_above() {
    let host = RuntimeAddress(0x40_0000)..RuntimeAddress(0x50_0000);
    let free = vec![range(0x1_0000, 0x40_0000), range(0x1000_0000, 0x8000_0000)];
    let mut islands = Islands::new(Architecture::X86_64, 4096, host, &free);
    let function =
        Function { entry: RuntimeAddress(0x40_1000), text: &FRAME, offset: 0, size: 10, padding: 0 };
    let plan = islands.plan(&function).expect("a plan");
    assert!(!plan.traps_calls);
    assert!(plan.pages.iter().all(|page| page.start.0 > 0x3000_0000), "{:?}", plan.pages);
}
