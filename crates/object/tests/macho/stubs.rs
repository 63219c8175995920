//! Stubs and helpers, against what llvm-objdump disassembles and what the tables say.

use crate::build::{Folder, Kind, Names, Way, link, read, run, tools};
use livepatch_object::macho::path::Paths;
use livepatch_object::macho::{Action, Image, Table};
use std::collections::BTreeMap;
use std::process::Command;

/// Which symbol each stub is for, as llvm-objdump says it behind calls of it.
fn disassembled(program: &str, file: &std::path::Path) -> BTreeMap<u64, String> {
    let said = run(Command::new(program).args(["--macho", "-d", "--no-show-raw-insn"]).arg(file));
    let stub = |line: &str| {
        let (call, symbol) = line.split_once(" symbol stub for: ")?;
        let (_, target) = call.split_once("0x")?;
        let target = target.split_whitespace().next()?;
        Some((u64::from_str_radix(target, 16).ok()?, symbol.trim().to_owned()))
    };
    said.lines().filter_map(stub).collect()
}

/// Stubs are for whom the disassembler says; it says so of most.
pub(crate) fn check_disassembled(program: &str, file: &std::path::Path, image: &Image) {
    let fixups = image.fixups().unwrap();
    let paths = Paths::new(image, &fixups);
    let expected = disassembled(program, file);
    let known: Vec<_> =
        paths.stubs().iter().filter_map(|stub| Some((stub, expected.get(&stub.address.0)?))).collect();
    assert!(known.len() > 5, "{}", known.len());
    for (stub, symbol) in known {
        let bound = paths.import_at(stub.slot.expect("a slot")).expect("it is bound");
        assert_eq!(String::from_utf8_lossy(&bound.symbol), *symbol);
    }
}

/// The indirect symbol table names each stub's symbol; its instructions lead to a slot; that is bound to the symbol.
pub(crate) fn check_slots(image: &Image) {
    let fixups = image.fixups().unwrap();
    let paths = Paths::new(image, &fixups);
    assert!(paths.stubs().len() > 5);
    for stub in paths.stubs() {
        let slot = stub.slot.unwrap_or_else(|| panic!("{stub:?}"));
        let import = paths.import_at(slot).unwrap_or_else(|| panic!("{stub:?}"));
        assert_eq!(Some(&import.symbol), stub.symbol.as_ref());
    }
}

/// Every lazily bound slot leads to a helper, which passes on the very opcodes that bind this slot; all helpers jump to
/// one place, from which the binder's slot is reached.
pub(crate) fn check_helpers(image: &Image) {
    let fixups = image.fixups().unwrap();
    let paths = Paths::new(image, &fixups);
    let common = paths.helpers().common.expect("a common part");
    let binder = paths.import_at(common.binder_slot).expect("it is bound");
    assert_eq!(&binder.symbol[..], b"dyld_stub_binder");
    let private = common.private.expect("a word for the binder");
    let named = image
        .symbols
        .iter()
        .find(|symbol| image.symbols.name(symbol).is_some_and(|name| &name[..] == b"__dyld_private"));
    assert_eq!(named.map(|symbol| symbol.value), Some(private.0));
    let mut lazy = 0;
    for record in &fixups.records {
        let Table::LazyBind { entry } = record.table else { continue };
        lazy += 1;
        let slot = paths.slot(record.slot).unwrap();
        let helper = slot.helper.as_ref().unwrap_or_else(|| panic!("{record:?}"));
        assert_eq!((helper.entry.lazy_entry, helper.entry.common), (entry, common.address));
        assert!(paths.is_consistent(&slot));
        // What the binder reads comes to the same.
        let read = image.lazy_bind_at(entry).unwrap();
        assert_eq!(read.slot, record.slot);
        assert_eq!(Some(&read.import), fixups.import_of(record));
        assert_eq!(helper.opcodes.last().map(|opcode| opcode.name), Some("DONE"));
    }
    assert_eq!(lazy, paths.helpers().entries.len());
}

#[test]
fn a_symbols_path_has_all_its_pointers() {
    let tools = tools!();
    let folder = Folder::new();
    let image =
        read(&link(&folder, &tools, Way { names: Names::Flat, kind: Kind::Bundle, ..Way::DYLIB }), None);
    let fixups = image.fixups().unwrap();
    let path = Paths::new(&image, &fixups).of(b"_puts").unwrap();
    // A lazy one for calls, and eight in data, one of which is two bytes before it.
    assert_eq!((path.stubs.len(), path.slots.len()), (1, 9));
    assert!(path.slots[0].is_lazy());
    let addends: Vec<i64> = path
        .slots
        .iter()
        .flat_map(|slot| &slot.records)
        .filter_map(|record| match record.action {
            Action::Bind { addend, .. } => Some(addend),
            Action::Rebase { .. } => None,
        })
        .collect();
    assert_eq!(addends.iter().filter(|addend| **addend == -2).count(), 1, "{addends:?}");
    assert!(Paths::new(&image, &fixups).of(b"_nobody").unwrap().slots.is_empty());
}
