//! Images without `LC_DYLD_INFO` and without chains, as linkers wrote them before 2009, and Go's does.
//!
//! Nothing that is installed writes them with relocation entries: an image with opcodes is rewritten here, and both
//! must come to the same.

use crate::build::{Folder, Names, Way, link, read, tools};
use bytes::Bytes;
use livepatch_object::macho::{Action, Fixup, Fixups, Format, Image, Ordinal, Slice, Table};
use std::collections::BTreeSet;

/// `LC_DYLD_INFO_ONLY` and a command that nobody minds: `LC_SOURCE_VERSION`.
const DYLD_INFO: u32 = 0x8000_0022;
const SOURCE_VERSION: u32 = 0x2a;
const DYSYMTAB: u32 = 0xb;
const SEGMENT: u32 = 0x19;

pub(crate) fn get(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Where each load command is.
pub(crate) fn commands(bytes: &[u8]) -> Vec<usize> {
    let mut at = 32;
    let mut all = Vec::new();
    for _ in 0..get(bytes, 16) {
        all.push(at);
        at += get(bytes, at + 4) as usize;
    }
    all
}

/// The same image with relocation entries in place of opcodes. Weak binds are left out: such images have none.
pub(crate) fn rewritten(image: &Image) -> Vec<u8> {
    let fixups = image.fixups().unwrap();
    let mut bytes = image.bytes().to_vec();
    let (local, external) = entries(image, &fixups, &mut bytes);
    let all = commands(&bytes);
    let end = bytes.len();
    for at in &all {
        match get(&bytes, *at) {
            DYLD_INFO => put(&mut bytes, *at, SOURCE_VERSION),
            DYSYMTAB => {
                put(&mut bytes, at + 64, end as u32);
                put(&mut bytes, at + 68, (external.len() / 8) as u32);
                put(&mut bytes, at + 72, (end + external.len()) as u32);
                put(&mut bytes, at + 76, (local.len() / 8) as u32);
            }
            _ => {}
        }
    }
    bytes.extend(external);
    bytes.extend(local);
    // The last segment has them, too.
    let linkedit = all.iter().rfind(|at| get(&bytes, **at) == SEGMENT).copied().unwrap();
    let offset = get(&bytes, linkedit + 40) as usize;
    let size = (bytes.len() - offset) as u32;
    put(&mut bytes, linkedit + 48, size);
    put(&mut bytes, linkedit + 32, size.next_multiple_of(0x1000));
    bytes
}

/// Local and external entries of all slots that have no indirect symbol. Addends of external ones are in the slots.
fn entries(image: &Image, fixups: &Fixups, bytes: &mut [u8]) -> (Vec<u8>, Vec<u8>) {
    let origin = image.segments.iter().find(|segment| segment.initial.write()).unwrap().address;
    let (mut local, mut external) = (Vec::new(), Vec::new());
    let bound = slots(fixups, |record| matches!(record.action, Action::Bind { .. }));
    for record in &fixups.records {
        let section = record.slot.section.and_then(|id| image.segments.section(id)).unwrap();
        // Pointers to imports, lazy or not.
        let is_bound = matches!(record.action, Action::Bind { .. });
        let is_kept = is_bound || !bound.contains(&record.slot.address.0);
        if matches!(section.kind(), 6 | 7 | 0x14) || record.table == Table::WeakBind || !is_kept {
            continue;
        }
        let address = u32::try_from(record.slot.address.0 - origin.0).unwrap();
        // A pointer of 2³ bytes: X86_64_RELOC_UNSIGNED is 0.
        const LENGTH: u32 = 3 << 25;
        const EXTERNAL: u32 = 1 << 27;
        let (table, bits) = match record.action {
            Action::Rebase { .. } => (&mut local, LENGTH | (u32::from(section.segment.0) + 1)),
            Action::Bind { addend, .. } => {
                let import = fixups.import_of(record).unwrap();
                let is_it = |index: &u32| {
                    let symbol = image.symbols.get(*index).unwrap();
                    image.symbols.name(&symbol).is_some_and(|name| name == import.symbol)
                };
                let index = (0..image.symbols.len()).find(is_it).expect("a symbol");
                let at = record.slot.offset.0 as usize;
                bytes[at..at + 8].copy_from_slice(&addend.to_le_bytes());
                (&mut external, LENGTH | EXTERNAL | index)
            }
        };
        table.extend(address.to_le_bytes());
        table.extend(bits.to_le_bytes());
    }
    (local, external)
}

/// Slots that another table says something about, too: weakly bound ones, and those that are bound when the image is
/// loaded, whose contents before do not matter.
fn slots(fixups: &Fixups, is: fn(&Fixup) -> bool) -> BTreeSet<u64> {
    fixups.records.iter().filter(|record| is(record)).map(|record| record.slot.address.0).collect()
}

/// What is done to which slot, whatever says so.
fn done(fixups: &Fixups, without: &BTreeSet<u64>) -> BTreeSet<(u64, String)> {
    let is_bind = |record: &Fixup| matches!(record.action, Action::Bind { .. });
    let bound =
        slots(fixups, |record| matches!(record.action, Action::Bind { .. }) && !record.table.is_lazy());
    let what = |record: &Fixup| match record.action {
        Action::Rebase { target, .. } => format!("rebase {target}"),
        Action::Bind { addend, .. } => format!("bind {:?} {addend}", fixups.import_of(record).unwrap()),
    };
    let counts = fixups.records.iter().filter(|record| {
        let slot = record.slot.address.0;
        !without.contains(&slot) && (is_bind(record) || !bound.contains(&slot))
    });
    counts.map(|record| (record.slot.address.0, what(record))).collect()
}

#[test]
fn relocation_entries_come_to_the_same_as_opcodes() {
    let tools = tools!();
    let folder = Folder::new();
    for way in Way::all().into_iter().filter(|way| !way.chained) {
        let names = way.names;
        let image = read(&link(&folder, &tools, way), None);
        let before = image.fixups().unwrap();
        assert_eq!(before.format, Format::DyldInfo);
        let bytes = Bytes::from(rewritten(&image));
        let slice = Slice { architecture: image.header.architecture, offset: Default::default(), bytes };
        let older = Image::read(&slice).unwrap();
        let after = older.fixups().unwrap();
        assert_eq!(after.format, Format::Relocations);
        let weak = slots(&before, |record| record.table == Table::WeakBind);
        assert_eq!(done(&after, &weak), done(&before, &weak), "{way:?}");
        // Without a trie, exports are the symbol table's.
        let of = |image: &Image| {
            let mut names: Vec<_> = image.exports().unwrap().all().unwrap();
            names.sort();
            names
        };
        let (with_trie, without) = (of(&image), of(&older));
        assert_eq!(with_trie, without, "{way:?}");
        // A weak definition is found in this image.
        let weakling = after.imports.iter().find(|import| &import.symbol[..] == b"_weakling").unwrap();
        let expected = if names == Names::Flat { Ordinal::FlatLookup } else { Ordinal::ThisImage };
        assert_eq!(weakling.ordinal, expected);
    }
}
