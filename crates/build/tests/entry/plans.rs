//! Plans every function of an executable and checks each plan against what the design asks.

use crate::host::{Host, SLIDE};
use iced_x86::{Decoder, DecoderOptions};
use livepatch_build::islands::{Islands, PlanError, Redirection};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::x86_64::{EntryError, Function, pun};
use livepatch_proto::{Stage, TrapTarget, WireAddress, WireRange};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The executable to plan: this test, unless the environment names another.
fn host() -> Host {
    let path = std::env::var_os("LIVEPATCH_TEST_HOST").unwrap_or_else(|| "/proc/self/exe".into());
    Host::read(&std::fs::read(path).expect("the executable"))
}

#[derive(Default, Debug)]
struct Census {
    functions: usize,
    word: usize,
    word_with_traps: usize,
    stepwise: usize,
    direct: usize,
    trap: usize,
    loops: usize,
    unseen_loops: usize,
    pages: usize,
    errors: BTreeMap<String, usize>,
    boundaries: BTreeMap<Vec<usize>, usize>,
}

#[test]
fn every_function_of_an_executable() {
    let host = host();
    let mut islands = Islands::new(Architecture::X86_64, 4096, host.range.clone(), &host.free());
    let mut census = Census::default();
    let mut memory = Memory::default();
    let mut took = Duration::ZERO;
    for function in host.functions() {
        census.functions += 1;
        let start = Instant::now();
        let planned = islands.plan(&function);
        took += start.elapsed();
        match planned {
            Ok(plan) => {
                check(&function, &plan, &mut memory);
                census.count(&function, &plan);
            }
            Err(error) => {
                assert!(is_reason(&error), "{} ({:02x?}): {error}", function.entry, function.body());
                let name = format!("{error:?}");
                *census.errors.entry(name.split("0x").next().unwrap_or(&name).to_owned()).or_default() += 1;
            }
        }
    }
    println!("{census:#?}\nplanning took {took:?}");
    assert!(census.functions > 100, "no executable");
    assert!(census.word > census.stepwise);
    // Functions begin at multiples of 16: there is room for every aligned jump.
    assert!(census.direct * 100 > 99 * (census.word + census.stepwise));
}

/// The reasons for which a real function may be refused.
fn is_reason(error: &PlanError) -> bool {
    matches!(
        error,
        PlanError::Entry(
            EntryError::Resumable { .. } | EntryError::Unsupported { .. } | EntryError::Undecodable { .. }
        ) | PlanError::Overlap { .. }
    )
}

#[test]
fn a_thousand_functions() {
    let host = host();
    let functions: Vec<_> = host.functions().collect();
    let step = (functions.len() / 1000).max(1);
    // The first time is with cold caches.
    for _ in 0..4 {
        let mut islands = Islands::new(Architecture::X86_64, 4096, host.range.clone(), &host.free());
        let start = Instant::now();
        let plans = functions.iter().step_by(step).take(1000).filter_map(|f| islands.plan(f).ok());
        let plans: Vec<_> = plans.collect();
        let took = start.elapsed();
        let pages: usize = plans.iter().map(|plan| plan.pages.len()).sum();
        let traps: usize = plans.iter().map(|plan| plan.traps.len()).sum();
        println!("{} plans in {took:?}: {pages} pages, {traps} traps", plans.len());
    }
}

/// Functions of random bytes, one behind the other with room between them or without: what can be planned
/// is planned well, also where neighbours share words.
fn random_functions() -> impl Strategy<Value = Vec<(Vec<u8>, usize)>> {
    let likely = prop::sample::select(vec![
        0x55, 0x53, 0x48, 0x89, 0xE5, 0x41, 0x57, 0xC3, 0x31, 0xC0, 0x90, 0xFF, 0x75,
    ]);
    let byte = prop_oneof![3 => likely, 1 => any::<u8>()];
    prop::collection::vec((prop::collection::vec(byte, 1..12), 0..8_usize), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_texts(functions in random_functions()) {
        let mut text = vec![0xCC; 8];
        let mut places = Vec::new();
        for (body, padding) in &functions {
            places.push((text.len(), body.len(), *padding));
            text.extend_from_slice(body);
            text.resize(text.len() + padding, 0xCC);
        }
        let start = RuntimeAddress(SLIDE);
        let free = WireRange { start: WireAddress(SLIDE - (1 << 31)), end: WireAddress(SLIDE) };
        let mut islands = Islands::new(Architecture::X86_64, 4096, start..RuntimeAddress(SLIDE + 4096), &[free]);
        let mut memory = Memory::default();
        for (offset, size, padding) in places {
            let entry = RuntimeAddress(SLIDE + offset as u64);
            let function = Function { entry, text: &text, offset, size, padding };
            if let Ok(plan) = islands.plan(&function) {
                check(&function, &plan, &mut memory);
            }
        }
    }
}

impl Census {
    fn count(&mut self, function: &Function<'_>, plan: &Redirection) {
        let word = plan.redirect.stages.iter().find_map(|stage| match stage {
            Stage::Word { store } => Some(store.traps),
            Stage::Bytes { .. } => None,
        });
        match (plan.traps_calls, word) {
            (true, _) => self.trap += 1,
            (false, Some(traps)) => {
                self.word += 1;
                self.word_with_traps += usize::from(traps == 1);
            }
            (false, None) => self.stepwise += 1,
        }
        self.direct += usize::from(plan.jump.is_some());
        self.loops += usize::from(plan.hazards.loop_head);
        self.unseen_loops += usize::from(plan.hazards.unseen_loops);
        self.pages += plan.pages.len();
        *self.boundaries.entry(starts(function)).or_default() += 1;
    }
}

/// Where instructions begin in the first five bytes, by a decoding of our own.
fn starts(function: &Function<'_>) -> Vec<usize> {
    let code = &function.text[function.offset..];
    let mut decoder = Decoder::with_ip(64, code, function.entry.0, DecoderOptions::NONE);
    let mut starts = Vec::new();
    while decoder.position() < 5 && decoder.can_decode() {
        if decoder.position() > 0 {
            starts.push(decoder.position());
        }
        let _ = decoder.decode();
    }
    starts
}

/// What earlier plans use.
#[derive(Default)]
struct Memory {
    pages: BTreeMap<u64, (u64, u8)>,
    used: BTreeSet<u64>,
    slots: BTreeSet<u64>,
    code: BTreeMap<u64, u8>,
}

impl Memory {
    fn page_of(&self, at: u64) -> Option<u8> {
        let (start, (length, code)) = self.pages.range(..=at).next_back()?;
        (at < start + length).then_some(*code)
    }

    fn byte(&self, function: &Function<'_>, at: u64) -> u8 {
        let original = || function.byte(RuntimeAddress(at)).expect("a byte of the text");
        self.code.get(&at).copied().unwrap_or_else(original)
    }
}

fn check(function: &Function<'_>, plan: &Redirection, memory: &mut Memory) {
    for page in &plan.pages {
        assert_eq!(page.start.0 % 4096, 0);
        assert!(memory.page_of(page.start.0).is_none(), "a page twice");
        memory.pages.insert(page.start.0, (page.length, page.code));
    }
    assert_eq!(memory.page_of(plan.slot.0), Some(0));
    assert_eq!(plan.slot.0 % 8, 0);
    assert!(memory.slots.insert(plan.slot.0), "a slot twice");
    for write in &plan.writes {
        for at in write.at.0..write.at.0 + write.bytes.len() as u64 {
            assert_eq!(memory.page_of(at), Some(1), "{at:#x} is in no code page");
            assert!(memory.used.insert(at), "{at:#x} is used twice");
        }
    }
    for run in &plan.redirect.expected {
        for (at, &byte) in (run.at.0..).zip(&run.bytes) {
            assert_eq!(memory.byte(function, at), byte);
        }
    }
    check_stages(function, plan, memory);
}

/// Carries the stages out; after each, a thread at an old boundary finds the old instruction, or traps.
fn check_stages(function: &Function<'_>, plan: &Redirection, memory: &mut Memory) {
    let entry = function.entry.0;
    let inner: Vec<u64> = match plan.traps_calls {
        false => starts(function).into_iter().map(|offset| entry + offset as u64).collect(),
        true => Vec::new(),
    };
    let trap_at = |at: u64| plan.traps.iter().find(|trap| trap.at.0 == at).map(|trap| trap.target);
    for stage in &plan.redirect.stages {
        match stage {
            Stage::Word { store } => {
                assert_eq!(store.at.0 % 8, 0);
                assert_eq!(store.traps == 1, !inner.is_empty());
                for (at, byte) in (store.at.0..).zip(store.new.to_le_bytes()) {
                    let inside = (entry..entry + 5).contains(&at);
                    assert!(inside || memory.byte(function, at) == byte);
                    if inside {
                        memory.code.insert(at, byte);
                    }
                }
            }
            Stage::Bytes { writes } => {
                for write in writes {
                    memory.code.insert(write.at.0, write.byte);
                }
            }
        }
        let begun = (0..5).any(|offset| memory.code.contains_key(&(entry + offset)));
        let first = memory.byte(function, entry);
        for &at in inner.iter().filter(|_| begun) {
            assert!(
                pun::traps(memory.byte(function, at)),
                "{at:#x} does not trap: {:02x?} {plan:x?}",
                function.body()
            );
            assert!(matches!(trap_at(at), Some(TrapTarget::Address { .. })));
        }
        if begun && first == 0xCC {
            assert_eq!(trap_at(entry), Some(TrapTarget::Slot { slot: plan.slot }));
        }
    }
    check_island(function, plan, memory);
}

/// The jump leads to an island that goes through the slot.
fn check_island(function: &Function<'_>, plan: &Redirection, memory: &Memory) {
    let entry = function.entry.0;
    let byte = |offset| memory.byte(function, entry + offset);
    if plan.traps_calls {
        assert_eq!(byte(0), 0xCC);
        return;
    }
    assert_eq!(byte(0), 0xE9);
    let displacement = i32::from_le_bytes([byte(1), byte(2), byte(3), byte(4)]);
    let island = entry.wrapping_add(5).wrapping_add_signed(displacement.into());
    let write = plan.writes.iter().find(|write| write.at.0 == island).expect("an island");
    let code = write.bytes.strip_prefix(&[0xF3, 0x0F, 0x1E, 0xFA]).unwrap_or(&write.bytes);
    let end = island + write.bytes.len() as u64;
    let Some(jump) = plan.jump else { return check_slot_jump(end, code, plan) };
    // What is stored at once is aligned, by what does nothing.
    let nops = [&[0x90][..], &[0x66, 0x90], &[0x0F, 0x1F, 0x00]];
    let code = nops.into_iter().find_map(|nop| code.strip_prefix(nop)).unwrap_or(code);
    let jump = jump.through_slot();
    assert_eq!((code.len(), code[0], (end - 4) % 4), (5, 0xE9, 0));
    assert_eq!(jump.at.0, end - 5);
    let to_stub = i32::from_le_bytes(code[1..].try_into().expect("four bytes"));
    let stub = end.wrapping_add_signed(to_stub.into());
    assert_eq!(jump.to.0, stub);
    let write = plan.writes.iter().find(|write| write.at.0 == stub).expect("a stub");
    check_slot_jump(stub + write.bytes.len() as u64, &write.bytes, plan);
}

/// `code` ends at `end` and jumps through the slot.
fn check_slot_jump(end: u64, code: &[u8], plan: &Redirection) {
    assert_eq!((code.len(), &code[..2]), (6, &[0xFF, 0x25][..]));
    let to_slot = i32::from_le_bytes(code[2..].try_into().expect("four bytes"));
    assert_eq!(end.wrapping_add_signed(to_slot.into()), plan.slot.0);
}
