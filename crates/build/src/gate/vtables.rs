//! Vtables of before must have their methods where new code looks for them.

use super::{Described, Findings, Pair};
use crate::objects::Object;
use livepatch_object::compare::Referent;
use livepatch_object::demangle;
use livepatch_object::layout::{Function, PathId, TypeKind, Vtable, VtableSlot};
use rustc_hash::FxHashMap;
use std::cell::OnceCell;
use std::sync::Arc;

/// Compares the methods of every vtable.
pub(super) fn check(pairs: &[Pair<'_>], former: &[Described<'_>], findings: &mut Findings<'_>) {
    let mut before: FxHashMap<PathId, (Vtable<'_>, &Arc<Object>)> = FxHashMap::default();
    for &(object, layouts) in pairs.iter().map(|pair| &pair.old).chain(former) {
        layouts.vtables().for_each(|vtable| {
            before.entry(vtable.name).or_insert((vtable, object));
        });
    }
    let old_functions = Functions::of(pairs.iter().map(|pair| pair.old).chain(former.iter().copied()));
    let new_functions = Functions::of(pairs.iter().map(|pair| pair.new));
    for Pair { new: (object, layouts), .. } in pairs {
        for new in layouts.vtables() {
            let Some((old, was)) = before.get(&new.name) else { continue };
            let a = methods(was, old, &old_functions);
            let b = methods(object, &new, &new_functions);
            let Some(what) = difference(&a, &b) else { continue };
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

/// How functions of some objects are called, by symbol name: found out when it is first asked for.
struct Functions<'l> {
    objects: Vec<Described<'l>>,
    by_name: OnceCell<FxHashMap<&'l str, Function<'l>>>,
}

impl<'l> Functions<'l> {
    fn of(objects: impl Iterator<Item = Described<'l>>) -> Self {
        Self { objects: objects.collect(), by_name: OnceCell::new() }
    }

    fn get(&self, name: &str) -> Option<Function<'l>> {
        let all = self.by_name.get_or_init(|| {
            let each = self.objects.iter().flat_map(|(object, layouts)| {
                layouts.functions().map(|function| (object.image.name(function.symbol()), function))
            });
            each.collect()
        });
        all.get(name).copied()
    }
}

/// A method in a vtable.
struct Method<'f, 'l> {
    /// Bytes into the vtable.
    offset: u64,
    /// Its symbol name; none for what is private to its object.
    name: Option<&'l str>,
    /// Those of its objects: how it is called, if it is in one of them.
    functions: &'f Functions<'l>,
}

impl<'l> Method<'_, 'l> {
    /// Whether new code may call the one where it takes the other to be. They have the same path: an instance
    /// of the same function may come from another crate, but another function would never get the edits of
    /// this one.
    fn is_like(&self, new: &Method<'_, 'l>) -> bool {
        let (Some(a), Some(b)) = (self.name, new.name) else {
            return self.name.is_none() && new.name.is_none() && self.offset == new.offset;
        };
        // A legacy name covers the signature.
        let same_call = a == b && a.starts_with("_ZN")
            || match self.functions.get(a).zip(new.functions.get(b)) {
                Some((old, new)) if a == b => old.signature() == new.signature(),
                // What they are called on may differ when they were merged.
                Some((old, new)) => old.signature_types().get(1..) == new.signature_types().get(1..),
                None => true,
            };
        self.offset == new.offset && same_call && (a == b || demangle(a) == demangle(b))
    }
}

/// The methods of a vtable, ascending. Drop glue is none.
fn methods<'f, 'l>(
    object: &'l Arc<Object>,
    vtable: &Vtable<'l>,
    functions: &'f Functions<'l>,
) -> Vec<Method<'f, 'l>> {
    let method = |slot: &VtableSlot| {
        let name = match slot.referent {
            Referent::Named { symbol, .. } => Some(object.image.name(symbol)),
            _ => None,
        };
        Method { offset: slot.offset, name, functions }
    };
    vtable.slots.iter().filter(|slot| slot.offset > 0).map(method).collect()
}

/// How the methods of two vtables differ.
fn difference<'l>(old: &[Method<'_, 'l>], new: &[Method<'_, 'l>]) -> Option<String> {
    let name =
        |method: &Method<'_, '_>| method.name.map_or_else(|| "a private function".to_owned(), demangle);
    if let Some((a, b)) = old.iter().zip(new).find(|(a, b)| !a.is_like(b)) {
        let (was, is) = (name(a), name(b));
        return Some(if was == is {
            format!("`{is}` is called in another way through trait objects")
        } else {
            format!("trait objects have `{is}` where those of before have `{was}`")
        });
    }
    if let Some(added) = new.get(old.len()) {
        return Some(format!("trait objects of before have no `{}`", name(added)));
    }
    let gone = old.get(new.len())?;
    Some(format!("trait objects have no `{}` any more", name(gone)))
}
