//! Segments and sections: which bytes of the file go where in memory.

use super::Problem;

use crate::address::{FileOffset, LinkAddress};
use crate::strings::checked_range;
use object::LittleEndian as LE;
use object::macho;
use object::read::macho::{Section as _, Segment as _};
use std::fmt;
use std::ops::Range;

/// A segment's number: segments are counted in the order of their load commands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentId(pub u16);

/// A section's number, from 0, over all segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SectionId(pub u16);

/// What may be done with memory (`VM_PROT_*`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Protection(pub u32);

impl Protection {
    /// Whether it can be read.
    pub fn read(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether it can be written to.
    pub fn write(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether it can be executed.
    pub fn execute(self) -> bool {
        self.0 & 4 != 0
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |has, letter| if has { letter } else { '-' };
        write!(f, "{}{}{}", letter(self.read(), 'r'), letter(self.write(), 'w'), letter(self.execute(), 'x'))
    }
}

/// A part of the file that is mapped as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its name, `__TEXT`.
    pub name: String,
    /// Where it wants to be.
    pub address: LinkAddress,
    /// Bytes in memory.
    pub size: u64,
    /// Where its bytes are.
    pub offset: FileOffset,
    /// How many there are in the file; the rest of it is zero.
    pub file_size: u64,
    /// What it may be made to allow.
    pub maximum: Protection,
    /// What it allows.
    pub initial: Protection,
    /// `SG_*`.
    pub flags: u32,
    /// Its sections.
    pub sections: Range<u16>,
}

impl Segment {
    /// Where it ends in memory.
    pub fn end(&self) -> LinkAddress {
        // Checked when it was read.
        LinkAddress(self.address.0.saturating_add(self.size))
    }

    /// Whether it is address space that nothing may use, below a 64-bit executable: `__PAGEZERO`.
    pub fn is_guard(&self) -> bool {
        self.file_size == 0 && self.maximum.0 == 0
    }

    /// Whether its memory is made read-only after it was relocated (`SG_READ_ONLY`).
    pub fn is_read_only_after_fixups(&self) -> bool {
        self.flags & 0x10 != 0
    }
}

/// A part of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Which segment it is in.
    pub segment: SegmentId,
    /// Its name, `__stubs`.
    pub name: String,
    /// Its segment's name, as the section says it.
    pub segment_name: String,
    /// Where it is.
    pub address: LinkAddress,
    /// Bytes in memory.
    pub size: u64,
    /// Where its bytes are; none if they are all zero and not in the file.
    pub offset: Option<FileOffset>,
    /// Its alignment, a power of two.
    pub alignment: u64,
    /// `S_*` and `S_ATTR_*`.
    pub flags: u32,
    /// Of pointers and stubs: where their indirect symbols begin.
    pub reserved1: u32,
    /// Of stubs: the size of one.
    pub reserved2: u32,
}

impl Section {
    /// `S_*`.
    pub fn kind(&self) -> u32 {
        self.flags & macho::SECTION_TYPE
    }

    /// Where it ends.
    pub fn end(&self) -> LinkAddress {
        // Checked when it was read.
        LinkAddress(self.address.0.saturating_add(self.size))
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: LinkAddress) -> bool {
        address >= self.address && address < self.end()
    }
}

/// All segments and sections of an image.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    segments: Vec<Segment>,
    sections: Vec<Section>,
}

impl Segments {
    /// All segments, in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Segment> {
        self.segments.iter()
    }

    /// All sections, in the order of their numbers.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = &Section> {
        self.sections.iter()
    }

    /// All sections of some kind (`S_*`), with their numbers.
    pub fn sections_of_kind(&self, kind: u32) -> impl Iterator<Item = (SectionId, &Section)> {
        let numbered = (0..).map(SectionId).zip(&self.sections);
        numbered.filter(move |(_, section)| section.kind() == kind)
    }

    /// The segment of that number.
    pub fn get(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(usize::from(id.0))
    }

    /// The section of that number.
    pub fn section(&self, id: SectionId) -> Option<&Section> {
        self.sections.get(usize::from(id.0))
    }

    /// The segment of that name.
    pub fn named(&self, name: &str) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.name == name)
    }

    /// The section of that name in the segment of that name.
    pub fn section_named(&self, segment: &str, section: &str) -> Option<&Section> {
        self.sections.iter().find(|found| found.segment_name == segment && found.name == section)
    }

    /// The segment whose memory an address is in.
    pub fn of(&self, address: LinkAddress) -> Option<SegmentId> {
        let within = |segment: &Segment| address >= segment.address && address < segment.end();
        let index = self.segments.iter().position(within)?;
        u16::try_from(index).ok().map(SegmentId)
    }

    /// The section that an address is in.
    pub fn section_of(&self, address: LinkAddress) -> Option<SectionId> {
        let segment = self.get(self.of(address)?)?;
        segment.sections.clone().map(SectionId).find(|id| {
            let section = self.section(*id);
            section.is_some_and(|section| section.contains(address))
        })
    }

    /// What all segments together take, without guards and empty ones.
    pub fn extent(&self) -> Range<LinkAddress> {
        let mapped = || self.segments.iter().filter(|segment| segment.size > 0 && !segment.is_guard());
        let start = mapped().map(|segment| segment.address).min().unwrap_or_default();
        let end = mapped().map(Segment::end).max().unwrap_or_default();
        start..end
    }

    /// Where in the file the byte of an address is; `length` bytes must be there.
    pub fn file_range(&self, address: LinkAddress, length: u64) -> Option<Range<usize>> {
        let segment = self.get(self.of(address)?)?;
        let within = address.checked_since(segment.address)?;
        if within.checked_add(length)? > segment.file_size {
            return None;
        }
        let offset = segment.offset.checked_add(within)?;
        checked_range(offset.0, length, usize::MAX)
    }

    pub(super) fn add(
        &mut self,
        raw: &macho::SegmentCommand64<LE>,
        sections: &[u8],
        file: &[u8],
    ) -> Result<(), Problem> {
        let index = self.segments.len();
        let bad = |what| Problem::BadSegment { index, what };
        let number = u16::try_from(index).map_err(|_| Problem::TooMany { what: "segments" })?;
        let (offset, file_size) = raw.file_range(LE);
        let outside = Problem::Outside { what: "a segment", offset, size: file_size };
        let range = checked_range(offset, file_size, file.len()).ok_or(outside)?;
        let (address, size) = (LinkAddress(raw.vmaddr.get(LE)), raw.vmsize.get(LE));
        address.checked_add(size).ok_or(bad("its addresses are past the end of all addresses"))?;
        if file_size > size {
            return Err(bad("it has more bytes in the file than in memory"));
        }
        let raw_sections = raw.sections(LE, sections).map_err(Problem::unreadable("sections"))?;
        let first = self.section_count()?;
        let mut segment = Segment {
            name: name(raw.name()),
            address,
            size,
            offset: FileOffset(offset),
            file_size,
            maximum: Protection(raw.maxprot.get(LE)),
            initial: Protection(raw.initprot.get(LE)),
            flags: raw.flags.get(LE),
            sections: first..first,
        };
        if segment.size > 0 && self.segments.iter().any(|other| overlap(other, &segment)) {
            return Err(bad("its addresses are another segment's"));
        }
        for raw in raw_sections {
            let section = section(raw, &segment, SegmentId(number), &range).map_err(bad)?;
            self.sections.push(section);
        }
        segment.sections.end = self.section_count()?;
        self.segments.push(segment);
        Ok(())
    }

    fn section_count(&self) -> Result<u16, Problem> {
        u16::try_from(self.sections.len()).map_err(|_| Problem::TooMany { what: "sections" })
    }
}

fn overlap(a: &Segment, b: &Segment) -> bool {
    a.size > 0 && a.address < b.end() && b.address < a.end()
}

fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn section(
    raw: &macho::Section64<LE>,
    segment: &Segment,
    id: SegmentId,
    file: &Range<usize>,
) -> Result<Section, &'static str> {
    let (address, size) = (LinkAddress(raw.addr.get(LE)), raw.size.get(LE));
    let end = address.checked_add(size).ok_or("a section is past the end of all addresses")?;
    if address < segment.address || end > segment.end() {
        return Err("a section is outside it");
    }
    let flags = raw.flags.get(LE);
    let zero_fill = matches!(
        flags & macho::SECTION_TYPE,
        macho::S_ZEROFILL | macho::S_GB_ZEROFILL | macho::S_THREAD_LOCAL_ZEROFILL
    );
    let offset = u64::from(raw.offset.get(LE));
    let is_in_file = !zero_fill && size > 0;
    if is_in_file {
        let at = usize::try_from(offset).map_err(|_| "a section’s bytes are not in the file")?;
        let bytes = usize::try_from(size).map_err(|_| "a section’s bytes are not in the file")?;
        let end = at.checked_add(bytes).ok_or("a section’s bytes are not in the file")?;
        if at < file.start || end > file.end {
            return Err("a section’s bytes are not among its own");
        }
        // Addresses and offsets must say the same: both are used.
        if offset - segment.offset.0 != address.0 - segment.address.0 {
            return Err("a section’s bytes are elsewhere than its address says");
        }
    }
    let alignment = 1_u64.checked_shl(raw.align.get(LE)).ok_or("a section’s alignment is too large")?;
    Ok(Section {
        segment: id,
        name: name(raw.name()),
        segment_name: name(raw.segment_name()),
        address,
        size,
        offset: is_in_file.then_some(FileOffset(offset)),
        alignment,
        flags,
        reserved1: raw.reserved1.get(LE),
        reserved2: raw.reserved2.get(LE),
    })
}
