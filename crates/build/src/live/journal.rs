//! How to take patches back.
//!
//! The newest patches are taken back one by one. What older ones changed is held once, for all of them
//! together: the one place before them that anybody goes back to is the beginning. Otherwise every object that
//! was ever live would be held for as long as the session lasts.

use super::{Entity, Location, Name};
use crate::objects::{CodegenUnit, Identity, Object};
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// One step of taking a patch back.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    /// What a codegen unit was.
    Unit(CodegenUnit, Option<(Identity, Arc<Object>)>),
    /// What a name meant.
    Entities(Box<str>, Vec<Entity>),
    /// Where, and as what, a name was brought before.
    Brought(Name, Option<(Location, Entity)>),
    /// It was, and is again, where the host has it.
    Renewed(Name),
    /// Whether new code needs its own version of a name.
    Stale(Box<str>, bool),
}

/// All patches that can be taken back.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    oldest: Folded,
    /// Ascending by the patch's number, which several entries may share. What belongs to no patch has 0, and is
    /// never taken back.
    patches: Vec<(u32, Vec<Undo>)>,
}

/// How to take the oldest patches back, all at once: for each thing, what it was before the first of them.
#[derive(Clone, Debug, Default)]
struct Folded {
    /// The last of them; 0 if there is none.
    last: u32,
    units: FxHashMap<CodegenUnit, Option<(Identity, Arc<Object>)>>,
    entities: FxHashMap<Box<str>, Vec<Entity>>,
    names: FxHashMap<Name, Before>,
    stale: FxHashMap<Box<str>, bool>,
}

/// What a name was that patches brought.
#[derive(Clone, Debug)]
enum Before {
    /// It was where the host has it.
    InHost,
    /// It was brought already.
    Brought(Location, Entity),
    /// It was nowhere. The first of the patches gave it a place, which is for ever; with what was there first,
    /// where a later one has brought it again.
    Nowhere(Option<(Location, Entity)>),
}

impl Journal {
    pub(super) fn push(&mut self, patch: u32, undo: Vec<Undo>) {
        self.patches.push((patch, undo));
    }

    /// The steps that take back the newest patch, if it is later than `patch`, in the order in which they were
    /// taken: to be gone through from the end.
    pub(super) fn pop_after(&mut self, patch: u32) -> Option<Vec<Undo>> {
        match self.patches.pop_if(|(number, _)| *number > patch) {
            Some((_, undo)) => Some(undo),
            None if self.oldest.last > patch => Some(std::mem::take(&mut self.oldest).steps()),
            None => None,
        }
    }

    /// Holds what patches up to this one changed only for going back to the beginning.
    pub(super) fn fold_until(&mut self, patch: u32) {
        let count = self.patches.partition_point(|(number, _)| *number <= patch);
        for (number, undo) in self.patches.drain(..count).filter(|(number, _)| *number > 0) {
            self.oldest.last = number;
            undo.into_iter().for_each(|step| self.oldest.add(step));
        }
    }
}

impl Folded {
    /// A step of a later patch than those before: what is known already is further back, and counts.
    fn add(&mut self, step: Undo) {
        match step {
            Undo::Unit(unit, old) => drop(self.units.entry(unit).or_insert(old)),
            Undo::Entities(name, old) => drop(self.entities.entry(name).or_insert(old)),
            Undo::Stale(name, was) => drop(self.stale.entry(name).or_insert(was)),
            Undo::Renewed(name) => drop(self.names.entry(name).or_insert(Before::InHost)),
            Undo::Brought(name, old) => match self.names.entry(name) {
                Entry::Vacant(fresh) => {
                    fresh.insert(match old {
                        Some((location, entity)) => Before::Brought(location, entity),
                        None => Before::Nowhere(None),
                    });
                }
                Entry::Occupied(mut known) => {
                    if let Before::Nowhere(first @ None) = known.get_mut() {
                        *first = old;
                    }
                }
            },
        }
    }

    /// As if one patch had changed it all.
    fn steps(self) -> Vec<Undo> {
        let mut steps = Vec::new();
        steps.extend(self.entities.into_iter().map(|(name, old)| Undo::Entities(name, old)));
        steps.extend(self.units.into_iter().map(|(unit, old)| Undo::Unit(unit, old)));
        for (name, before) in self.names {
            match before {
                Before::InHost => steps.push(Undo::Renewed(name)),
                Before::Brought(location, entity) => {
                    steps.push(Undo::Brought(name, Some((location, entity))));
                }
                Before::Nowhere(first) => {
                    // From the end: first it is what it was when it was brought, and then it stays so.
                    steps.push(Undo::Brought(name.clone(), None));
                    steps.extend(first.map(|first| Undo::Brought(name, Some(first))));
                }
            }
        }
        steps.extend(self.stale.into_iter().map(|(name, was)| Undo::Stale(name, was)));
        steps
    }
}
