//! Who handles an environment that is not what it was, and where old code may enter new code all the same.

use super::Findings;
use crate::live::Live;
use crate::objects::{Mentioned, Object};
use livepatch_object::compare::{Referent, referent};
use livepatch_object::layout::{Function, TypeId};
use livepatch_object::relocatable::{Place, Relocatable, Relocation, SectionId, SectionKind};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// How a function has to do with environments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handles {
    /// It is given one, returns or drops one.
    Values,
    /// It was made for one (by its generic arguments), but is called with other things only.
    ByGenerics,
}

/// Versions every function that handles a value of one of the types, but not the boundary: functions that
/// only their generic arguments tie to it and that code calls by name, none of which is versioned. Values
/// are made behind it, so old callers that arrive in new code there bring none of before.
///
/// `handling` are those of the `newest` objects that have anything to do with the environments.
pub(super) fn version(
    live: &Live,
    handling: &[&Arc<Object>],
    newest: &[&Arc<Object>],
    types: &FxHashSet<TypeId>,
    findings: &mut Findings<'_>,
) {
    let handlers = handlers(live, handling, types);
    let candidates: FxHashSet<&str> =
        handlers.iter().filter(|(_, how)| **how == Handles::ByGenerics).map(|(name, _)| *name).collect();
    let callers = callers(newest, &candidates);
    let is_boundary = |name: &str| {
        callers.get(name).is_some_and(|callers| {
            callers.called && callers.users.iter().all(|user| !handlers.contains_key(user))
        })
    };
    let versioned = handlers.keys().filter(|name| !is_boundary(name)).map(|name| Box::from(*name));
    findings.versioned.extend(versioned.collect::<Vec<_>>());
}

/// The functions of the process that handle one of the types.
fn handlers<'o>(
    live: &Live,
    newest: &[&'o Arc<Object>],
    types: &FxHashSet<TypeId>,
) -> FxHashMap<&'o str, Handles> {
    let among = |ids: &[TypeId]| ids.iter().any(|id| types.contains(id));
    let how = |function: &Function<'_>| {
        let body = function.drops().into_iter().chain(function.environment());
        if among(function.signature_types()) || body.into_iter().any(|id| types.contains(&id)) {
            Some(Handles::Values)
        } else {
            among(function.generics()).then_some(Handles::ByGenerics)
        }
    };
    let mut found = FxHashMap::default();
    for object in newest {
        for function in object.layouts().into_iter().flat_map(|layouts| layouts.functions()) {
            let Some(how) = how(&function) else { continue };
            let name = object.image.name(function.symbol());
            if live.entity(name, object.scope(function.symbol())).is_some() {
                let known = found.entry(name).or_insert(how);
                if how == Handles::Values {
                    *known = how;
                }
            }
        }
    }
    found
}

/// Who refers to a function.
#[derive(Default)]
struct Callers<'o> {
    /// Somebody calls it by name.
    called: bool,
    /// Functions that refer to it.
    users: FxHashSet<&'o str>,
}

fn callers<'o>(newest: &[&'o Arc<Object>], wanted: &FxHashSet<&'o str>) -> FxHashMap<&'o str, Callers<'o>> {
    let mut found: FxHashMap<&str, Callers<'_>> = FxHashMap::default();
    let mentioned = Mentioned::of(wanted.iter().copied());
    for object in newest.iter().filter(|object| object.mentions(&mentioned)) {
        let image = &object.image;
        for user in object.definitions() {
            let Place::Section(section) = image.symbol(user).place else { continue };
            if image.section(section).kind != SectionKind::Text {
                continue;
            }
            for relocation in image.relocations(section) {
                let Referent::Named { symbol, .. } = referent(image, section, relocation) else { continue };
                if let Some(&name) = wanted.get(image.name(symbol)) {
                    let callers = found.entry(name).or_default();
                    callers.called |= is_call(image, section, relocation);
                    callers.users.insert(image.name(user));
                }
            }
        }
    }
    found
}

/// Whether a relocation is that of a call or jump: `E8`, `E9`, or `FF /2`, `FF /4` through the offset table.
pub(super) fn is_call(image: &Relocatable, section: SectionId, relocation: &Relocation) -> bool {
    let data = image.data(section);
    let before = |bytes: usize| {
        let at = usize::try_from(relocation.offset.0).ok()?.checked_sub(bytes)?;
        data.get(at).copied()
    };
    matches!(before(1), Some(0xE8 | 0xE9))
        || (before(2) == Some(0xFF) && matches!(before(1), Some(0x15 | 0x25)))
}
