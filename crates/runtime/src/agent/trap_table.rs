//! Where threads go on that trap: read inside a signal handler, so without locks or allocation.
//!
//! Open addressing, never more than half full. One writer (the agent's thread) adds entries; a table
//! that would become too full is replaced by a larger one and leaked, since a handler may be reading it.

use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Where a thread goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Continuation {
    /// At that address.
    Address(u64),
    /// Where that slot points.
    Slot(u64),
}

/// Addresses are below 2^47, so the top bit is free to tell slots from addresses.
const SLOT: u64 = 1 << 63;

impl Continuation {
    fn pack(entry: Option<Self>) -> u64 {
        match entry {
            None => 0,
            Some(Self::Address(address)) => address,
            Some(Self::Slot(slot)) => slot | SLOT,
        }
    }

    fn unpack(value: u64) -> Option<Self> {
        match value {
            0 => None,
            slot if slot & SLOT != 0 => Some(Self::Slot(slot & !SLOT)),
            address => Some(Self::Address(address)),
        }
    }
}

#[derive(Default)]
struct Entry {
    /// The address of the trapping instruction; 0 where there is none yet.
    at: AtomicU64,
    value: AtomicU64,
}

struct Table {
    entries: Box<[Entry]>,
    used: AtomicUsize,
}

impl Table {
    fn with_capacity(capacity: usize) -> Self {
        let entries = std::iter::repeat_with(Entry::default).take(capacity.next_power_of_two());
        Self { entries: entries.collect(), used: AtomicUsize::new(0) }
    }

    /// The entry of `at`, or the empty one where it belongs.
    fn find(&self, at: u64) -> Option<&Entry> {
        let hash = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mask = self.entries.len() - 1;
        (0..self.entries.len()).map(|step| &self.entries[(hash as usize + step) & mask]).find(|entry| {
            matches!(entry.at.load(Ordering::Acquire), 0) || entry.at.load(Ordering::Relaxed) == at
        })
    }

    fn set(&self, at: u64, value: u64) -> u64 {
        let Some(entry) = self.find(at) else { return 0 };
        let old = entry.value.swap(value, Ordering::AcqRel);
        if entry.at.load(Ordering::Relaxed) == 0 {
            // Only now can a reader find the value.
            entry.at.store(at, Ordering::Release);
            self.used.fetch_add(1, Ordering::Relaxed);
        }
        old
    }
}

/// The table. Readers may be anywhere; all writing is the agent's thread's.
pub(crate) struct TrapTable {
    current: AtomicPtr<Table>,
}

/// The process's table.
pub(crate) static TRAPS: TrapTable = TrapTable::new();

impl TrapTable {
    pub(crate) const fn new() -> Self {
        Self { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn current(&self) -> Option<&'static Table> {
        // SAFETY: the pointer is null or a leaked box that `reserve` published with Release.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }
    }

    /// Where the thread that trapped at `at` goes on. Async-signal-safe.
    pub(crate) fn lookup(&self, at: u64) -> Option<Continuation> {
        let entry = self.current()?.find(at)?;
        if entry.at.load(Ordering::Acquire) != at {
            return None;
        }
        Continuation::unpack(entry.value.load(Ordering::Acquire))
    }

    /// Sets where threads go on that trap at `at`; None takes it back (of a patch that did not go
    /// live). Returns what was there before.
    pub(crate) fn set(&self, at: u64, to: Option<Continuation>) -> Option<Continuation> {
        self.reserve(1);
        self.current().and_then(|table| Continuation::unpack(table.set(at, Continuation::pack(to))))
    }

    /// Makes room for `more` entries, so that adding them moves the table at most once.
    pub(crate) fn reserve(&self, more: usize) {
        let old = self.current();
        let used = old.map_or(0, |table| table.used.load(Ordering::Relaxed));
        let need = (used + more) * 2;
        if old.is_some_and(|table| table.entries.len() >= need) {
            return;
        }
        let table = Table::with_capacity(need.max(old.map_or(256, |table| table.entries.len() * 2)));
        for entry in old.into_iter().flat_map(|table| &table.entries) {
            let (at, value) = (entry.at.load(Ordering::Relaxed), entry.value.load(Ordering::Relaxed));
            if at != 0 && value != 0 {
                table.set(at, value);
            }
        }
        self.current.store(Box::into_raw(Box::new(table)), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_growth_and_can_be_taken_back() {
        let table = TrapTable::new();
        assert_eq!(table.lookup(0x1000), None);
        for i in 0..5000u64 {
            let slot = i % 2 == 0;
            let to = if slot { Continuation::Slot(i * 8 + 8) } else { Continuation::Address(i + 1) };
            assert_eq!(table.set(0x1000 + i, Some(to)), None);
        }
        assert_eq!(table.lookup(0x1000), Some(Continuation::Slot(8)));
        assert_eq!(table.lookup(0x1001), Some(Continuation::Address(2)));
        assert_eq!(table.lookup(0x1000 + 5000), None);
        assert_eq!(table.set(0x1000, None), Some(Continuation::Slot(8)));
        assert_eq!(table.lookup(0x1000), None);
    }

    #[test]
    fn readers_never_see_half_an_entry() {
        static TABLE: TrapTable = TrapTable::new();
        let reader = std::thread::spawn(|| {
            let mut seen = 0;
            while seen < 20_000 {
                seen = (1..=20_000)
                    .filter(|&at| match TABLE.lookup(at) {
                        None => false,
                        Some(to) => {
                            assert_eq!(to, Continuation::Address(at * 2));
                            true
                        }
                    })
                    .count();
            }
        });
        for at in 1..=20_000 {
            TABLE.set(at, Some(Continuation::Address(at * 2)));
        }
        reader.join().expect("the reader found no half entry");
    }
}
