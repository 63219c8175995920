//! Vtables of before must have their methods where new code looks for them.

use super::{Findings, Pair};
use crate::objects::Object;
use livepatch_object::compare::Referent;
use livepatch_object::demangle;
use livepatch_object::layout::{PathId, TypeKind, Vtable, VtableSlot};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Compares the methods of every vtable.
pub(super) fn check(pairs: &[Pair<'_>], findings: &mut Findings<'_>) {
    let mut before: FxHashMap<PathId, (Vtable<'_>, &Arc<Object>)> = FxHashMap::default();
    for Pair { old: (object, layouts), .. } in pairs {
        layouts.vtables().for_each(|vtable| {
            before.entry(vtable.name).or_insert((vtable, object));
        });
    }
    for Pair { new: (object, layouts), .. } in pairs {
        for new in layouts.vtables() {
            let Some((old, was)) = before.get(&new.name) else { continue };
            let Some(what) = difference((old, was), (&new, object)) else { continue };
            let kind = new.concrete.and_then(|id| layouts.get(id)).map(|ty| ty.kind());
            match new.concrete.filter(|_| kind.is_some_and(TypeKind::is_environment)) {
                Some(environment) => {
                    findings.environments.insert(environment);
                }
                None if !findings.unsound.contains(&what) => findings.unsound.push(what),
                None => {}
            }
        }
    }
}

/// How the methods of two vtables differ.
fn difference(
    (old, old_object): (&Vtable<'_>, &Arc<Object>),
    (new, new_object): (&Vtable<'_>, &Arc<Object>),
) -> Option<String> {
    let (a, b) = (methods(old_object, old.slots), methods(new_object, new.slots));
    if a == b && old.size == new.size {
        return None;
    }
    let was = a.iter().zip(&b).find(|(old, new)| old != new);
    Some(match was {
        Some(((offset, Some(old)), (_, Some(new)))) if demangle(old) == demangle(new) => {
            format!("`{}` is called in another way through trait objects (slot {offset})", demangle(new))
        }
        Some(((offset, Some(old)), (_, Some(new)))) => {
            format!("trait objects have `{}` where `{}` was (slot {offset})", demangle(new), demangle(old))
        }
        _ => match b.iter().skip(a.len()).find_map(|(_, name)| *name) {
            Some(added) => format!("trait objects of before have no `{}`", demangle(added)),
            None => format!("trait objects have {} methods, and had {}", b.len(), a.len()),
        },
    })
}

/// The names in a vtable; what has none is private to its object.
fn methods<'o>(object: &'o Arc<Object>, slots: &[VtableSlot]) -> Vec<(u64, Option<&'o str>)> {
    let name = |slot: &VtableSlot| match slot.referent {
        Referent::Named { symbol, .. } => Some(object.image.name(symbol)),
        _ => None,
    };
    slots.iter().filter(|slot| slot.offset > 0).map(|slot| (slot.offset, name(slot))).collect()
}
