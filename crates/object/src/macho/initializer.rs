//! What runs before and after everything else, and what threads get.

use super::{Image, Problem, Section};
use crate::address::LinkAddress;
use crate::loadable::fields::u32_at;
use object::macho;
use std::ops::Range;

/// A function that the loader calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodePointer {
    /// Its address is in this slot, when everything in [`Image::fixups`] is done.
    InSlot(LinkAddress),
    /// It is here.
    At(LinkAddress),
}

/// An image's thread-local variables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThreadLocals {
    /// Descriptors of 24 bytes: a function that finds the variable, a key for it, and the variable's offset.
    pub descriptors: Vec<LinkAddress>,
    /// What each thread gets a copy of.
    pub template: Range<LinkAddress>,
    /// The alignment of such a copy.
    pub alignment: u64,
    /// Functions that run in each thread that uses one (`S_THREAD_LOCAL_INIT_FUNCTION_POINTERS`).
    pub initializers: Vec<CodePointer>,
}

/// Bytes of a descriptor.
pub const DESCRIPTOR: u64 = 24;

impl Image {
    /// Functions that run when the image is loaded, in this order.
    pub fn initializers(&self) -> Result<Vec<CodePointer>, Problem> {
        let mut all: Vec<CodePointer> = self.routine.map(CodePointer::At).into_iter().collect();
        for section in self.segments.sections() {
            match section.kind() {
                macho::S_MOD_INIT_FUNC_POINTERS => all.extend(self.pointers(section)?),
                macho::S_INIT_FUNC_OFFSETS => all.extend(self.offsets(section)?),
                _ => {}
            }
        }
        Ok(all)
    }

    /// Functions that run when it is unloaded or the process ends, the last one first.
    pub fn terminators(&self) -> Result<Vec<CodePointer>, Problem> {
        self.pointers_of_kind(macho::S_MOD_TERM_FUNC_POINTERS)
    }

    fn pointers_of_kind(&self, kind: u32) -> Result<Vec<CodePointer>, Problem> {
        let mut all = Vec::new();
        for (_, section) in self.segments.sections_of_kind(kind) {
            all.extend(self.pointers(section)?);
        }
        Ok(all)
    }

    fn pointers(&self, section: &Section) -> Result<impl Iterator<Item = CodePointer> + use<>, Problem> {
        self.in_file(section)?;
        let start = section.address.0;
        Ok((0..section.size / 8).map(move |index| CodePointer::InSlot(LinkAddress(start + index * 8))))
    }

    fn offsets(&self, section: &Section) -> Result<Vec<CodePointer>, Problem> {
        self.in_file(section)?;
        let bytes = self.contents(section);
        let offsets = bytes.chunks_exact(4).filter_map(|offset| u32_at(offset, 0));
        let function = |offset: u32| {
            let address = self.base().checked_add(offset.into());
            let address = address.filter(|address| self.is_code(*address));
            let outside = Problem::Outside { what: "an initialiser", offset: offset.into(), size: 0 };
            address.map(CodePointer::At).ok_or(outside)
        };
        offsets.map(function).collect()
    }

    fn in_file(&self, section: &Section) -> Result<(), Problem> {
        let outside = Problem::Outside { what: "a table", offset: section.address.0, size: section.size };
        if section.size > 0 && section.offset.is_none() { Err(outside) } else { Ok(()) }
    }

    /// Whether an address is in a segment that can be executed.
    pub fn is_code(&self, address: LinkAddress) -> bool {
        let segment = self.segments.of(address).and_then(|id| self.segments.get(id));
        segment.is_some_and(|segment| segment.initial.execute())
    }

    /// Its thread-local variables; none if there are none.
    pub fn thread_locals(&self) -> Result<Option<ThreadLocals>, Problem> {
        let mut descriptors = Vec::new();
        for (_, section) in self.segments.sections_of_kind(macho::S_THREAD_LOCAL_VARIABLES) {
            self.in_file(section)?;
            let start = section.address.0;
            let all = (0..section.size / DESCRIPTOR).map(|index| LinkAddress(start + index * DESCRIPTOR));
            descriptors.extend(all);
        }
        let is_template = |section: &&Section| {
            matches!(section.kind(), macho::S_THREAD_LOCAL_REGULAR | macho::S_THREAD_LOCAL_ZEROFILL)
        };
        let templates = || self.segments.sections().filter(is_template);
        let start = templates().map(|section| section.address).min().unwrap_or_default();
        let end = templates().map(Section::end).max().unwrap_or_default();
        // Contents first, then zeros, and nothing else between: a thread's copy is one piece.
        let segments: Vec<_> = templates().map(|section| section.segment).collect();
        if segments.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(Problem::BadTable {
                table: "thread-local data",
                at: 0,
                what: "it is in several segments",
            });
        }
        if descriptors.is_empty() && start == end {
            return Ok(None);
        }
        let alignment = templates().map(|section| section.alignment).max().unwrap_or(1);
        let initializers = self.pointers_of_kind(macho::S_THREAD_LOCAL_INIT_FUNCTION_POINTERS)?;
        Ok(Some(ThreadLocals { descriptors, template: start..end, alignment, initializers }))
    }
}
