//! Types whose layout changed, and types that lead to one.

use super::{Described, Findings, Pair, Relaid};
use crate::objects::Object;
use livepatch_object::layout::{Layouts, Type, TypeId, TypeKind, describe, difference, is_renaming};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// How many reasons are told.
const TOLD: usize = 3;

/// Finds the types that changed by themselves: not only because something inside them did.
pub(super) fn check<'l>(pairs: &[Pair<'l>], former: &[Described<'l>], findings: &mut Findings<'l>) {
    let changed = changed(pairs, former);
    findings.changed = changed.keys().copied().collect();
    let coroutines = changed.values().filter(|change| change.new.kind() == TypeKind::Coroutine);
    findings.coroutines = coroutines
        .map(|change| Relaid { id: change.new.id(), old: change.objects.0, new: change.objects.1 })
        .collect();
    findings.coroutines.sort_by_key(|coroutine| coroutine.id);
    let mut roots: Vec<&Changed<'_>> =
        changed.values().filter(|change| !change.is_explained(&changed)).collect();
    // The same order in every run.
    roots.sort_by_key(|change| change.old.id());
    for root in roots {
        if root.old.kind().is_environment() || root.new.kind().is_environment() {
            findings.environments.insert(root.old.id());
        } else if findings.unsound.len() < TOLD {
            findings.unsound.extend(root.reason());
        }
    }
}

/// A type of which two objects say different things.
struct Changed<'l> {
    old: Type<'l>,
    new: Type<'l>,
    objects: (&'l Arc<Object>, &'l Arc<Object>),
}

impl Changed<'_> {
    /// Whether a change inside accounts for it.
    fn is_explained(&self, changed: &FxHashMap<TypeId, Changed<'_>>) -> bool {
        let (old, new): (Vec<_>, Vec<_>) = (self.old.embedded().collect(), self.new.embedded().collect());
        old == new && new.iter().any(|id| changed.contains_key(id))
    }

    /// What a person reads; none when old data are understood all the same, as after a field was renamed.
    fn reason(&self) -> Option<String> {
        let (old, new) = self.objects;
        let texts = describe(&old.image, self.old.id()).zip(describe(&new.image, self.new.id()));
        match texts {
            Some((old, new)) => (!is_renaming(&old, &new)).then(|| difference(&old, &new)),
            None => Some(format!("a type's layout changed: {} → {} bytes", self.old.size(), self.new.size())),
        }
    }
}

/// What objects of before say of types is compared with what their new versions say, and for types that a
/// codegen unit did not use before, with what any object said.
fn changed<'l>(pairs: &[Pair<'l>], former: &[Described<'l>]) -> FxHashMap<TypeId, Changed<'l>> {
    let sources: Vec<Described<'l>> =
        pairs.iter().map(|pair| pair.old).chain(former.iter().copied()).collect();
    let anywhere = |id: TypeId| sources.iter().filter_map(move |(object, all)| Some((all.get(id)?, *object)));
    let mut changed = FxHashMap::default();
    let mut compared = FxHashSet::default();
    for Pair { old: (was, layouts), new: (object, new_layouts) } in pairs {
        // Both ascend.
        let mut olds = layouts.types().peekable();
        for new in new_layouts.types() {
            while olds.next_if(|old| old.id() < new.id()).is_some() {}
            let relaid = |(old, _): &(Type<'l>, &Arc<Object>)| old.is_relaid(&new);
            let found = match olds.peek().filter(|old| old.id() == new.id()) {
                Some(old) => Some((*old, *was)).filter(relaid),
                None if new.is_ambiguous() || compared.insert((new.id(), new.layouts().next())) => {
                    let known: Vec<_> = anywhere(new.id()).collect();
                    known.iter().all(relaid).then(|| known.first().copied()).flatten()
                }
                None => None,
            };
            if let Some((old, was)) = found {
                changed.entry(new.id()).or_insert(Changed { old, new, objects: (was, object) });
            }
        }
    }
    changed
}

/// All types that lead to one of some types: by having it inside, behind a pointer, or as an argument.
pub(super) fn that_reach<'l>(
    all: impl IntoIterator<Item = &'l Layouts>,
    wanted: &FxHashSet<TypeId>,
) -> FxHashSet<TypeId> {
    let each = all.into_iter().flat_map(|layouts| layouts.that_reach(wanted.iter().copied()));
    each.chain(wanted.iter().copied()).collect()
}
