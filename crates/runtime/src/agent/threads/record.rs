//! Records of threads: in chunks that are never unmapped, each claimed and given back with one atomic
//! change of its state.

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// No thread's.
const FREE: u32 = 0;
/// Of a thread that is being made.
const ANNOUNCED: u32 = 1;
/// Of a thread that has not run code of the program.
pub(super) const FRESH: u32 = 2;
/// Of a thread that runs.
pub(super) const LIVE: u32 = 4;
/// Added to the last two: the thread's block is being written, so the thread must not end.
const HELD: u32 = 8;

/// What is known of a thread. All zeros is a free one.
pub(crate) struct Record {
    state: AtomicU32,
    /// Destructor rounds that were.
    rounds: AtomicU32,
    id: AtomicU32,
    /// How often initial values had been changed when the thread's block was made.
    edits: AtomicU32,
    /// The thread pointer.
    pointer: AtomicU64,
    start: AtomicUsize,
    argument: AtomicUsize,
}

impl Record {
    const fn new() -> Self {
        Self {
            state: AtomicU32::new(FREE),
            rounds: AtomicU32::new(0),
            id: AtomicU32::new(0),
            edits: AtomicU32::new(0),
            pointer: AtomicU64::new(0),
            start: AtomicUsize::new(0),
            argument: AtomicUsize::new(0),
        }
    }

    pub(super) fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    fn claim(&self) -> bool {
        self.state.load(Ordering::Relaxed) == FREE
            && self.state.compare_exchange(FREE, ANNOUNCED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(super) fn announce(&self, start: usize, argument: usize, edits: u32) {
        self.rounds.store(0, Ordering::Relaxed);
        self.edits.store(edits, Ordering::Relaxed);
        self.start.store(start, Ordering::Relaxed);
        self.argument.store(argument, Ordering::Relaxed);
    }

    /// What the thread is to run, and its argument.
    pub(super) fn work(&self) -> (usize, usize) {
        (self.start.load(Ordering::Relaxed), self.argument.load(Ordering::Relaxed))
    }

    pub(super) fn edits(&self) -> u32 {
        self.edits.load(Ordering::Relaxed)
    }

    pub(super) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// The id of the thread, if it is registered.
    pub(super) fn registered(&self) -> Option<u32> {
        (self.state() & (FRESH | LIVE) != 0).then(|| self.id())
    }

    pub(super) fn register(&self, pointer: u64, id: u32) {
        self.pointer.store(pointer, Ordering::Relaxed);
        self.id.store(id, Ordering::Relaxed);
        // Before the number of edits is read: see `threads::each`.
        self.state.store(FRESH, Ordering::SeqCst);
    }

    /// The thread's block has the initial values after so many edits: it can run.
    pub(super) fn catch_up(&self, edits: u32) {
        self.edits.store(edits, Ordering::Relaxed);
        // From FRESH to LIVE, held or not.
        self.state.fetch_xor(FRESH | LIVE, Ordering::Release);
    }

    pub(super) fn count_round(&self) -> u32 {
        // The thread's own: nobody else changes it.
        self.rounds.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends the registration, unless the record is held.
    pub(super) fn leave(&'static self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let left = state & HELD == 0
            && self.state.compare_exchange(state, FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if left {
            LIKELY_FREE.store(std::ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        }
        left
    }

    /// Gives the record back, whatever it was.
    pub(super) fn free(&self) {
        self.state.store(FREE, Ordering::Release);
    }

    /// The thread has a new id, in a new process in which nobody holds its record.
    pub(super) fn continue_as(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
        self.state.fetch_and(!HELD, Ordering::AcqRel);
    }

    /// Keeps a registered thread from ending. There is one holder at a time: the agent's thread.
    pub(super) fn hold(&self) -> Option<Held<'_>> {
        let held = |state: u32| (state & (FRESH | LIVE) != 0).then_some(state | HELD);
        let before = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, held).ok()?;
        Some(Held { record: self, fresh: before & FRESH != 0 })
    }
}

/// A thread that cannot end: its thread-local block stays.
pub(crate) struct Held<'a> {
    record: &'a Record,
    fresh: bool,
}

impl Held<'_> {
    /// The thread's id.
    pub(crate) fn id(&self) -> u32 {
        self.record.id()
    }

    /// Its thread pointer.
    pub(crate) fn pointer(&self) -> u64 {
        self.record.pointer.load(Ordering::Relaxed)
    }

    /// Whether it has not run code of the program when it was held.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.record.state.fetch_and(!HELD, Ordering::Release);
    }
}

/// How many records take a page.
const RECORDS: usize = 100;

struct Chunk {
    records: [Record; RECORDS],
    next: AtomicPtr<Chunk>,
}

const _: () = assert!(size_of::<Chunk>() <= 4096);

static FIRST: Chunk =
    Chunk { records: [const { Record::new() }; RECORDS], next: AtomicPtr::new(std::ptr::null_mut()) };
/// A record that was free, or is beside one that was.
static LIKELY_FREE: AtomicPtr<Record> = AtomicPtr::new(std::ptr::null_mut());

fn chunks() -> impl Iterator<Item = &'static Chunk> {
    std::iter::successors(Some(&FIRST), |chunk| {
        // SAFETY: null, or a chunk that `grow` filled before it published it, and that is never unmapped.
        unsafe { chunk.next.load(Ordering::Acquire).as_ref() }
    })
}

/// All records there are.
pub(super) fn all() -> impl Iterator<Item = &'static Record> {
    chunks().flat_map(|chunk| &chunk.records)
}

/// A record that was free. None if there is no memory for more.
pub(super) fn claim() -> Option<&'static Record> {
    // SAFETY: null, or one of the records, which are never unmapped.
    let likely = unsafe { LIKELY_FREE.load(Ordering::Relaxed).as_ref() };
    if let Some(record) = likely.filter(|record| record.claim()) {
        return Some(record);
    }
    chunks().find_map(claim_in).or_else(|| claim_in(grow()?))
}

fn claim_in(chunk: &'static Chunk) -> Option<&'static Record> {
    let claimed = chunk.records.iter().position(Record::claim)?;
    if let Some(next) = chunk.records.get(claimed + 1) {
        LIKELY_FREE.store(std::ptr::from_ref(next).cast_mut(), Ordering::Relaxed);
    }
    Some(&chunk.records[claimed])
}

/// Another chunk. Mapped, not allocated: an allocator may be making a thread.
fn grow() -> Option<&'static Chunk> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping changes no memory that anyone uses.
    let pages = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Chunk>(), access, flags, -1, 0) };
    if pages == libc::MAP_FAILED {
        return None;
    }
    let chunk: *mut Chunk = pages.cast();
    // SAFETY: mapped above, page-aligned, long enough, never unmapped; all zeros is a chunk of free
    // records.
    let fresh: &'static Chunk = unsafe { &*chunk };
    let mut after = FIRST.next.load(Ordering::Acquire);
    loop {
        fresh.next.store(after, Ordering::Relaxed);
        match FIRST.next.compare_exchange(after, chunk, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(fresh),
            Err(now) => after = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn records_are_claimed_once() {
        let claimed = || (0..250).map(|_| std::ptr::from_ref(claim().expect("memory")) as usize).collect();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(claimed)).collect();
        let lists: Vec<Vec<usize>> = threads.into_iter().map(|thread| thread.join().expect("ends")).collect();
        let all: HashSet<usize> = lists.iter().flatten().copied().collect();
        assert_eq!(all.len(), 1000);
        let records = super::all().filter(|&record| all.contains(&(std::ptr::from_ref(record) as usize)));
        assert_eq!(records.map(Record::free).count(), 1000);
        assert!(chunks().count() <= 10 + 4);
    }

    #[test]
    fn a_held_record_is_not_left() {
        let record = claim().expect("memory");
        assert!(!record.claim());
        assert!(record.hold().is_none(), "announced only");
        record.register(0x1000, 7);
        let held = record.hold().expect("registered");
        assert!(held.is_fresh() && (held.id(), held.pointer()) == (7, 0x1000));
        assert!(!record.leave());
        record.catch_up(2);
        assert_eq!(record.state(), LIVE | HELD);
        drop(held);
        assert!(!record.hold().expect("registered").is_fresh());
        assert!(record.leave());
        assert!(record.hold().is_none());
    }
}
