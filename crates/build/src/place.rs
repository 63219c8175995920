//! Where everything stands in a patch image: offsets that are the same in every process.
//!
//! ```text
//! read + execute: headers | code | stubs | constants, landing pads | cells | unwind entries, their index
//! read + write:   variables | zeroed variables                                    (only if there are any)
//! ```
//!
//! A stub reaches a function that is too far for a branch's displacement; a cell holds an address (or a
//! thread-local's offset) that code loads.

use crate::objects::ObjectKey;
use crate::resolve::{Closure, PartId, Target};
use livepatch_object::architecture::Architecture;
use livepatch_object::compare::{Referent, referent};
use livepatch_object::relocatable::{Relocation, SectionKind};
use livepatch_object::relocation::{Formula, RelocationError, howto};
use livepatch_object::unwind::Fde;
use rustc_hash::FxHashMap;

/// The size of a page.
pub const PAGE: u64 = 0x1000;

/// What functions begin at multiples of: a cache line. One that begins in the middle of a line is fetched in two
/// parts sooner, which costs each call.
const FUNCTION_ALIGN: u64 = 64;

/// Bytes of a stub: a jump to where the address behind it says.
pub const STUB_SIZE: u64 = 16;

/// What a cell holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cell {
    /// The address of a target.
    Address(Target),
    /// The offset of a thread-local from the thread pointer.
    ThreadOffset(Target),
    /// What `__tls_get_addr` takes to find a thread-local of the host: module and offset.
    ThreadIndex(Target),
    /// The same for the start of the host's thread-locals.
    ThreadModule,
}

impl Cell {
    /// How long it is, in bytes.
    pub fn size(self) -> u64 {
        match self {
            Self::Address(_) | Self::ThreadOffset(_) => 8,
            Self::ThreadIndex(_) | Self::ThreadModule => 16,
        }
    }
}

/// A run of bytes in the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Offset from the image's first byte.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Span {
    /// The offset after the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.length
    }
}

/// A common unwind entry and the entries that refer to it, as they stand in the image.
#[derive(Clone, Debug)]
pub struct FrameGroup {
    /// The part whose object has the common entry.
    pub part: PartId,
    /// Index of the common entry in that object.
    pub cie: usize,
    /// Where the common entry stands.
    pub at: u64,
    /// The entries: the part that holds the function, the entry, where it stands.
    pub fdes: Vec<(PartId, Fde, u64)>,
}

/// Offsets of everything in a patch image.
#[derive(Debug, Default)]
pub struct Layout {
    /// Where each part stands, by [`PartId`]. Parts that take no room in the image have length 0.
    pub parts: Vec<u64>,
    /// Where the stub of each function stands that may be out of a branch's reach.
    pub stubs: FxHashMap<Target, u64>,
    /// Where each cell stands.
    pub cells: FxHashMap<Cell, u64>,
    /// Unwind entries.
    pub frames: Vec<FrameGroup>,
    /// Code and stubs.
    pub text: Span,
    /// Constants, landing pads and cells.
    pub constants: Span,
    /// `.eh_frame`.
    pub eh_frame: Span,
    /// `.eh_frame_hdr`.
    pub eh_frame_hdr: Span,
    /// Variables with initial bytes.
    pub data: Span,
    /// Variables that start as zero.
    pub bss: Span,
}

impl Layout {
    /// The length of the image in memory, in bytes: whole pages.
    pub fn length(&self) -> u64 {
        self.bss.end().max(self.data.end()).max(self.eh_frame_hdr.end()).next_multiple_of(PAGE)
    }

    /// The length of the read + execute segment, in bytes.
    pub fn code_length(&self) -> u64 {
        self.eh_frame_hdr.end()
    }

    /// Whether there is a read + write segment.
    pub fn has_data(&self) -> bool {
        self.data.length + self.bss.length > 0
    }

    /// Places everything after `headers` bytes.
    pub fn new(closure: &Closure, headers: u64) -> Result<Self, RelocationError> {
        let mut layout = Self { parts: vec![0; closure.parts.len()], ..Self::default() };
        let mut at = headers;
        layout.text.start = at;
        layout.place_parts(closure, &mut at, |kind| kind == SectionKind::Text);
        layout.collect_cells(closure)?;
        let mut stubs: Vec<_> = layout.stubs.values_mut().collect();
        stubs.sort_unstable();
        for stub in stubs {
            at = at.next_multiple_of(STUB_SIZE);
            *stub = at;
            at += STUB_SIZE;
        }
        layout.text.length = at - layout.text.start;
        at = at.next_multiple_of(16);
        layout.constants.start = at;
        layout.place_parts(closure, &mut at, |kind| kind == SectionKind::ReadOnly);
        at = at.next_multiple_of(8);
        let mut cells: Vec<_> = layout.cells.iter_mut().collect();
        cells.sort_unstable_by_key(|(_, number)| **number);
        for (cell, place) in cells {
            *place = at;
            at += cell.size();
        }
        layout.constants.length = at - layout.constants.start;
        layout.place_frames(closure, &mut at);
        if closure.parts.iter().any(|p| is_variable(p.object.image.section(p.section).kind)) {
            at = at.next_multiple_of(PAGE);
            layout.data.start = at;
            layout.place_parts(closure, &mut at, |kind| kind == SectionKind::Data);
            layout.data.length = at - layout.data.start;
            layout.bss.start = at;
            layout.place_parts(closure, &mut at, |kind| kind == SectionKind::Bss);
            layout.bss.length = at - layout.bss.start;
        }
        Ok(layout)
    }

    fn place_parts(&mut self, closure: &Closure, at: &mut u64, wanted: impl Fn(SectionKind) -> bool) {
        for (offset, part) in self.parts.iter_mut().zip(&closure.parts) {
            let section = part.object.image.section(part.section);
            if wanted(section.kind) {
                let least = if section.kind == SectionKind::Text { FUNCTION_ALIGN } else { 1 };
                *at = at.next_multiple_of(section.align.max(least));
                *offset = *at;
                *at += section.size;
            }
        }
    }

    /// Finds which cells and stubs the parts need; numbers them in order, to be placed later.
    fn collect_cells(&mut self, closure: &Closure) -> Result<(), RelocationError> {
        for part in &closure.parts {
            let image = &part.object.image;
            for relocation in image.relocations(part.section) {
                let Some(target) = target_of(closure, part, relocation) else { continue };
                match howto(relocation.kind)?.formula {
                    Formula::CellRelative | Formula::CellAbsolute => self.need_cell(Cell::Address(target)),
                    Formula::ThreadCellRelative | Formula::ThreadCellAbsolute => {
                        self.need_cell(Cell::ThreadOffset(target))
                    }
                    Formula::ThreadGeneral if closure.is_dynamic(target) => {
                        self.need_cell(Cell::ThreadIndex(target));
                    }
                    Formula::ThreadModule if closure.is_dynamic(target) => self.need_cell(Cell::ThreadModule),
                    Formula::Branch if may_be_far(closure.architecture, target) => {
                        let next = self.stubs.len() as u64;
                        self.stubs.entry(target).or_insert(next);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn need_cell(&mut self, cell: Cell) {
        let next = self.cells.len() as u64;
        self.cells.entry(cell).or_insert(next);
    }

    /// Places the unwind entries of all code parts, grouped under their common entries.
    fn place_frames(&mut self, closure: &Closure, at: &mut u64) {
        *at = at.next_multiple_of(8);
        self.eh_frame.start = *at;
        let mut groups: FxHashMap<_, usize> = FxHashMap::default();
        for (id, part) in closure.parts.iter().enumerate() {
            for fde in part.object.unwind.fdes_in(part.section) {
                let key = (ObjectKey::of(&part.object), fde.cie);
                let group = *groups.entry(key).or_insert_with(|| {
                    self.frames.push(FrameGroup { part: PartId(id), cie: fde.cie, at: 0, fdes: Vec::new() });
                    self.frames.len() - 1
                });
                self.frames[group].fdes.push((PartId(id), fde.clone(), 0));
            }
        }
        let mut count = 0;
        for group in &mut self.frames {
            let cie = &closure.parts[group.part.0].object.unwind.cies[group.cie];
            group.at = *at;
            *at += cie.range.len() as u64;
            for (_, fde, place) in &mut group.fdes {
                *place = *at;
                *at += fde.range.len() as u64;
                count += 1;
            }
        }
        *at += 4; // terminator
        self.eh_frame.length = *at - self.eh_frame.start;
        *at = at.next_multiple_of(4);
        self.eh_frame_hdr = Span { start: *at, length: 12 + 8 * count };
        *at = self.eh_frame_hdr.end();
    }
}

/// Whether a call may not reach its target. Where the host is, and with it what patches call there, is known to
/// be within 2 GiB only: less than a branch of x86-64 reaches, more than one of AArch64.
fn may_be_far(architecture: Architecture, target: Target) -> bool {
    match target {
        Target::Process(_) => true,
        Target::Live(_) => architecture == Architecture::Aarch64,
        Target::ShimSlot(_)
        | Target::Part(..)
        | Target::Absolute(_)
        | Target::HostTls(_)
        | Target::OtherTls(_)
        | Target::ReserveTls(_) => false,
    }
}

fn is_variable(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::Data | SectionKind::Bss)
}

/// What the relocation of a part refers to.
pub fn target_of(closure: &Closure, part: &crate::resolve::Part, relocation: &Relocation) -> Option<Target> {
    let object = ObjectKey::of(&part.object);
    match referent(&part.object.image, part.section, relocation) {
        Referent::Named { symbol, .. } => closure.targets.get(&(object, symbol)).copied(),
        Referent::Content { section, .. } | Referent::Interior { section, .. } => {
            let part = closure.sections.get(&(object, section))?;
            Some(Target::Part(*part, livepatch_object::address::SectionOffset(0)))
        }
        Referent::Absolute { .. } => None,
    }
}
