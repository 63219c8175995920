//! Functions that are called in another way than before, and whose old code something may hold.
//!
//! A legacy symbol name covers the function's type: with another signature it is another function, and the
//! old one is gone from the objects. Its code stays, for whoever has it: a pointer, a trait object, a
//! schedule that was built from it. Those who call it by name get new code and call the new one.

use super::Pair;
use super::boundary::is_call;
use crate::diff::Diff;
use crate::live::Entity;
use crate::renamed::without_hash;
use livepatch_object::compare::{Referent, referent};
use livepatch_object::demangle;
use livepatch_object::relocatable::{Relocatable, SectionId, SectionKind};
use rustc_hash::{FxHashMap, FxHashSet};

/// Such functions, demangled. `versioned` functions keep their old code too, and what it calls.
pub(super) fn names(pairs: &[Pair<'_>], diff: &Diff, versioned: &FxHashSet<Box<str>>) -> Vec<String> {
    let new = paths(&diff.fresh);
    if new.is_empty() {
        return Vec::new();
    }
    let gone = gone(pairs);
    let followed = followed(pairs, &gone, &new);
    if followed.is_empty() {
        return Vec::new();
    }
    let held = held(pairs, &gone, versioned);
    followed.into_iter().filter(|name| held.contains(name)).map(demangle).collect()
}

/// The names of functions without their hashes, and how many have each. Instances of generic functions have
/// their path in common, so it says nothing about them.
fn paths(functions: &[Entity]) -> FxHashMap<&str, usize> {
    let mut found = FxHashMap::default();
    for function in functions {
        let known = function.object.layouts().and_then(|layouts| layouts.function(function.symbol));
        let plain = known.is_some_and(|it| it.generics().is_empty() && it.environment().is_none());
        if let Some(path) = without_hash(function.name()).filter(|_| plain) {
            *found.entry(path).or_default() += 1;
        }
    }
    found
}

/// Functions that the changed objects had, and that none of them has any more.
fn gone<'o>(pairs: &[Pair<'o>]) -> FxHashSet<&'o str> {
    let now: FxHashSet<&str> = pairs
        .iter()
        .flat_map(|Pair { new: (object, _), .. }| object.definitions().map(|id| object.image.name(id)))
        .collect();
    let before = pairs.iter().flat_map(|Pair { old: (object, layouts), .. }| {
        layouts.functions().map(|function| object.image.name(function.symbol()))
    });
    before.filter(|name| !now.contains(name)).collect()
}

/// Functions that are gone, and in whose place there is one with another signature.
fn followed<'o>(
    pairs: &[Pair<'o>],
    gone: &FxHashSet<&'o str>,
    new: &FxHashMap<&str, usize>,
) -> FxHashSet<&'o str> {
    let mut by_path: FxHashMap<&str, Vec<&str>> = FxHashMap::default();
    for Pair { old: (object, layouts), .. } in pairs {
        for function in layouts.functions().filter(|function| function.generics().is_empty()) {
            let name = object.image.name(function.symbol());
            if let Some(path) = without_hash(name).filter(|_| gone.contains(name)) {
                by_path.entry(path).or_default().push(name);
            }
        }
    }
    let sure = by_path.into_iter().filter(|(path, names)| names.len() == 1 && new.get(path) == Some(&1));
    sure.flat_map(|(_, names)| names).collect()
}

/// The functions among those that are gone whose code may still be entered: by an address that was taken
/// somewhere, or from others of them.
fn held<'o>(
    pairs: &[Pair<'o>],
    gone: &FxHashSet<&'o str>,
    versioned: &FxHashSet<Box<str>>,
) -> FxHashSet<&'o str> {
    let mut queue: Vec<&str> = Vec::new();
    let mut calls: FxHashMap<&str, Vec<&str>> = FxHashMap::default();
    for Pair { old: (object, _), .. } in pairs {
        let image = &object.image;
        for (section, kind) in image.sections().map(|(id, section)| (id, section.kind)) {
            use SectionKind::{Data, ReadOnly, Text, TlsData};
            if !matches!(kind, Text | ReadOnly | Data | TlsData) {
                continue;
            }
            for relocation in image.relocations(section) {
                let Referent::Named { symbol, .. } = referent(image, section, relocation) else { continue };
                let Some(&name) = gone.get(image.name(symbol)) else { continue };
                if kind != Text || !is_call(image, section, relocation) {
                    queue.push(name);
                } else if let Some(caller) = function(image, section) {
                    match gone.get(caller) {
                        Some(&caller) => calls.entry(caller).or_default().push(name),
                        None if versioned.contains(caller) => queue.push(name),
                        // It gets new code.
                        None => {}
                    }
                }
            }
        }
    }
    let mut held = FxHashSet::default();
    while let Some(name) = queue.pop() {
        if held.insert(name) {
            queue.extend(calls.get(name).into_iter().flatten());
        }
    }
    held
}

/// The function that a section of code holds: rustc gives each its own.
fn function(image: &Relocatable, section: SectionId) -> Option<&str> {
    let mut all = image.symbols_in(section).filter(|&id| livepatch_object::compare::is_named(image, id));
    all.next().map(|id| image.name(id))
}
