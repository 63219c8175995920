//! Compressed relocation tables, and hash functions, by examples whose answers are known elsewhere.

use livepatch_object::address::LinkAddress;
use livepatch_object::loadable::Problem;
use livepatch_object::loadable::hash::{gnu_hash, sysv_hash};
use livepatch_object::loadable::machine::Class;
use livepatch_object::loadable::packed::{android, relr};
use livepatch_object::loadable::relocation::Entry;

/// Values that glibc's and binutils' tables have for these names.
#[test]
fn hash_functions() {
    let gnu = [("", 0x1505), ("printf", 0x156b_2bb8), ("exit", 0x7c96_7e3f), ("syscall", 0xbac2_12a0)];
    for (name, hash) in gnu {
        assert_eq!(gnu_hash(name.as_bytes()), hash, "{name}");
    }
    let sysv = [("", 0), ("printf", 0x0779_05a6), ("exit", 0x0006_cf04), ("syscall", 0x0b09_985c)];
    for (name, hash) in sysv {
        assert_eq!(sysv_hash(name.as_bytes()), hash, "{name}");
    }
    // The version names' hashes are written into files: GLIBC_2.2.5 is 0x09691a75 in all of them.
    assert_eq!(sysv_hash(b"GLIBC_2.2.5"), 0x0969_1a75);
}

/// The generic ABI: an address, then bitmaps for the words behind it, then an address again.
#[test]
fn relr_by_hand() {
    let words = [0x1000u64, 0b1011, 1 | (1 << 63), 0x8000];
    let table: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let found: Vec<u64> = relr(&table, Class::Elf64).map(|place| place.0).collect();
    // The first bitmap covers 0x1008 + 8i for bits 1..: bits 1 and 3; the second 63 words further on.
    assert_eq!(found, [0x1000, 0x1008, 0x1018, 0x1008 + 63 * 8 + 62 * 8, 0x8000]);
    let words = [0x1000u32, 0b111, 0x2000];
    let table: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let found: Vec<u64> = relr(&table, Class::Elf32).map(|place| place.0).collect();
    assert_eq!(found, [0x1000, 0x1004, 0x1008, 0x2000]);
}

fn unpack(table: &[u8]) -> Result<Vec<Entry>, Problem> {
    let mut entries = Vec::new();
    android(table, Class::Elf64, 1000, |entry| entries.push(entry))?;
    Ok(entries)
}

/// A group that shares all but the addends, and one that shares nothing.
#[test]
fn android_by_hand() {
    let mut table = b"APS2".to_vec();
    // Five entries, the first offset 0x1000 (0x80 0x20 in SLEB128).
    table.extend([5, 0x80, 0x20]);
    // Three by info and offset delta, with addends: delta 8, info 8 (RELATIVE).
    table.extend([3, 1 | 2 | 8, 8, 8, 0x10, 0x10, 0x70]);
    // Two with nothing shared and no addends: delta −8 (0x78), info 8; delta 16, info 7 with symbol 1 <<32.
    table.extend([2, 0, 0x78, 8, 16, 0x87, 0x80, 0x80, 0x80, 0x10]);
    let found: Vec<_> = unpack(&table)
        .unwrap()
        .into_iter()
        .map(|entry| (entry.place, entry.kind, entry.symbol, entry.addend))
        .collect();
    let place = LinkAddress;
    assert_eq!(
        found,
        [
            (place(0x1008), 8, 0, 0x10),
            (place(0x1010), 8, 0, 0x20),
            (place(0x1018), 8, 0, 0x10),
            (place(0x1010), 8, 0, 0),
            (place(0x1020), 7, 1, 0),
        ]
    );
}

#[test]
fn android_that_lies() {
    assert!(unpack(b"APS1").is_err());
    assert!(unpack(b"APS2").is_err());
    // More entries than there can be, in few bytes.
    let mut many = b"APS2".to_vec();
    many.extend([0xff, 0xff, 0xff, 0x07, 0, 0xff, 0xff, 0xff, 0x07, 3, 8, 8]);
    assert_eq!(unpack(&many), Err(Problem::BadPackedRelocations("there are more than words")));
    // A group that is larger than all entries, an empty one, and a number that never ends.
    assert!(unpack(&[b"APS2".as_slice(), &[2, 0, 3, 3, 8, 8]].concat()).is_err());
    assert!(unpack(&[b"APS2".as_slice(), &[2, 0, 0, 3, 8, 8]].concat()).is_err());
    assert!(unpack(&[b"APS2".as_slice(), &[0x80; 40]].concat()).is_err());
}
