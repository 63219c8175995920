//! Addresses from a message become addresses that may be used only by passing a named check here.

use super::entry;
use livepatch_proto::{ApplyError, JumpSet, WireAddress};
use std::sync::Arc;

/// The size of a page, in bytes. Where it is another (AArch64 has several), nothing is patched.
pub(crate) const PAGE: u64 = 4096;

pub(crate) use entry::USER_END;

/// A half-open, non-empty range of addresses below [`USER_END`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// The range of `length` bytes at `start`, if there can be one.
    pub(crate) fn new(start: u64, length: u64) -> Option<Self> {
        let end = start.checked_add(length)?;
        (length > 0 && end <= USER_END).then_some(Self { start, end })
    }

    pub(crate) fn start(self) -> u64 {
        self.start
    }

    pub(crate) fn end(self) -> u64 {
        self.end
    }

    pub(crate) fn length(self) -> u64 {
        self.end - self.start
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The smallest range of whole pages that contains this one.
    pub(crate) fn pages(self) -> Self {
        Self { start: self.start & !(PAGE - 1), end: self.end.next_multiple_of(PAGE) }
    }

    /// The pages of `pages` that are read-only if this is a segment that is so after relocation: whole
    /// pages that end before its end, as the dynamic linker counts. None if they do not come first.
    pub(crate) fn read_only_within(self, pages: Self) -> Option<Self> {
        let end = (self.end & !(PAGE - 1)).min(pages.end);
        (self.pages().start <= pages.start && pages.start < end).then_some(Self { start: pages.start, end })
    }

    /// From the start of `self` to the end of `other`, which must not end before it.
    pub(crate) fn through(self, other: Self) -> Self {
        Self { start: self.start, end: self.end.max(other.end) }
    }
}

/// An executable, readable segment of a loaded module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CodeSegment {
    /// Its addresses, as the program header has them (not rounded to pages).
    pub(crate) span: Span,
    /// Whether it is meant to be writable as well.
    pub(crate) writable: bool,
}

/// Whether island pages hold code or slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IslandKind {
    /// Mapped read + execute.
    Code,
    /// Mapped read + write.
    Slots,
}

/// Pages that hold islands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Island {
    /// Whole pages.
    pub(crate) span: Span,
    /// What is in them.
    pub(crate) kind: IslandKind,
}

/// Where addresses of a message may lie: what is loaded and what the agent mapped.
#[derive(Default, Debug)]
pub(crate) struct Ground {
    code: Vec<CodeSegment>,
    islands: Arc<[Island]>,
}

impl Ground {
    /// The ground of these segments, and of islands as [`join`] has them.
    pub(crate) fn new(mut code: Vec<CodeSegment>, islands: Arc<[Island]>) -> Self {
        code.sort_unstable_by_key(|segment| segment.span);
        Self { code, islands }
    }

    /// The executable segment that `span` lies in.
    fn segment(&self, span: Span) -> Option<&CodeSegment> {
        let after = self.code.partition_point(|segment| segment.span.start() <= span.start());
        self.code[..after].last().filter(|segment| segment.span.contains(span))
    }

    fn island(&self, span: Span) -> Option<&Island> {
        let after = self.islands.partition_point(|island| island.span.start() <= span.start());
        self.islands[..after].last().filter(|island| island.span.contains(span))
    }
}

/// All of these islands in order, neighbours of a kind joined: writes may cross from one to the next.
pub(crate) fn join(old: &[Island], new: &[Island]) -> Arc<[Island]> {
    let mut islands = [old, new].concat();
    islands.sort_unstable_by_key(|island| island.span);
    islands.dedup_by(|next, previous| {
        let joined = previous.kind == next.kind && previous.span.end() == next.span.start();
        if joined {
            previous.span = previous.span.through(next.span);
        }
        joined
    });
    islands.into()
}

/// Bytes in an executable segment of a loaded module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CodeAddress {
    span: Span,
    segment: CodeSegment,
}

impl CodeAddress {
    pub(crate) fn check(
        at: WireAddress,
        length: u64,
        ground: &Ground,
        purpose: &'static str,
    ) -> Result<Self, ApplyError> {
        let found = Span::new(at.0, length).and_then(|span| Some((span, *ground.segment(span)?)));
        let (span, segment) = found.ok_or_else(|| bad(at, purpose))?;
        Ok(Self { span, segment })
    }

    pub(crate) fn span(self) -> Span {
        self.span
    }

    /// The segment it lies in.
    pub(crate) fn segment(self) -> CodeSegment {
        self.segment
    }
}

/// Eight aligned bytes in an executable segment of a loaded module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CodeWord(CodeAddress);

impl CodeWord {
    pub(crate) fn check(at: WireAddress, ground: &Ground) -> Result<Self, ApplyError> {
        if !at.0.is_multiple_of(8) {
            return Err(bad(at, "changed with one store: it is not aligned"));
        }
        CodeAddress::check(at, 8, ground, "changed: no loaded code is there").map(Self)
    }

    pub(crate) fn address(self) -> CodeAddress {
        self.0
    }
}

/// Where a thread may go on: in code of a loaded module, or on an island.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target(u64);

impl Target {
    pub(crate) fn check(at: WireAddress, ground: &Ground) -> Result<Self, ApplyError> {
        Span::new(at.0, 1)
            .filter(|&span| {
                ground.segment(span).is_some()
                    || ground.island(span).is_some_and(|island| island.kind == IslandKind::Code)
            })
            .map(|span| Self(span.start()))
            .ok_or_else(|| bad(at, "gone to: no code is there"))
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// An aligned slot in an island page that holds slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotAddress(u64);

impl SlotAddress {
    pub(crate) fn check(at: WireAddress, ground: &Ground) -> Result<Self, ApplyError> {
        Span::new(at.0, 8)
            .filter(|span| span.start().is_multiple_of(8))
            .filter(|&span| ground.island(span).is_some_and(|island| island.kind == IslandKind::Slots))
            .map(|span| Self(span.start()))
            .ok_or_else(|| bad(at, "a slot: it is not aligned in a page for slots"))
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// Bytes on one island: in pages that the agent mapped for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IslandAddress {
    span: Span,
    kind: IslandKind,
}

impl IslandAddress {
    pub(crate) fn check(at: WireAddress, length: u64, ground: &Ground) -> Result<Self, ApplyError> {
        Span::new(at.0, length)
            .and_then(|span| Some(Self { span, kind: ground.island(span)?.kind }))
            .ok_or_else(|| bad(at, "written: it is not on an island"))
    }

    pub(crate) fn span(self) -> Span {
        self.span
    }

    pub(crate) fn kind(self) -> IslandKind {
        self.kind
    }
}

/// A jump on an island, of which four aligned bytes say where it leads, and where it is to lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IslandJump {
    at: IslandAddress,
    operand: u32,
}

impl IslandJump {
    pub(crate) fn check(set: JumpSet, ground: &Ground) -> Result<Self, ApplyError> {
        let at = IslandAddress::check(set.at, entry::JUMP_LENGTH, ground)?;
        let to = Target::check(set.to, ground)?;
        if at.kind != IslandKind::Code || !(at.span.start + entry::JUMP_OPERAND).is_multiple_of(4) {
            return Err(bad(set.at, "an island's jump: its displacement is not aligned in a page for code"));
        }
        entry::jump_operand(at.span.start, to.get())
            .map(|operand| Self { at, operand })
            .ok_or_else(|| bad(set.to, "jumped to: it is out of reach"))
    }

    /// The whole jump.
    pub(crate) fn address(self) -> IslandAddress {
        self.at
    }

    /// The bytes of it that change, and what they will be.
    pub(crate) fn operand(self) -> (u64, u32) {
        (self.at.span.start + entry::JUMP_OPERAND, self.operand)
    }
}

/// Whole pages that may be mapped for an island. Whether they are free only mapping them can say.
pub(crate) fn check_island(page: &livepatch_proto::IslandPage) -> Result<Island, ApplyError> {
    let kind = match page.code {
        0 => IslandKind::Slots,
        1 => IslandKind::Code,
        other => return Err(ApplyError::Invalid { detail: format!("{other} is no kind of island page") }),
    };
    Span::new(page.start.0, page.length)
        .filter(|span| span.start().is_multiple_of(PAGE) && span.length().is_multiple_of(PAGE))
        .map(|span| Island { span, kind })
        .ok_or_else(|| bad(page.start, "the start of an island: not whole pages"))
}

fn bad(address: WireAddress, purpose: &str) -> ApplyError {
    ApplyError::BadAddress { address, purpose: purpose.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livepatch_proto::IslandPage;

    fn ground() -> Ground {
        let span = |start, length| Span::new(start, length).expect("a range");
        Ground::new(
            vec![
                CodeSegment { span: span(0x9000, 0x800), writable: false },
                CodeSegment { span: span(0x1000, 0x1000), writable: false },
            ],
            join(
                &[
                    Island { span: span(0x4000, 0x1000), kind: IslandKind::Code },
                    Island { span: span(0x6000, 0x1000), kind: IslandKind::Slots },
                ],
                &[Island { span: span(0x5000, 0x1000), kind: IslandKind::Code }],
            ),
        )
    }

    #[test]
    fn spans_do_not_overflow() {
        assert_eq!(Span::new(u64::MAX, 2), None);
        assert_eq!(Span::new(0x1000, 0), None);
        assert_eq!(Span::new(USER_END - 1, 2), None);
        assert_eq!(
            Span::new(0x1fff, 2).expect("a range").pages(),
            Span::new(0x1000, 0x2000).expect("a range")
        );
    }

    #[test]
    fn code_lies_in_one_segment() {
        let check = |at, length| CodeAddress::check(WireAddress(at), length, &ground(), "changed").is_ok();
        assert!(check(0x1000, 0x1000));
        assert!(check(0x97ff, 1));
        assert!(!check(0x9800, 1));
        assert!(!check(0x1fff, 2));
        assert!(!check(0xfff, 2));
        assert!(!check(0x4000, 1), "an island is no module's code");
        assert!(!check(u64::MAX, 1));
    }

    #[test]
    fn islands_of_a_kind_join_and_kinds_do_not() {
        let ground = ground();
        assert!(IslandAddress::check(WireAddress(0x4fff), 2, &ground).is_ok());
        assert!(IslandAddress::check(WireAddress(0x5fff), 2, &ground).is_err());
        assert!(SlotAddress::check(WireAddress(0x6008), &ground).is_ok());
        assert!(SlotAddress::check(WireAddress(0x6004), &ground).is_err());
        assert!(SlotAddress::check(WireAddress(0x5008), &ground).is_err());
        assert!(Target::check(WireAddress(0x5008), &ground).is_ok());
        assert!(Target::check(WireAddress(0x6008), &ground).is_err());
        assert!(CodeWord::check(WireAddress(0x1004), &ground).is_err());
    }

    #[test]
    fn jumps_of_islands_are_aligned_and_reach() {
        let check = |at, to| {
            let set = JumpSet { at: WireAddress(at), to: WireAddress(to) };
            IslandJump::check(set, &ground()).map(|jump| jump.operand().1.cast_signed())
        };
        assert_eq!(check(0x4003, 0x1000), Ok(0x1000 - 0x4008));
        assert_eq!(check(0x4ffb, 0x5000), Ok(0), "its last byte is the page's");
        assert_eq!(check(0x4fff, 0x5008), Ok(4), "across pages of a kind");
        assert!(check(0x4004, 0x1000).is_err());
        assert!(check(0x5fff, 0x1000).is_err(), "across the end");
        assert!(check(0x6003, 0x1000).is_err(), "a page for slots");
        assert!(check(0x1003, 0x1000).is_err(), "no island");
        assert!(check(0x4003, 0x6000).is_err(), "no code");
        let far = Span::new(0x1_0000_0000, 0x1000).expect("a range");
        let ground = Ground::new(vec![CodeSegment { span: far, writable: false }], ground().islands);
        let set = JumpSet { at: WireAddress(0x4003), to: WireAddress(far.start()) };
        assert!(IslandJump::check(set, &ground).is_err(), "out of reach");
    }

    #[test]
    fn island_pages_are_whole() {
        let check = |start, length, code| {
            check_island(&IslandPage { start: WireAddress(start), length, code }).is_ok()
        };
        assert!(check(0x1000, 0x2000, 1));
        assert!(!check(0x1001, 0x1000, 1));
        assert!(!check(0x1000, 0x800, 0));
        assert!(!check(0x1000, 0x1000, 2));
        assert!(!check(0xffff_ffff_ffff_f000, 0x1000, 0));
    }
}
