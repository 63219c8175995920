//! The debug sections of the objects that have code in a patch, for the linker to relocate.
//!
//! What an object describes and the patch does not hold gets an address that no code has, as linkers do for sections
//! they drop.

use super::LibraryError;
use super::object::Writer;
use crate::objects::{Object, ObjectKey};
use livepatch_object::relocatable::{Place, Relocation, SectionId as Id, SectionKind as Kind};
use livepatch_object::relocation::{Formula, howto};
use object::SectionKind;
use object::write::{SectionId, SymbolId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Writes the debug sections of all objects with code in the patch.
pub(super) fn write(writer: &mut Writer<'_>) -> Result<(), LibraryError> {
    let mut seen = FxHashSet::default();
    let closure = writer.closure;
    for part in &closure.parts {
        let code = part.object.image.section(part.section).kind == Kind::Text;
        if code && seen.insert(ObjectKey::of(&part.object)) {
            add_object(writer, &part.object)?;
        }
    }
    Ok(())
}

fn add_object(writer: &mut Writer<'_>, object: &Arc<Object>) -> Result<(), LibraryError> {
    let image = &object.image;
    let debug = image.sections().filter(|(_, section)| section.kind == Kind::Debug && section.size > 0);
    let mut places: FxHashMap<Id, (SectionId, SymbolId)> = FxHashMap::default();
    let ids: Vec<Id> = debug.map(|(id, _)| id).collect();
    for &id in &ids {
        let name = image.section_name(id).as_bytes().to_vec();
        let section = writer.object.add_section(Vec::new(), name, SectionKind::Debug);
        places.insert(id, (section, writer.object.section_symbol(section)));
    }
    for id in ids {
        let Some(&(section, _)) = places.get(&id) else { continue };
        let mut bytes = image.data(id).to_vec();
        let mut references = Vec::new();
        for relocation in image.debug_relocations(id) {
            match referred(writer, object, &relocation, &places) {
                Some((symbol, addend)) => references.push((relocation, symbol, addend)),
                None => bury(&mut bytes, &relocation, image.section_name(id)),
            }
        }
        writer.object.append_section_data(section, &bytes, image.section(id).align);
        for (relocation, symbol, addend) in references {
            let kind = relocation.kind.number().into();
            writer.relocate(section, relocation.offset.0, kind, symbol, addend)?;
        }
    }
    Ok(())
}

/// What a debug section refers to, if it is in the patch: another debug section's offset, or an address.
fn referred(
    writer: &Writer<'_>,
    object: &Arc<Object>,
    relocation: &Relocation,
    places: &FxHashMap<Id, (SectionId, SymbolId)>,
) -> Option<(SymbolId, i64)> {
    howto(relocation.kind).ok().filter(|howto| howto.formula == Formula::Absolute)?;
    let symbol = object.image.symbol(relocation.symbol);
    let Place::Section(section) = symbol.place else { return None };
    let place = places.get(&section).copied().or_else(|| {
        let part = writer.closure.sections.get(&(ObjectKey::of(object), section))?;
        writer.parts.get(part.0).copied().flatten()
    });
    Some((place?.1, symbol.offset.0.cast_signed().wrapping_add(relocation.addend)))
}

/// Leaves what ends no list early: 1 in range and location lists, where a pair of zeros is the end.
fn bury(bytes: &mut [u8], relocation: &Relocation, section: &str) {
    let value = i64::from(section == ".debug_ranges" || section == ".debug_loc");
    if let Ok(howto) = howto(relocation.kind) {
        // A field that cannot hold it stays as it is.
        let _ = howto.write(bytes, relocation.offset.0, value);
    }
}
