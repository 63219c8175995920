//! Functions that the compiler names in another way than before, and that are the same.
//!
//! A legacy symbol name ends in a hash that covers the function's type, so that a function with another
//! signature is another function. But it also covers things that mean nothing to a caller: the first closure
//! with a written `&T` in a body moves the number of the signature's elided lifetimes. Old callers, tables and
//! pointers would call the old code for ever.

use crate::live::Live;
use crate::objects::{CodegenUnit, Identity, Object};
use crate::session::CrateObjects;
use livepatch_object::demangle;
use livepatch_object::relocatable::{Place, SectionKind, SymbolId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// The end of a legacy name: the hash's length, `h`, sixteen digits, `E`.
const HASH: usize = "17h0123456789abcdefE".len();

/// Gives functions that are the same as live ones the names of those, in all objects of a patch. Returns
/// notes: of which functions it cannot be known.
pub(crate) fn keep_names(
    live: &Live,
    rebuilt: &[CrateObjects],
    units: &[(CodegenUnit, Identity, Arc<Object>)],
) -> Vec<String> {
    let mut notes = Vec::new();
    let mut names: FxHashMap<&str, &str> = FxHashMap::default();
    names.extend(live.objects().flat_map(|(_, object)| object.image.renamed()));
    // An object that was live before a patch was taken back has its names already.
    names.extend(units.iter().flat_map(|(.., object)| object.image.renamed()));
    for (unit, _, new) in units {
        let krate = rebuilt.iter().find(|krate| krate.unit == unit.unit);
        if let (Some(old), Some(krate)) = (live.unit(unit), krate) {
            let unsure = compare(live, old, new, &mut names);
            let unsure = unsure.into_iter().map(demangle);
            // Copies of library code say nothing: another instance of a generic function has the same path.
            let own = unsure.filter(|name| name.contains(&format!("{}::", krate.crate_name)));
            notes.extend(own.map(|name| {
                format!(
                    "`{name}` counts as another function than before, as debug information is missing that would \
                     say whether its type changed: what holds the old one goes on calling it"
                )
            }));
        }
    }
    if names.is_empty() {
        return notes;
    }
    // Found before any is given: giving them changes what names say.
    let given: Vec<FxHashMap<SymbolId, Box<str>>> = units
        .iter()
        .map(|(.., object)| {
            let renamed = |(id, _)| Some((id, Box::from(*names.get(object.image.name(id))?)));
            object.image.symbols().filter_map(renamed).collect()
        })
        .collect();
    for ((.., object), given) in units.iter().zip(given) {
        object.image.rename(|| given);
    }
    notes
}

/// Finds the functions of one unit that are the same under another name. Returns those of which it cannot be
/// known, for want of debug information.
fn compare<'o>(
    live: &Live,
    old: &'o Arc<Object>,
    new: &'o Arc<Object>,
    names: &mut FxHashMap<&'o str, &'o str>,
) -> Vec<&'o str> {
    let mut unsure = Vec::new();
    let unknown = functions(new, |name, id| live.entity(name, new.scope(id)).is_none());
    if unknown.is_empty() {
        return unsure;
    }
    let still: FxHashSet<&str> = new.definitions().map(|id| new.image.name(id)).collect();
    let gone = functions(old, |name, _| !still.contains(name));
    let signature = |object: &Object, id| Some(object.layouts()?.function(id)?.signature());
    for (path, candidates) in &unknown {
        for &id in candidates {
            let Some(before) = gone.get(path) else { continue };
            let name = new.image.name(id);
            if new.layouts().is_none() || old.layouts().is_none() {
                unsure.extend((before.len() == 1 && candidates.len() == 1).then_some(name));
                continue;
            }
            let Some(how) = signature(new, id) else { continue };
            let mut same = before.iter().filter(|&&was| signature(old, was) == Some(how));
            let twin = candidates.iter().any(|&other| other != id && signature(new, other) == Some(how));
            if let (Some(&was), None, false) = (same.next(), same.next(), twin) {
                names.insert(name, old.image.name(was));
            }
        }
    }
    unsure
}

/// Functions with a hash in their names, by the rest of the name.
fn functions(object: &Object, is_wanted: impl Fn(&str, SymbolId) -> bool) -> FxHashMap<&str, Vec<SymbolId>> {
    let mut found: FxHashMap<&str, Vec<SymbolId>> = FxHashMap::default();
    for id in object.definitions() {
        let name = object.image.name(id);
        let Place::Section(section) = object.image.symbol(id).place else { continue };
        let is_code = object.image.section(section).kind == SectionKind::Text;
        if let Some(path) = without_hash(name).filter(|_| is_code && is_wanted(name, id)) {
            found.entry(path).or_default().push(id);
        }
    }
    found
}

/// A legacy name without its hash.
pub(crate) fn without_hash(name: &str) -> Option<&str> {
    let (path, hash) = name.split_at_checked(name.len().checked_sub(HASH)?)?;
    (name.starts_with("_ZN") && hash.starts_with("17h") && hash.ends_with('E')).then_some(path)
}
