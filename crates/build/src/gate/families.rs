//! Closures have no names, only numbers in the function around them: one that is inserted renumbers
//! those behind it. Which is which is told by their bodies.

use super::{Findings, Pair};
use crate::diff::Diff;
use crate::objects::Object;
use livepatch_object::compare::{Comparer, Strictness};
use livepatch_object::layout::{Closure, PathId};
use livepatch_object::relocatable::{Place, SectionId, SymbolId};
use rustc_hash::{FxHashMap, FxHashSet};

/// Finds functions whose closures may have changed places; all their closures are versioned then.
pub(super) fn check(pairs: &[Pair<'_>], diff: &Diff, findings: &mut Findings<'_>) {
    let changed: FxHashSet<&str> =
        diff.changed.iter().filter(|change| !change.lines_only).map(|change| change.new.name()).collect();
    for pair in pairs {
        let before: FxHashMap<PathId, Vec<Closure>> =
            pair.old.1.closure_families().map(|(path, family)| (path, family.collect())).collect();
        for (path, family) in pair.new.1.closure_families() {
            let (Some(old), new) = (before.get(&path), family.collect::<Vec<_>>()) else { continue };
            if numbers(old) != numbers(&new) || is_reordered(pair, &changed, old, &new) {
                let all = old.iter().chain(&new).map(|closure| closure.environment);
                findings.environments.extend(all);
            }
        }
    }
}

fn numbers(family: &[Closure]) -> Vec<u32> {
    let mut numbers: Vec<u32> = family.iter().map(|closure| closure.index).collect();
    numbers.dedup();
    numbers
}

/// Whether a changed closure is what another one was, or several changed at once, so that it cannot be
/// known which is which.
fn is_reordered(pair: &Pair<'_>, changed: &FxHashSet<&str>, old: &[Closure], new: &[Closure]) -> bool {
    let (was, object) = (pair.old.0, pair.new.0);
    let is_changed = |symbol: &SymbolId| changed.contains(object.image.name(*symbol));
    let edited: Vec<(u32, SymbolId)> =
        new.iter().filter_map(|c| Some((c.index, c.symbol.filter(is_changed)?))).collect();
    let mut indices: Vec<u32> = edited.iter().map(|(index, _)| *index).collect();
    indices.dedup();
    if indices.len() > 1 {
        return true;
    }
    let mut comparer = Comparer::new(&was.image, &object.image, Strictness::IgnoreLocations);
    edited.iter().any(|&(index, symbol)| {
        let others = old.iter().filter(|other| other.index != index).filter_map(|other| other.symbol);
        others.filter_map(|other| section(was, other)).any(|other| {
            section(object, symbol).is_some_and(|section| {
                comparer.same_function((other, &was.unwind), (section, &object.unwind))
            })
        })
    })
}

fn section(object: &Object, symbol: SymbolId) -> Option<SectionId> {
    match object.image.symbol(symbol).place {
        Place::Section(section) => Some(section),
        _ => None,
    }
}
