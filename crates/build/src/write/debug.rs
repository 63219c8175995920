//! Debug sections of the objects that have code in the patch, one after the other, relocated.
//!
//! Addresses in them are link-time addresses. What an object describes and the patch does not hold gets
//! an address that no code has, as linkers do for sections they drop.

use super::Bind;
use crate::objects::ObjectKey;
use crate::place::Layout;
use crate::resolve::Closure;
use livepatch_object::address::LinkAddress;
use livepatch_object::relocatable::{Place, Relocatable, Relocation, SectionId, SectionKind};
use livepatch_object::relocation::{Formula, howto};
use rustc_hash::FxHashSet;
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
    let with_code = closure.parts.iter().filter(|part| {
        part.object.image.section(part.section).kind == SectionKind::Text
            && seen.insert(ObjectKey::of(&part.object))
    });
    let objects: Vec<_> = with_code.map(|part| &part.object).collect();
    // There are tens of megabytes: they are not moved while they grow.
    let mut lengths: BTreeMap<&str, usize> = BTreeMap::new();
    for object in &objects {
        for (id, section) in object.image.sections().filter(|(_, it)| it.kind == SectionKind::Debug) {
            let align = usize::try_from(section.align).unwrap_or(1);
            let length = object.image.data(id).len().next_multiple_of(align);
            *lengths.entry(object.image.section_name(id)).or_default() += length;
        }
    }
    out.extend(lengths.into_iter().map(|(name, length)| (name.to_owned(), Vec::with_capacity(length))));
    objects.into_iter().for_each(|object| add_object(closure, layout, bind, object, &mut out));
    out.retain(|_, bytes| !bytes.is_empty());
    out
}

/// Where a section of an object is.
#[derive(Clone, Copy)]
enum At {
    /// So far into the joined debug section of its name.
    Debug(u64),
    /// At a link-time address.
    Image(LinkAddress),
    Nowhere,
}

fn add_object(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
    object: &Arc<crate::objects::Object>,
    out: &mut DebugSections,
) {
    let image = &object.image;
    let address = |section: SectionId| {
        let part = closure.sections.get(&(ObjectKey::of(object), section))?;
        bind.link_base().checked_add(layout.parts[part.0])
    };
    // By section: there are hundreds of thousands of references to them.
    let mut places = Vec::new();
    let mut debug = Vec::new();
    for (id, section) in image.sections() {
        if section.kind == SectionKind::Debug && section.size > 0 {
            let joined = out.entry(image.section_name(id).to_owned()).or_default();
            let align = usize::try_from(section.align).unwrap_or(1);
            joined.resize(joined.len().next_multiple_of(align), 0);
            debug.push((id, joined.len()));
            places.push(At::Debug(joined.len() as u64));
            joined.extend_from_slice(image.data(id));
        } else {
            places.push(address(id).map_or(At::Nowhere, At::Image));
        }
    }
    for (id, start) in debug {
        let name = image.section_name(id);
        let Some(joined) = out.get_mut(name) else { continue };
        let bytes = &mut joined[start..];
        for relocation in image.debug_relocations(id) {
            let value = value(image, &relocation, &places).unwrap_or_else(|| tombstone(name));
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
fn value(image: &Relocatable, relocation: &Relocation, places: &[At]) -> Option<u64> {
    let symbol = image.symbol(relocation.symbol);
    let Place::Section(section) = symbol.place else { return None };
    let within = symbol.offset.0.wrapping_add_signed(relocation.addend);
    match places.get(usize::try_from(section.0).ok()?)? {
        At::Debug(start) => Some(start.wrapping_add(within)),
        At::Image(start) => Some(start.0.wrapping_add(within)),
        At::Nowhere => None,
    }
}
