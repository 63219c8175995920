//! The unwind entries of a patch's object.
//!
//! Specification: LSB Core 5.0, section 10.6.1.

use super::LibraryError;
use super::object::Writer;
use crate::live::{Location, Module};
use crate::place::{Layout, target_of};
use crate::resolve::{Part, Target};
use livepatch_object::architecture::Architecture;
use livepatch_object::compare::{Referent, referent};
use livepatch_object::host::Lookup;
use livepatch_object::relocatable::{Relocation, SymbolKind};
use livepatch_object::unwind::relocations_within;
use object::write::{SectionId, SymbolId};
use object::{SectionKind, elf};
use rustc_hash::FxHashMap;
use std::ops::Range;

/// What the names of words begin with that compilers put the address of a personality routine into.
const PERSONALITY: &str = "DW.ref.";

/// Writes `.eh_frame`: a common entry for each group, and the entries of its functions.
pub(super) fn write(writer: &mut Writer<'_>, layout: &Layout) -> Result<(), LibraryError> {
    if layout.frames.is_empty() {
        return Ok(());
    }
    let section = writer.object.add_section(Vec::new(), b".eh_frame".to_vec(), SectionKind::ReadOnlyData);
    writer.object.append_section_data(section, &[], 8);
    let mut frames = Frames { writer, section, personalities: FxHashMap::default() };
    for group in &layout.frames {
        let part = frames.part(group.part.0)?;
        let Some(cie) = part.object.unwind.cies.get(group.cie) else { return Err(LibraryError::Lost) };
        let common = frames.record(part, &cie.range, None)?;
        for (id, fde, _) in &group.fdes {
            let part = frames.part(id.0)?;
            frames.record(part, &fde.range, Some(common))?;
        }
    }
    Ok(())
}

struct Frames<'w, 'c> {
    writer: &'w mut Writer<'c>,
    section: SectionId,
    /// By name: words of the object's own that hold the addresses of personality routines.
    personalities: FxHashMap<String, SymbolId>,
}

impl<'c> Frames<'_, 'c> {
    fn part(&self, id: usize) -> Result<&'c Part, LibraryError> {
        self.writer.closure.parts.get(id).ok_or(LibraryError::Lost)
    }

    /// Copies one record; `common` is where the entry is that it refers to, if it is no common one. Returns where it
    /// stands.
    fn record(
        &mut self,
        part: &Part,
        range: &Range<usize>,
        common: Option<u64>,
    ) -> Result<u64, LibraryError> {
        let Some(section) = part.object.unwind.section else { return Err(LibraryError::Lost) };
        let data = part.object.image.data(section);
        let mut bytes = data.get(range.clone()).ok_or(LibraryError::Lost)?.to_vec();
        let at = self.writer.object.append_section_data(self.section, &[], 1);
        if let Some(common) = common {
            // The distance from this field back to the common entry.
            let back = u32::try_from(at + 4 - common).map_err(|_| LibraryError::Lost)?;
            bytes.get_mut(4..8).ok_or(LibraryError::Lost)?.copy_from_slice(&back.to_le_bytes());
        }
        self.writer.object.append_section_data(self.section, &bytes, 1);
        let holder = Part { object: part.object.clone(), section };
        for relocation in relocations_within(&part.object.image, section, range) {
            let offset = at + (relocation.offset.0 - range.start as u64);
            match self.personality(&holder, relocation)? {
                Some((word, addend)) => {
                    let kind = relocation.kind.number().into();
                    self.writer.relocate(self.section, offset, kind, word, addend)?;
                }
                None => self.writer.reference(&holder, relocation, (self.section, offset))?,
            }
        }
        Ok(at)
    }

    /// A reference to the host's word with the address of a personality routine, which may be out of reach, goes to
    /// one of the object's own. Returns that word, and what is added to its address.
    fn personality(
        &mut self,
        holder: &Part,
        relocation: &Relocation,
    ) -> Result<Option<(SymbolId, i64)>, LibraryError> {
        let image = &holder.object.image;
        let Referent::Named { symbol, offset } = referent(image, holder.section, relocation) else {
            return Ok(None);
        };
        let name = image.name(symbol);
        let Some(routine) = name.strip_prefix(PERSONALITY) else { return Ok(None) };
        if !matches!(target_of(self.writer.closure, holder, relocation), Some(Target::Live(_))) {
            return Ok(None);
        }
        if let Some(&word) = self.personalities.get(name) {
            return Ok(Some((word, offset)));
        }
        let Lookup::Found(found) = self.writer.host.lookup(routine, "") else { return Ok(None) };
        if found.kind != SymbolKind::Function {
            return Ok(None);
        }
        let target = Target::Live(Location { module: Module::Host, position: found.address.0 });
        let routine = self.writer.symbol(target, routine)?;
        let section = format!(".data.rel.ro.{name}").into_bytes();
        let section = self.writer.object.add_section(Vec::new(), section, SectionKind::ReadOnlyDataWithRel);
        self.writer.object.append_section_data(section, &[0; 8], 8);
        let kind = match self.writer.closure.architecture {
            Architecture::X86_64 => elf::R_X86_64_64,
            Architecture::Aarch64 => elf::R_AARCH64_ABS64,
        };
        self.writer.relocate(section, 0, kind, routine, 0)?;
        let word = self.writer.object.section_symbol(section);
        self.personalities.insert(name.to_owned(), word);
        Ok(Some((word, offset)))
    }
}
