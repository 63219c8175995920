//! Debug sections of the objects that have code in the patch, one after the other, relocated.
//!
//! Addresses in them are link-time addresses. What an object describes and the patch does not hold gets
//! an address that no code has, as linkers do for sections they drop.

use super::Bind;
use crate::objects::ObjectKey;
use crate::place::Layout;
use crate::resolve::Closure;
use livepatch_object::relocatable::{Place, Relocatable, Relocation, SectionId, SectionKind};
use livepatch_object::relocation::{Formula, howto};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Debug sections by name.
pub(super) type DebugSections = BTreeMap<String, Vec<u8>>;

/// What ends no list early: 1 in range and location lists, where a pair of zeros is the end.
fn tombstone(section: &str) -> u64 {
    if section == ".debug_ranges" || section == ".debug_loc" { 1 } else { 0 }
}

/// Writes the debug sections of all objects with code in the patch. An object whose debug sections
/// cannot be placed is left out: the code runs without.
pub(super) fn write(closure: &Closure, layout: &Layout, bind: &Bind<'_>) -> DebugSections {
    let mut out = DebugSections::new();
    let mut seen = FxHashSet::default();
    for part in &closure.parts {
        let image = &part.object.image;
        let code = image.section(part.section).kind == SectionKind::Text;
        if code && seen.insert(ObjectKey::of(&part.object)) {
            add_object(closure, layout, bind, &part.object, &mut out);
        }
    }
    out
}

fn add_object(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
    object: &Arc<crate::objects::Object>,
    out: &mut DebugSections,
) {
    let image = &object.image;
    let debug: Vec<SectionId> = image
        .sections()
        .filter(|(_, section)| section.kind == SectionKind::Debug && section.size > 0)
        .map(|(id, _)| id)
        .collect();
    // Where this object's sections start in the joined ones.
    let mut starts = FxHashMap::default();
    for &id in &debug {
        let joined = out.entry(image.section_name(id).to_owned()).or_default();
        let align = usize::try_from(image.section(id).align).unwrap_or(1);
        joined.resize(joined.len().next_multiple_of(align), 0);
        starts.insert(id, joined.len());
        joined.extend_from_slice(image.data(id));
    }
    let address = |section: SectionId| {
        let part = closure.sections.get(&(ObjectKey::of(object), section))?;
        bind.link_base().checked_add(layout.parts[part.0])
    };
    for &id in &debug {
        let Some(joined) = out.get_mut(image.section_name(id)) else { continue };
        let bytes = &mut joined[starts[&id]..];
        for relocation in image.debug_relocations(id) {
            let value = value(image, &relocation, &starts, address)
                .unwrap_or_else(|| tombstone(image.section_name(id)));
            if let Ok(howto) = howto(relocation.kind)
                && matches!(howto.formula, Formula::Absolute | Formula::ThreadBlockOffset)
                && howto.write(bytes, relocation.offset.0, value.cast_signed()).is_err()
            {
                // A joined section over 4 GiB: what points past that is lost, the rest holds.
                let _ = howto.write(bytes, relocation.offset.0, 0);
            }
        }
    }
}

/// What a debug section refers to: another debug section's offset, or a link-time address.
fn value(
    image: &Relocatable,
    relocation: &Relocation,
    starts: &FxHashMap<SectionId, usize>,
    address: impl Fn(SectionId) -> Option<livepatch_object::address::LinkAddress>,
) -> Option<u64> {
    let symbol = image.symbol(relocation.symbol);
    let Place::Section(section) = symbol.place else { return None };
    let within = symbol.offset.0.wrapping_add_signed(relocation.addend);
    match starts.get(&section) {
        Some(&start) => Some((start as u64).wrapping_add(within)),
        None => address(section).map(|start| start.0.wrapping_add(within)),
    }
}
