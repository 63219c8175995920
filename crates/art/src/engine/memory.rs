//! Records in the memory of this process.

use crate::layout::{Field, Layout, Place};
use crate::record::Record;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Where a record is. Only the runtime says that, and records stay where they are (6.0 and later).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordAddress(usize);

impl RecordAddress {
    /// What the runtime says; none if no record can be there.
    pub(super) fn new(address: usize) -> Option<Self> {
        let plausible = address >= 0x1000 && address.is_multiple_of(align_of::<usize>());
        plausible.then_some(Self(address))
    }

    /// As a number.
    pub fn as_usize(self) -> usize {
        self.0
    }

    /// Its words of 32 bits, which are what records consist of: sizes and offsets are multiples of that, or halves.
    fn words(self, layout: &Layout) -> &'static [AtomicU32] {
        let pointer = std::ptr::with_exposed_provenance(self.0);
        // SAFETY: the address is the runtime's, of a method of a class that is kept (`Method::class` is a global
        // reference), whose records are never freed or moved; that they are this long was measured before any record
        // is touched (`Engine::start`). Other threads read them while they are written, word by word.
        unsafe { std::slice::from_raw_parts(pointer, layout.size() / 4) }
    }
}

/// A record's bytes.
pub(super) fn read(address: RecordAddress, layout: Layout) -> Record {
    let words = address.words(&layout).iter();
    let bytes = words.flat_map(|word| word.load(Ordering::Acquire).to_le_bytes()).collect();
    match Record::new(layout, bytes) {
        Ok(record) => record,
        Err(_) => unreachable!("as many words as the layout says"),
    }
}

/// Gives a record these bytes. Words that stay the same are not written: the class that the collector may be updating
/// is only touched where it becomes another one.
pub(super) fn write(address: RecordAddress, record: &Record) {
    let words = address.words(record.layout()).iter();
    for (word, bytes) in words.zip(record.bytes().chunks_exact(4)) {
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        if word.load(Ordering::Acquire) != value {
            word.store(value, Ordering::Release);
        }
    }
}

/// Clears some of a record's flags and sets others, without touching what the runtime does to the rest meanwhile.
pub(super) fn change_flags(address: RecordAddress, layout: &Layout, clear: u32, set: u32) {
    let place = layout.place(Field::AccessFlags);
    if let Some(word) = place.and_then(|place| address.words(layout).get(place.offset / 4)) {
        word.fetch_and(!clear, Ordering::AcqRel);
        word.fetch_or(set, Ordering::AcqRel);
    }
}

/// Where a record has the entry for compiled callers, which calls go through.
fn entry(address: RecordAddress, place: Place) -> &'static AtomicUsize {
    let pointer = std::ptr::with_exposed_provenance(address.0 + place.offset);
    // SAFETY: as with `words`: the layout has this pointer within the record's length, at a multiple of its size.
    unsafe { &*pointer }
}

/// A record's entry.
pub(super) fn read_entry(address: RecordAddress, place: Place) -> usize {
    entry(address, place).load(Ordering::Acquire)
}

/// Gives a record another entry, at once: callers go to one or to the other.
pub(super) fn write_entry(address: RecordAddress, place: Place, value: usize) {
    entry(address, place).store(value, Ordering::Release);
}

/// Where a field's record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FieldAddress(usize);

impl FieldAddress {
    /// What the runtime says; none if no record can be there, as with ids that are opaque.
    pub(super) fn new(address: usize) -> Option<Self> {
        let plausible = address >= 0x1000 && address.is_multiple_of(align_of::<u32>());
        plausible.then_some(Self(address))
    }

    /// Its four words: class, flags, index, offset.
    fn words(self) -> &'static [AtomicU32; 4] {
        let pointer = std::ptr::with_exposed_provenance::<[AtomicU32; 4]>(self.0);
        // SAFETY: an even id is the address of the field's record, in runtimes of 6.0 and later; records have these
        // four words and stay as long as their class, which whoever asks has a reference to.
        unsafe { &*pointer }
    }
}

/// A field's record.
pub(super) fn read_field(address: FieldAddress) -> [u32; 4] {
    [0, 1, 2, 3].map(|nth| address.words()[nth].load(Ordering::Acquire))
}

/// Sets the flags in a field's record.
pub(super) fn write_field_flags(address: FieldAddress, flags: u32) {
    address.words()[1].store(flags, Ordering::Release);
}
