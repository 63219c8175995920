//! Pages that hold slots, copies, or islands that may be anywhere near.

use super::space::Space;
use livepatch_proto::{IslandPage, WireAddress};
use std::ops::Range;

/// Address space that an arena takes at a time, in bytes. Its pages are mapped when they are needed.
const CHUNK: u64 = 64 << 10;

/// Room for things that can go anywhere, one behind the other.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    code: u8,
    page_size: u64,
    /// Where to look for memory first.
    hints: [u64; 2],
    bounds: Range<u64>,
    /// What is left of the current chunk.
    rest: Range<u64>,
    /// Up to where the current chunk is mapped.
    mapped: u64,
}

impl Arena {
    /// `code` is as in [`IslandPage`]; memory comes from inside `bounds`, near the first of `hints` if possible.
    pub(super) fn new(code: u8, page_size: u64, hints: [u64; 2], bounds: Range<u64>) -> Self {
        Self { code, page_size, hints, bounds, rest: 0..0, mapped: 0 }
    }

    /// Takes `length` bytes at a multiple of `align` (a power of two); pages to map are added to `unsent`.
    pub(super) fn take(
        &mut self,
        length: u64,
        align: u64,
        space: &mut Space,
        unsent: &mut Vec<IslandPage>,
    ) -> Option<u64> {
        let mut at = self.rest.start.next_multiple_of(align);
        if at + length > self.rest.end {
            self.rest = self.chunk(length, space)?;
            self.mapped = self.rest.start;
            at = self.rest.start;
        }
        self.rest.start = at + length;
        if self.rest.start > self.mapped {
            let end = self.rest.start.next_multiple_of(self.page_size);
            let page =
                IslandPage { start: WireAddress(self.mapped), length: end - self.mapped, code: self.code };
            unsent.push(page);
            self.mapped = end;
        }
        Some(at)
    }

    fn chunk(&self, length: u64, space: &mut Space) -> Option<Range<u64>> {
        let page = self.page_size;
        let least = length.next_multiple_of(page);
        let length = [CHUNK.max(least).next_multiple_of(page), least];
        let at = length.into_iter().find_map(|length| {
            let near = |hint: u64| {
                let hint = hint.clamp(self.bounds.start, self.bounds.end);
                let below = space.highest(length, page, self.bounds.start..hint);
                below.or_else(|| space.lowest(length, page, hint..self.bounds.end))
            };
            let [below, above] = self.hints.map(near);
            // Just above the host is where its heap grows: rather far above than there.
            let at = below.filter(|&at| at < self.hints[0].saturating_add(length)).or(above).or(below)?;
            Some(at..at + length)
        })?;
        space.take(at.clone());
        Some(at)
    }
}
