use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn at(name: &str, address: u64) -> TextSymbol<'_> {
    TextSymbol { name, address: LinkAddress(address), weak: false }
}

fn no_stub(_: &str) -> bool {
    false
}

fn place(module: u32, address: u64) -> ModuleAddress {
    ModuleAddress { module, address }
}

/// Where callers of `from` arrive.
fn arrives(tables: &JumpTables, from: ModuleAddress) -> ModuleAddress {
    let jumps = tables.jumps();
    let mut found = jumps.iter().filter(|jump| jump.from == from);
    let to = found.next().map_or(from, |jump| jump.to);
    assert!(found.next().is_none(), "{from:?} leads to two places");
    to
}

#[test]
fn there_and_back_again_arrives_at_the_newest_from_everywhere() {
    let mut tables = JumpTables::new([at("f", 0x1000), at("g", 0x2000)]);
    // A → B → A: the third has the first one's text, and a place of its own.
    for patch in 1..=2 {
        let report = tables.add(patch, [at("f", 0x100)], no_stub);
        assert_eq!((report.redirected.as_slice(), report.added.len()), (&["f".to_owned()][..], 0));
    }
    let newest = place(2, 0x100);
    for from in [place(0, 0x1000), place(1, 0x100), newest] {
        assert_eq!(arrives(&tables, from), newest);
    }
    assert_eq!(arrives(&tables, place(0, 0x2000)), place(0, 0x2000));
}

#[test]
fn another_functions_patch_drops_nothing() {
    let mut tables = JumpTables::new([at("f", 0x1000), at("g", 0x2000)]);
    tables.add(1, [at("f", 0x100), at("new", 0x200)], no_stub);
    let report = tables.add(2, [at("g", 0x100), at("new", 0x300)], no_stub);
    assert_eq!(
        (report.redirected, report.removed),
        (vec!["g".to_owned(), "new".to_owned()], vec!["f".to_owned()])
    );
    assert_eq!(arrives(&tables, place(0, 0x1000)), place(1, 0x100));
    assert_eq!(arrives(&tables, place(0, 0x2000)), place(2, 0x100));
    assert_eq!(arrives(&tables, place(1, 0x200)), place(2, 0x300), "what a patch brought is patched too");
}

#[test]
fn stubs_never_enter() {
    let mut tables = JumpTables::new([at("f", 0x1000), at("helper", 0x2000)]);
    let report = tables.add(1, [at("f", 0x100), at("helper", 0x200)], |name| name == "helper");
    assert_eq!(report.redirected, ["f"]);
    assert_eq!(tables.jumps().len(), 1);
}

#[test]
fn what_llvm_appends_is_taken_off_on_both_sides() {
    for (host, patch) in [("f.llvm.17", "f.llvm.99"), ("f", "f.llvm.99"), ("f.llvm.17", "f")] {
        let mut tables = JumpTables::new([at(host, 0x1000)]);
        assert_eq!(tables.add(1, [at(patch, 0x100)], no_stub).redirected, ["f"]);
        assert_eq!(arrives(&tables, place(0, 0x1000)), place(1, 0x100));
    }
    // Of no number it is the user's own.
    assert_eq!(without_llvm_suffix("f.llvm.x1"), "f.llvm.x1");
    assert_eq!(without_llvm_suffix("f.llvm."), "f.llvm.");
    // Two that only that told apart are two.
    let mut tables = JumpTables::new([at("f.llvm.1", 0x1000), at("f.llvm.2", 0x2000)]);
    let report = tables.add(1, [at("f.llvm.3", 0x100)], no_stub);
    assert_eq!((report.ambiguous[0].side, report.ambiguous[0].name.as_str()), (Side::Host, "f"));
    assert!(tables.jumps().is_empty());
}

#[test]
fn duplicates_are_reported_and_left_alone() {
    let mut tables = JumpTables::new([at("twice", 0x1000), at("twice", 0x2000), at("f", 0x3000)]);
    let report = tables.add(1, [at("twice", 0x100), at("f", 0x200), at("f", 0x300)], no_stub);
    assert!(report.redirected.is_empty());
    let of = |side| report.ambiguous.iter().find(|ambiguous| ambiguous.side == side).expect("reported");
    assert_eq!((of(Side::Host).name.as_str(), of(Side::Host).addresses.len()), ("twice", 2));
    assert_eq!((of(Side::Patch).name.as_str(), of(Side::Patch).addresses.len()), ("f", 2));
    assert!(tables.jumps().is_empty());
    // The patch's own trouble passes with it.
    assert_eq!(tables.add(2, [at("f", 0x100)], no_stub).redirected, ["f"]);
    // The same definition listed twice is one.
    let tables = JumpTables::new([at("f", 0x1000), at("f", 0x1000)]);
    assert!(!tables.functions["f"].ambiguous);
}

#[test]
fn one_address_cannot_lead_to_two_functions() {
    let mut tables = JumpTables::new([at("f", 0x1000), at("g", 0x1000)]);
    let report = tables.add(1, [at("f", 0x100), at("g", 0x200)], no_stub);
    assert!(report.ambiguous.iter().all(|ambiguous| ambiguous.side == Side::SharedAddress));
    assert_eq!(report.ambiguous.len(), 2);
    assert!(tables.jumps().is_empty());
    // Folded again, they are one.
    tables.add(2, [at("f", 0x100), at("g", 0x100)], no_stub);
    assert_eq!(arrives(&tables, place(0, 0x1000)), place(2, 0x100));
}

#[test]
fn weak_definitions_are_named() {
    let mut tables = JumpTables::new([at("f", 0x1000)]);
    let report = tables.add(1, [TextSymbol { weak: true, ..at("f", 0x100) }], no_stub);
    assert_eq!((report.redirected, report.weak), (vec!["f".to_owned()], vec!["f".to_owned()]));
}

#[test]
fn rolling_back_leads_to_what_was_before() {
    let mut tables = JumpTables::new([at("f", 0x1000)]);
    (1..=2).for_each(|patch| drop(tables.add(patch, [at("f", 0x100)], no_stub)));
    tables.roll_back(1);
    for from in [place(0, 0x1000), place(2, 0x100)] {
        assert_eq!(arrives(&tables, from), place(1, 0x100));
    }
    tables.roll_back(0);
    assert_eq!(arrives(&tables, place(2, 0x100)), place(0, 0x1000));
    tables.add(3, [at("f", 0x100)], no_stub);
    for from in [place(0, 0x1000), place(1, 0x100), place(2, 0x100)] {
        assert_eq!(arrives(&tables, from), place(3, 0x100));
    }
}

/// Callers of before stay with what they had, whatever comes later; what comes later is one among itself.
#[test]
fn callers_that_are_parted_stay_where_they_are() {
    let mut tables = JumpTables::new([at("f", 0x1000)]);
    tables.add(1, [at("f", 0x100)], no_stub);
    tables.part("f");
    assert_eq!(tables.add(2, [at("f", 0x200)], no_stub).added, ["f"]);
    tables.add(3, [at("f", 0x300)], no_stub);
    assert_eq!(arrives(&tables, place(0, 0x1000)), place(1, 0x100));
    assert_eq!(arrives(&tables, place(2, 0x200)), place(3, 0x300));
    tables.roll_back(2);
    assert_eq!(arrives(&tables, place(0, 0x1000)), place(1, 0x100));
    assert_eq!(arrives(&tables, place(3, 0x300)), place(2, 0x200));
    // Taken back altogether, what comes next is a new body of the old one again.
    tables.roll_back(1);
    tables.add(4, [at("f", 0x400)], no_stub);
    for from in [place(0, 0x1000), place(1, 0x100)] {
        assert_eq!(arrives(&tables, from), place(4, 0x400));
    }
    assert_ne!(arrives(&tables, place(2, 0x200)), place(4, 0x400));
}

proptest! {
    /// Whatever patches bring: who calls any body there ever was arrives at the newest one. The oracle keeps, for
    /// each name, the last patch that had it.
    #[test]
    fn every_body_leads_to_the_newest(patches in proptest::collection::vec(proptest::collection::btree_set(0_u64..6, 0..6), 0..8)) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let mut tables = JumpTables::new(names[..4].iter().zip(1_u64..).map(|(name, n)| at(name, n << 12)));
        let mut bodies: BTreeMap<u64, BTreeSet<(u32, u64)>> =
            (0..4).map(|n| (n, BTreeSet::from([(0, (n + 1) << 12)]))).collect();
        for (index, functions) in patches.iter().enumerate() {
            let patch = index as u32 + 1;
            tables.add(patch, functions.iter().map(|&n| at(names[n as usize], 0x100 + n * 16)), no_stub);
            for &n in functions {
                bodies.entry(n).or_default().insert((patch, 0x100 + n * 16));
            }
        }
        for all in bodies.values() {
            let newest = all.last().map(|&(module, address)| place(module, address)).expect("not empty");
            for &(module, address) in all {
                prop_assert_eq!(arrives(&tables, place(module, address)), newest);
            }
        }
    }
}
