//! The pages of islands, and which of their bytes are in use.

use crate::islands::space::Space;
use livepatch_object::entry::x86_64::pun::{Boundaries, Opcodes};
use livepatch_proto::{IslandPage, WireAddress};
use rustc_hash::FxHashMap;
use std::ops::{Range, RangeInclusive};

/// Whether a branch between these addresses stays in one region of 4 GiB. One that does not costs about three
/// cycles more each time: branch predictors keep the lower half of a target.
pub(super) fn same_region(one: u64, other: u64) -> bool {
    one >> 32 == other >> 32
}

/// For islands that may begin anywhere in a cache line.
pub(super) const ANYWHERE: u64 = u64::MAX;

/// An island that is looking for a place.
pub(super) struct Wanted {
    /// What the jump's displacement counts from.
    pub(super) from: u64,
    /// Which of the displacement's bytes have to trap.
    pub(super) boundaries: Boundaries,
    /// What may stand there.
    pub(super) opcodes: Opcodes,
    /// The island's length, in bytes (at most 64).
    pub(super) length: u64,
    /// The offsets in a cache line (64 bytes) at which it may begin, one bit for each.
    pub(super) starts: u64,
}

impl Wanted {
    /// Whether any page can have it: where its jump's lowest byte traps, that byte says where in a line it is.
    fn is_possible(&self) -> bool {
        let mut lowest = self.choices(0).iter();
        lowest.any(|&low| self.may_begin_at(self.from.wrapping_add(low.into())))
    }

    /// The bytes that may be the displacement's byte number `index`.
    fn choices(&self, index: usize) -> &'static [u8] {
        self.boundaries.choices(index, self.opcodes)
    }

    fn may_begin_at(&self, at: u64) -> bool {
        self.starts & 1 << (at % 64) != 0
    }
}

/// The pages that islands are in.
#[derive(Clone, Debug)]
pub(super) struct Code {
    page_size: u64,
    pages: Vec<Page>,
    /// For functions of each kind, the page where the last one found a place: a good place to begin.
    recent: FxHashMap<Boundaries, usize>,
}

impl Code {
    pub(super) fn new(page_size: u64) -> Self {
        Self { page_size, pages: Vec::new(), recent: FxHashMap::default() }
    }

    /// Finds a place in the pages there are, or opens another, which is added to `unsent`.
    pub(super) fn take(
        &mut self,
        wanted: &Wanted,
        space: &mut Space,
        unsent: &mut Vec<IslandPage>,
    ) -> Option<u64> {
        if !wanted.is_possible() {
            return None;
        }
        if let Some((index, at)) = self.place(wanted) {
            self.pages[index].take(at, wanted.length);
            self.recent.insert(wanted.boundaries, index);
            return Some(at);
        }
        let mut page = self.open(wanted, space)?;
        let at = page.place(wanted)?;
        page.take(at, wanted.length);
        space.take(page.start..page.start + self.page_size);
        unsent.push(IslandPage { start: WireAddress(page.start), length: self.page_size, code: 1 });
        self.recent.insert(wanted.boundaries, self.pages.len());
        self.pages.push(page);
        Some(at)
    }

    /// A place in the pages there are.
    fn place(&self, wanted: &Wanted) -> Option<(usize, u64)> {
        let recent = self.recent.get(&wanted.boundaries).copied();
        recent
            .into_iter()
            .chain(0..self.pages.len())
            .find_map(|index| Some((index, self.pages[index].place(wanted)?)))
    }

    /// A free page that has a place for `wanted`, in the jump's own region if possible.
    fn open(&self, wanted: &Wanted, space: &Space) -> Option<Page> {
        self.open_where(wanted, space, |start| same_region(start, wanted.from))
            .or_else(|| self.open_where(wanted, space, |_| true))
    }

    fn open_where(&self, wanted: &Wanted, space: &Space, good: impl Fn(u64) -> bool) -> Option<Page> {
        for &top in wanted.choices(3) {
            for &high in wanted.choices(2) {
                let base = i64::from(i32::from_le_bytes([0, 0, high, top]));
                let Some(start) = wanted.from.checked_add_signed(base) else { continue };
                if !good(start) || !space.touches(&(start..start.saturating_add(1 << 16))) {
                    continue;
                }
                for &middle in wanted.choices(1) {
                    let page = (start + (u64::from(middle) << 8)) & !(self.page_size - 1);
                    // The 256 bytes may begin in one page and end in the next.
                    for page in [page, page + self.page_size] {
                        let page = Page::new(page, self.page_size);
                        if space.has(&page.range()) && page.place(wanted).is_some() {
                            return Some(page);
                        }
                    }
                }
            }
        }
        None
    }
}

/// A page of islands; one bit per byte that is in use.
#[derive(Clone, Debug)]
struct Page {
    start: u64,
    used: Vec<u64>,
    free: u64,
}

impl Page {
    fn new(start: u64, page_size: u64) -> Self {
        Self { start, used: vec![0; (page_size / 64) as usize], free: page_size }
    }

    fn range(&self) -> Range<u64> {
        self.start..self.start + self.used.len() as u64 * 64
    }

    /// A free place for an island that the jump can lead to.
    fn place(&self, wanted: &Wanted) -> Option<u64> {
        if self.free < wanted.length {
            return None;
        }
        let lowest = i32::try_from(self.start.wrapping_sub(wanted.from).cast_signed()).ok()?;
        let last = self.range().end - wanted.length;
        let highest = i32::try_from(last.wrapping_sub(wanted.from).cast_signed()).ok()?;
        let allow = |index: usize, displacement: i32| {
            wanted.boundaries.allow_byte(index, displacement.to_le_bytes()[index], wanted.opcodes)
        };
        // The two upper bytes change at most once within a page.
        if [lowest, highest].iter().all(|&end| !(allow(3, end) && allow(2, end))) {
            return None;
        }
        (lowest >> 8..=highest >> 8).find_map(|block| {
            let base = block << 8;
            if (1..4).any(|index| !allow(index, base)) {
                return None;
            }
            let first = wanted.from.wrapping_add_signed(base.into());
            if !wanted.boundaries.contains(1) {
                let ends = (base.max(lowest), (base | 0xFF).min(highest));
                let [start, last] =
                    [ends.0, ends.1].map(|end| first.wrapping_add_signed((end - base).into()));
                return self.first_free(start - self.start..=last - self.start, wanted);
            }
            wanted.choices(0).iter().find_map(|&low| {
                let inside = (lowest..=highest).contains(&(base | i32::from(low)));
                let at = first.wrapping_add(low.into());
                (inside && wanted.may_begin_at(at) && self.is_free(at - self.start, wanted)).then_some(at)
            })
        })
    }

    /// The address of the first offset in `offsets` at which the island may begin and its bytes are free.
    fn first_free(&self, offsets: RangeInclusive<u64>, wanted: &Wanted) -> Option<u64> {
        let (start, last) = (*offsets.start(), *offsets.end());
        (start / 64..=last / 64).find_map(|index| {
            let word = |index: u64| self.used.get(index as usize).copied().unwrap_or(u64::MAX);
            let free = !(u128::from(word(index)) | u128::from(word(index + 1)) << 64);
            let mut places = (1..wanted.length).fold(free, |places, shift| places & free >> shift) as u64;
            places &= wanted.starts;
            if index == start / 64 {
                places &= u64::MAX << (start % 64);
            }
            let at = index * 64 + u64::from(places.trailing_zeros());
            (places != 0 && at <= last).then(|| self.start + at)
        })
    }

    /// Whether the island may begin at `offset` and its bytes are free.
    fn is_free(&self, offset: u64, wanted: &Wanted) -> bool {
        self.first_free(offset..=offset, wanted).is_some()
    }

    fn take(&mut self, at: u64, length: u64) {
        for offset in at - self.start..at - self.start + length {
            self.used[(offset / 64) as usize] |= 1 << (offset % 64);
        }
        self.free -= length;
    }
}
