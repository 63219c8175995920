//! Which memory of the process is free.

use livepatch_proto::WireRange;
use std::ops::Range;

/// Nothing below this is taken: Linux does not let a process map its first pages.
const LOWEST: u64 = 1 << 16;

/// The process's free memory, less what was handed out. Ranges are page-aligned, ascending and disjoint.
#[derive(Clone, Debug)]
pub(super) struct Space {
    page_size: u64,
    free: Vec<Range<u64>>,
    taken: Vec<Range<u64>>,
}

impl Space {
    pub(super) fn new(page_size: u64, free: &[WireRange]) -> Self {
        let mut space = Self { page_size, free: Vec::new(), taken: Vec::new() };
        space.refresh(free);
        space
    }

    /// Replaces what the process reported as free; ranges may come in any order and overlap.
    pub(super) fn refresh(&mut self, free: &[WireRange]) {
        let mask = self.page_size - 1;
        let inside = |range: &WireRange| {
            let start = range.start.0.max(LOWEST).checked_add(mask)? & !mask;
            let end = range.end.0 & !mask;
            (start < end).then_some(start..end)
        };
        let mut ranges: Vec<_> = free.iter().filter_map(inside).collect();
        ranges.sort_by_key(|range| range.start);
        self.free.clear();
        for range in ranges {
            match self.free.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => self.free.push(range),
            }
        }
        for range in self.taken.clone() {
            self.cut(&range);
        }
    }

    /// Whether all of `range` is free.
    pub(super) fn has(&self, range: &Range<u64>) -> bool {
        let after = self.free.partition_point(|free| free.end <= range.start);
        self.free.get(after).is_some_and(|free| free.start <= range.start && range.end <= free.end)
    }

    /// Whether any of `range` is free.
    pub(super) fn touches(&self, range: &Range<u64>) -> bool {
        let after = self.free.partition_point(|free| free.end <= range.start);
        self.free.get(after).is_some_and(|free| free.start < range.end)
    }

    /// What was handed out.
    pub(super) fn taken(&self) -> impl Iterator<Item = &Range<u64>> {
        self.taken.iter()
    }

    /// Hands `range` out, with the rest of the pages it is in.
    pub(super) fn take(&mut self, range: Range<u64>) {
        let mask = self.page_size - 1;
        let range = range.start & !mask..range.end.saturating_add(mask) & !mask;
        self.cut(&range);
        let place = self.taken.partition_point(|taken| taken.start < range.start);
        self.taken.insert(place, range);
        self.join(place);
    }

    /// The highest multiple of `align` (a power of two) inside `bounds` with `length` free bytes.
    pub(super) fn highest(&self, length: u64, align: u64, bounds: Range<u64>) -> Option<u64> {
        self.free.iter().rev().find_map(|free| {
            let start = free.start.max(bounds.start);
            let at = free.end.min(bounds.end).checked_sub(length)? & !(align - 1);
            (at >= start).then_some(at)
        })
    }

    /// The lowest multiple of `align` (a power of two) inside `bounds` with `length` free bytes.
    pub(super) fn lowest(&self, length: u64, align: u64, bounds: Range<u64>) -> Option<u64> {
        self.free.iter().find_map(|free| {
            let at = free.start.max(bounds.start).checked_add(align - 1)? & !(align - 1);
            (at.checked_add(length)? <= free.end.min(bounds.end)).then_some(at)
        })
    }

    fn cut(&mut self, range: &Range<u64>) {
        let first = self.free.partition_point(|free| free.end <= range.start);
        let behind = self.free.partition_point(|free| free.start < range.end);
        if first >= behind {
            return;
        }
        let left = self.free[first].start..range.start;
        let right = range.end..self.free[behind - 1].end;
        self.free.splice(first..behind, [left, right].into_iter().filter(|rest| rest.start < rest.end));
    }

    /// Joins a taken range with its neighbours.
    fn join(&mut self, place: usize) {
        if self.taken.get(place + 1).is_some_and(|next| next.start <= self.taken[place].end) {
            self.taken[place].end = self.taken[place].end.max(self.taken.remove(place + 1).end);
        }
        if place > 0 && self.taken[place - 1].end >= self.taken[place].start {
            self.taken[place - 1].end = self.taken[place - 1].end.max(self.taken.remove(place).end);
        }
    }
}
