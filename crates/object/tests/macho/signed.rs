//! arm64e: signed pointers, in chains and in the threaded opcodes that came before them.
//!
//! Nothing that is installed writes them: images for arm64 are rewritten here, bit fields as `<mach-o/fixup-chains.h>`
//! has them, and must come to the same slots, targets, imports and addends as before, with the signatures written.

use crate::build::{Folder, Kind, Way, link, read, tools};
use crate::older::{commands, get, put};
use bytes::Bytes;
use livepatch_object::macho::chained::{Pointer, PointerFormat};
use livepatch_object::macho::fixup::Auth;
use livepatch_object::macho::{
    Action, Architecture, Fixup, Fixups, Format, Image, Import, Ordinal, Slice, Table,
};
use std::collections::{BTreeMap, BTreeSet};

const SUBTYPE: u32 = 2;
const CHAINED_FIXUPS: u32 = 0x8000_0034;
const DYLD_INFO: u32 = 0x8000_0022;
const SEGMENT: u32 = 0x19;
/// `next` has eleven bits and counts in eight bytes.
const FARTHEST: u64 = 0x7ff * 8;

/// Executables are not at address 0: offsets and addresses are not the same.
fn original(folder: &Folder, chained: bool) -> Option<Image> {
    let tools = crate::build::Tools::find().ok()?;
    if chained && !tools.chains {
        return None;
    }
    let way = Way { architecture: "arm64", chained, kind: Kind::Executable, ..Way::DYLIB };
    Some(read(&link(folder, &tools, way), None))
}

fn signature(number: usize) -> Option<Auth> {
    let auth = Auth {
        key: (number % 4) as u8,
        diversity: 0x1000 + number as u16,
        with_address: number.is_multiple_of(2),
    };
    number.is_multiple_of(3).then_some(auth)
}

/// A pointer of a format for arm64e. What has an addend cannot be signed.
fn encode(format: PointerFormat, pointer: Pointer, auth: Option<Auth>, next: u64, base: u64) -> u64 {
    let signed = |auth: Auth| {
        1 << 63
            | u64::from(auth.key) << 49
            | u64::from(auth.with_address) << 48
            | u64::from(auth.diversity) << 32
    };
    let next = (next / 8) << 51;
    match (pointer, auth) {
        (Pointer::Bind { import, addend: 0, .. }, Some(auth)) => {
            u64::from(import) | signed(auth) | 1 << 62 | next
        }
        (Pointer::Bind { import, addend, .. }, _) => {
            u64::from(import) | (addend.cast_unsigned() & 0x7_ffff) << 32 | 1 << 62 | next
        }
        // Signed ones are offsets in every format.
        (Pointer::Rebase { target, .. }, Some(auth)) => (target - base) | signed(auth) | next,
        (Pointer::Rebase { target, .. }, None) => {
            let is_offset = format != PointerFormat::Arm64e;
            (if is_offset { target - base } else { target }) | next
        }
    }
}

/// What is done to which slot, and how it is signed.
fn done(fixups: &Fixups, without: &BTreeSet<u64>) -> BTreeMap<u64, (String, Option<Auth>)> {
    let what = |record: &Fixup| match record.action {
        Action::Rebase { target, auth, .. } => (format!("rebase {target}"), auth),
        Action::Bind { addend, auth, .. } => {
            (format!("bind {:?} {addend}", fixups.import_of(record).unwrap()), auth)
        }
    };
    let all = fixups.records.iter().filter(|record| !without.contains(&record.slot.address.0));
    all.map(|record| (record.slot.address.0, what(record))).collect()
}

fn slice(mut bytes: Vec<u8>) -> Slice {
    put(&mut bytes, 8, SUBTYPE);
    Slice { architecture: Architecture::Arm64e, offset: Default::default(), bytes: bytes.into() }
}

fn write(bytes: &mut [u8], record: &Fixup, raw: u64) {
    let at = record.slot.offset.0 as usize;
    bytes[at..at + 8].copy_from_slice(&raw.to_le_bytes());
}

#[test]
fn signed_chains_come_to_the_same_as_others() {
    let folder = Folder::new();
    let Some(image) = original(&folder, true) else {
        return println!("skipped: chains cannot be linked here");
    };
    let before = image.fixups().unwrap();
    let Format::Chained(formats) = &before.format else { panic!("{:?}", before.format) };
    let [old] = formats[..] else { panic!("{formats:?}") };
    let base = image.base().0;
    for (number, format) in [
        (1, PointerFormat::Arm64e),
        (9, PointerFormat::Arm64eUserland),
        (12, PointerFormat::Arm64eUserland24),
    ] {
        let mut bytes = image.bytes().to_vec();
        set_format(&mut bytes, number);
        let mut expected = done(&before, &BTreeSet::new());
        for (index, record) in before.records.iter().enumerate() {
            let at = record.slot.offset.0 as usize;
            let raw = u64::from_le_bytes(image.bytes()[at..at + 8].try_into().unwrap());
            let (pointer, next) = old.decode(raw);
            // Targets as addresses, whatever the old format counts from.
            let pointer = match (pointer, record.action) {
                (Pointer::Rebase { high8, auth, .. }, Action::Rebase { target, .. }) => {
                    Pointer::Rebase { target: target.0, high8, auth }
                }
                (pointer, _) => pointer,
            };
            let auth = signature(index).filter(|_| !matches!(pointer, Pointer::Bind { addend: 1.., .. }));
            write(&mut bytes, record, encode(format, pointer, auth, next, base));
            expected.get_mut(&record.slot.address.0).unwrap().1 = auth;
        }
        let signed = Image::read(&slice(bytes)).unwrap();
        assert_eq!(signed.header.architecture, Architecture::Arm64e);
        let after = signed.fixups().unwrap();
        assert_eq!(after.format, Format::Chained(vec![format]));
        assert_eq!(done(&after, &BTreeSet::new()), expected, "{format:?}");
        assert!(expected.values().filter(|(_, auth)| auth.is_some()).count() > 5);
    }
}

/// Changes the format of all segments' pointers (`dyld_chained_starts_in_segment`).
fn set_format(bytes: &mut [u8], format: u16) {
    let command = commands(bytes).into_iter().find(|at| get(bytes, *at) == CHAINED_FIXUPS).unwrap();
    let table = get(bytes, command + 8) as usize;
    let starts = table + get(bytes, table + 4) as usize;
    for segment in 0..get(bytes, starts) as usize {
        let offset = get(bytes, starts + 4 + segment * 4) as usize;
        if offset != 0 {
            let at = starts + offset + 6;
            bytes[at..at + 2].copy_from_slice(&format.to_le_bytes());
        }
    }
}

fn uleb(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The opcodes of one import of a threaded table: its library, its name, its addend, and that it is one.
fn import_opcodes(import: &Import, addend: i64, out: &mut Vec<u8>) {
    match import.ordinal {
        Ordinal::Library(number) => out.push(0x10 | number as u8),
        other => out.push(0x30 | (other.number() as u8 & 0xf)),
    }
    out.push(0x40 | u8::from(import.weak_import));
    out.extend(&import.symbol[..]);
    // The name's end; pointers; the addend, of seven bits with a sign; DO_BIND.
    out.extend([0, 0x51, 0x60, addend as u8 & 0x7f, 0x90]);
}

#[test]
fn threaded_opcodes_come_to_the_same_as_others() {
    let _ = tools!();
    let folder = Folder::new();
    let Some(image) = original(&folder, false) else { return };
    let before = image.fixups().unwrap();
    let is_threaded = |record: &&Fixup| matches!(record.table, Table::Rebase | Table::Bind);
    let others: BTreeSet<u64> = before
        .records
        .iter()
        .filter(|record| !is_threaded(record))
        .map(|record| record.slot.address.0)
        .collect();
    let mut records: Vec<&Fixup> = before
        .records
        .iter()
        .filter(|record| is_threaded(record) && !others.contains(&record.slot.address.0))
        .collect();
    records.sort_by_key(|record| record.slot.address);
    let mut bytes = image.bytes().to_vec();
    let mut expected = done(&before, &others);
    let (mut table, mut chains, mut count) = (Vec::new(), Vec::new(), 0);
    for (index, record) in records.iter().enumerate() {
        let pointer = match record.action {
            Action::Rebase { target, .. } => Pointer::Rebase { target: target.0, high8: 0, auth: None },
            Action::Bind { addend, .. } => {
                import_opcodes(before.import_of(record).unwrap(), addend, &mut table);
                count += 1;
                // The addend is the import's.
                Pointer::Bind { import: count - 1, addend: 0, auth: None }
            }
        };
        let distance = |a: &Fixup, b: &Fixup| b.slot.address.0 - a.slot.address.0;
        let follows = |a: &Fixup, b: &Fixup| a.slot.segment == b.slot.segment && distance(a, b) <= FARTHEST;
        let next = records.get(index + 1).filter(|next| follows(record, next));
        let next = next.map_or(0, |next| distance(record, next));
        let auth = signature(index);
        write(&mut bytes, record, encode(PointerFormat::Arm64e, pointer, auth, next, image.base().0));
        expected.get_mut(&record.slot.address.0).unwrap().1 = auth;
        if index == 0 || !follows(records[index - 1], record) {
            let segment = image.segments.get(record.slot.segment).unwrap();
            chains.push(0x70 | record.slot.segment.0 as u8);
            uleb(record.slot.address.0 - segment.address.0, &mut chains);
            chains.push(0xd1);
        }
    }
    let mut opcodes = vec![0xd0];
    uleb(count.into(), &mut opcodes);
    opcodes.extend([table, chains].concat());
    bind_with(&mut bytes, &opcodes);
    let threaded = Image::read(&slice(bytes)).unwrap();
    let after = threaded.fixups().unwrap();
    assert_eq!(after.format, Format::DyldInfo);
    assert_eq!(done(&after, &others), expected);
    assert!(count > 5 && expected.values().filter(|(_, auth)| auth.is_some()).count() > 5);
}

/// Puts other bind opcodes behind everything, and takes out those that rebase.
fn bind_with(bytes: &mut Vec<u8>, opcodes: &[u8]) {
    let end = bytes.len() as u32;
    bytes.extend(opcodes);
    let all = commands(bytes);
    let info = all.iter().find(|at| get(bytes, **at) == DYLD_INFO).copied().unwrap();
    put(bytes, info + 12, 0);
    put(bytes, info + 16, end);
    put(bytes, info + 20, opcodes.len() as u32);
    let linkedit = all.iter().rfind(|at| get(bytes, **at) == SEGMENT).copied().unwrap();
    let size = bytes.len() as u32 - get(bytes, linkedit + 40);
    put(bytes, linkedit + 48, size);
    put(bytes, linkedit + 32, size.next_multiple_of(0x4000));
}

/// The last pointer of a page must say so: a chain that goes on into nothing is refused.
#[test]
fn a_chain_that_leaves_its_page_is_refused() {
    let folder = Folder::new();
    let Some(image) = original(&folder, true) else {
        return println!("skipped: chains cannot be linked here");
    };
    let fixups = image.fixups().unwrap();
    let last = fixups.records.last().unwrap();
    let at = last.slot.offset.0 as usize;
    let mut bytes = image.bytes().to_vec();
    // `next` of the format for 64-bit pointers: twelve bits from 51 on.
    let raw = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) | 0xfff << 51;
    bytes[at..at + 8].copy_from_slice(&raw.to_le_bytes());
    let slice = Slice {
        architecture: image.header.architecture,
        offset: Default::default(),
        bytes: Bytes::from(bytes),
    };
    let problem = Image::read(&slice).unwrap().fixups().unwrap_err();
    assert!(problem.to_string().contains("a chain that leaves its page"), "{problem}");
}
