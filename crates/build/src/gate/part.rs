//! May the first part of an edit go live before the rest of it is compiled?
//!
//! The first part is what changed in the crate that was edited; the crates that depend on it are still being
//! compiled. In between, code of before in the dependents calls new code of the crate. That by itself is
//! nothing new: a thread that is in a function of a dependent when a patch goes live calls the new code as
//! well, and the gate's rules are made for it. They hold for what the crate's own objects tell. This module
//! is about what they do not tell, because only objects of dependents have it:
//!
//! * the layout of a type that the crate's objects did not describe before, and describe now. It is
//!   compared with what is live anywhere; in one patch, the dependent's objects would be there to compare;
//! * in which order a trait of the crate has its methods, when only types of dependents are made objects of
//!   it: neither symbols nor types tell, only vtables do. Then new code must call nothing by an address.
//!   Where the crate has a vtable of the same trait, and had it, the gate has compared the two;
//! * what else must change with a function that is versioned, or with a constant that is replaced: whoever
//!   refers to one gets new code, and only the crate's own objects are up to date.
//!
//! Where any of this is in question, the edit goes live as one patch. What of the crate is compiled into
//! dependents (generic functions, what is inlined, constants) stays as it was for the moment in between, as
//! it does in a frame that has begun.

use crate::diff::Diff;
use crate::live::Live;
use crate::objects::{CodegenUnit, Object, ObjectKey};
use crate::session::{CrateObjects, UnitId};
use livepatch_object::compare::Referent;
use livepatch_object::indirect;
use livepatch_object::layout::{Layouts, PathId, Trait, Type, TypeId, Vtable, VtableSlot};
use livepatch_object::relocatable::SectionKind;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Whether what changed in one crate, of which the gate has nothing bad to say, can go live without what
/// changes in its dependents.
pub fn stands_alone(live: &Live, diff: &Diff, krate: &CrateObjects) -> bool {
    let within = diff.unsound.is_empty()
        && diff.restart.is_none()
        && diff.versioned.is_empty()
        && diff.delegations.is_empty()
        && changes_nothing_else(live, diff, &krate.unit);
    within
        && is_described(live, diff)
        && types_are_known(live, diff, &krate.unit)
        && traits_are_known(live, diff, krate)
}

/// Whether all functions that get new code are the crate's own.
fn changes_nothing_else(live: &Live, diff: &Diff, krate: &UnitId) -> bool {
    let of_krate = |unit: &CodegenUnit| unit.unit == *krate;
    let new = diff.units.iter().filter(|(unit, ..)| of_krate(unit)).map(|(.., object)| object);
    let same = live.objects().filter(|(unit, _)| of_krate(unit)).map(|(_, object)| object);
    let own: FxHashSet<ObjectKey> = new.chain(same).map(ObjectKey::of).collect();
    diff.changed.iter().all(|change| own.contains(&ObjectKey::of(&change.new.object)))
}

/// Whether debug information says what there is to be compared.
fn is_described(live: &Live, diff: &Diff) -> bool {
    let has_types = |object: &Object| object.layouts().is_some_and(Layouts::has_types);
    let mut crates: FxHashMap<&UnitId, bool> = FxHashMap::default();
    for (unit, object) in live.objects() {
        let known = crates.entry(&unit.unit).or_default();
        *known = *known || has_types(object);
    }
    let is_read = |object: &Arc<Object>| object.layouts().is_some();
    let both =
        |(unit, _, new): &(CodegenUnit, _, Arc<Object>)| is_read(new) && live.unit(unit).is_none_or(is_read);
    diff.units.iter().all(both) && crates.values().all(|known| *known)
}

/// Whether every type that an object of the crate did not describe before is what it is elsewhere. Of the
/// others the gate knows.
fn types_are_known(live: &Live, diff: &Diff, krate: &UnitId) -> bool {
    // The crate's own objects first: they know most of them.
    let (own, others): (Vec<_>, Vec<_>) = live.objects().partition(|(unit, _)| unit.unit == *krate);
    let all: Vec<&Layouts> =
        own.into_iter().chain(others).filter_map(|(_, object)| object.layouts()).collect();
    let mut checked: FxHashSet<TypeId> = FxHashSet::default();
    let mut is_known = |ty: Type<'_>| {
        let found = checked.insert(ty.id()).then(|| all.iter().find_map(|layouts| layouts.get(ty.id())));
        found.flatten().is_none_or(|old| !old.is_relaid(&ty))
    };
    diff.units.iter().all(|(unit, _, new)| {
        let old = live.unit(unit).and_then(|old| old.layouts());
        let is_new = |ty: &Type<'_>| old.is_none_or(|old| old.get(ty.id()).is_none());
        new.layouts().into_iter().flat_map(Layouts::types).filter(is_new).all(&mut is_known)
    })
}

/// Whether new code finds the methods of the crate's traits where objects of before have them. The gate has
/// compared the crate's own vtables; a trait that has some only elsewhere may have its methods in another
/// order. (Another number of them changes the type of its objects.) Then new code must not use any.
fn traits_are_known(live: &Live, diff: &Diff, krate: &CrateObjects) -> bool {
    let mut unknown = unknown_vtables(live, diff, krate).peekable();
    // With tables in it: objects of a supertrait are made by reading one, not by calling.
    let is_table = |slot: &VtableSlot| !matches!(slot.referent, Referent::Named { .. });
    unknown.peek().is_none()
        || !unknown.any(|vtable| vtable.slots.iter().any(is_table)) && !calls_by_address(diff)
}

/// The vtables of the crate's traits that tell nothing, because none of the same trait was compared.
fn unknown_vtables<'l>(
    live: &'l Live,
    diff: &'l Diff,
    krate: &CrateObjects,
) -> impl Iterator<Item = Vtable<'l>> + use<'l> {
    let declared_in = PathId::of(&krate.crate_name);
    let of_krate = move |object: &'l Arc<Object>| {
        let vtables = object.layouts().into_iter().flat_map(Layouts::vtables);
        vtables.filter(move |vtable| vtable.of.is_some_and(|of| of.declared_in == declared_in))
    };
    let (own, others): (Vec<_>, Vec<_>) = live.objects().partition(|(unit, _)| unit.unit == krate.unit);
    let replaced: FxHashSet<&CodegenUnit> = diff.units.iter().map(|(unit, ..)| unit).collect();
    // The gate compares objects with what they were.
    let (paired, fresh): (Vec<_>, Vec<_>) =
        diff.units.iter().partition(|(unit, ..)| live.unit(unit).is_some());
    let same = own.iter().filter(|(unit, _)| !replaced.contains(unit)).map(|(_, object)| *object);
    let now: Vec<Vtable<'l>> =
        paired.into_iter().map(|(.., object)| object).chain(same).flat_map(of_krate).collect();
    let before: FxHashSet<PathId> =
        own.into_iter().flat_map(|(_, object)| of_krate(object)).map(|vtable| vtable.name).collect();
    let compared: FxHashSet<Trait> =
        now.iter().filter(|vtable| before.contains(&vtable.name)).filter_map(|vtable| vtable.of).collect();
    let elsewhere = others.into_iter().map(|(_, object)| object);
    let rest = fresh.into_iter().map(|(.., object)| object).chain(elsewhere).flat_map(of_krate);
    let all = now.into_iter().chain(rest.collect::<Vec<_>>());
    all.filter(move |vtable| vtable.of.is_none_or(|of| !compared.contains(&of)))
}

/// Whether code that is new or changed calls anything by an address, as methods of trait objects are.
fn calls_by_address(diff: &Diff) -> bool {
    let changed = diff.changed.iter().filter(|change| !change.lines_only).map(|change| change.new.clone());
    changed.chain(diff.fresh.iter().cloned()).any(|function| {
        let image = &function.object.image;
        let text = function.section().filter(|&at| image.section(at).kind == SectionKind::Text);
        text.is_some_and(|text| indirect::calls_by_address(image.architecture(), image.data(text)))
    })
}
