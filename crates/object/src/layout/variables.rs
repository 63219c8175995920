//! Statics and vtables: variables with a place of their own.

use super::entries::{Entries, VariableEntry};
use super::functions::symbol_at;
use super::ids::Ids;
use super::names::{segments, trait_of};
use super::{Layouts, PathId, StaticFacts, Trait, VtableFacts, VtableSlot, hash};
use crate::address::SectionOffset;
use crate::compare::referent;
use crate::relocatable::Relocatable;
use crate::unwind::relocations_within;

fn is_vtable(variable: &VariableEntry<'_>) -> bool {
    variable.name.ends_with(b"{vtable}")
}

fn vtable_name(entries: &Entries<'_>, variable: &VariableEntry<'_>) -> PathId {
    PathId(hash::segments(entries.scopes[variable.scope as usize].path, variable.name))
}

/// The trait in a vtable's name.
fn implemented(variable: &VariableEntry<'_>) -> Option<Trait> {
    let path = trait_of(variable.name)?;
    let krate = segments(path).next()?;
    let id = |name| PathId(hash::segments(hash::ROOT, name));
    Some(Trait { path: id(path), declared_in: id(krate) })
}

pub(super) fn add(out: &mut Layouts, ids: &Ids<'_, '_>, image: &Relocatable) {
    let mut vtables = Vec::new();
    for variable in &ids.entries.variables {
        if is_vtable(variable) {
            vtables.push(variable);
        } else if let Some(ty) = ids.at(variable.target)
            && let Some(symbol) = symbol_at(image, variable.place, || {
                let text = variable.linkage_name;
                text.and_then(|text| ids.entries.sections.string(text)).unwrap_or_default()
            })
        {
            out.statics.push(StaticFacts { symbol, ty });
        }
    }
    out.statics.sort_by_key(|it| it.symbol);
    out.statics.dedup_by_key(|it| it.symbol);
    vtables.sort_by_key(|it| (it.place.section, it.place.offset));
    for vtable in vtables {
        // Two cannot share bytes: this one was described before, or makes no sense.
        let overlaps = out.vtables.last().is_some_and(|last| {
            let end = last.offset.checked_add(last.size).unwrap_or(SectionOffset(u64::MAX));
            last.section == vtable.place.section && vtable.place.offset < end
        });
        if !overlaps {
            add_vtable(out, ids, image, vtable);
        }
    }
    out.vtables.sort_by_key(|it| it.name);
}

fn add_vtable(out: &mut Layouts, ids: &Ids<'_, '_>, image: &Relocatable, variable: &VariableEntry<'_>) {
    let Some(ty) = ids.index(variable.target).map(|index| &ids.entries.types[index]) else { return };
    let (section, start) = (variable.place.section, variable.place.offset);
    let Some(end) = start.checked_add(ty.size) else { return };
    let (Ok(from), Ok(to)) = (usize::try_from(start.0), usize::try_from(end.0)) else { return };
    let first = out.slots.len() as u32;
    for relocation in relocations_within(image, section, &(from..to)) {
        if let Some(offset) = relocation.offset.checked_since(start) {
            out.slots.push(VtableSlot { offset, referent: referent(image, section, relocation) });
        }
    }
    out.vtables.push(VtableFacts {
        name: vtable_name(ids.entries, variable),
        section,
        offset: start,
        size: ty.size,
        concrete: ids.at(ty.containing),
        of: implemented(variable),
        slots: [first, out.slots.len() as u32],
    });
}
