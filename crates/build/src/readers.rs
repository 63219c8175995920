//! Names that mean something else to new code: whoever refers to one becomes a changed function.

use crate::diff::{Change, Diff};
use crate::live::{Entity, Live};
use crate::objects::{CodegenUnit, Mentioned, Object, ObjectKey};
use livepatch_object::compare::{Referent, referent};
use livepatch_object::relocatable::{Place, Relocatable, SectionId, SectionKind, SymbolId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Every object as it will be once the patch is live.
pub fn newest<'l>(live: &'l Live, diff: &'l Diff) -> Vec<&'l Arc<Object>> {
    let replaced: FxHashSet<&CodegenUnit> = diff.units.iter().map(|(unit, ..)| unit).collect();
    let unchanged = live.objects().filter(|(unit, _)| !replaced.contains(unit)).map(|(_, object)| object);
    unchanged.chain(diff.units.iter().map(|(_, _, object)| object)).collect()
}

/// Adds the functions that refer to a renewed name. A read-only static that does is renewed itself.
pub fn add(live: &Live, diff: &mut Diff) {
    while diff.renewed().next().is_some() {
        let found = find(live, diff);
        diff.changed.extend(found.functions);
        if found.statics.is_empty() {
            return;
        }
        diff.replaced.extend(found.statics);
    }
}

#[derive(Default)]
struct Found {
    functions: Vec<Change>,
    statics: Vec<Box<str>>,
}

fn find(live: &Live, diff: &Diff) -> Found {
    let known: FxHashSet<(ObjectKey, SymbolId)> =
        diff.changed.iter().map(|c| (ObjectKey::of(&c.new.object), c.new.symbol)).collect();
    let mut found = Found::default();
    let renewed = Mentioned::of(diff.renewed().map(|name| &**name));
    for object in newest(live, diff).into_iter().filter(|object| object.mentions(&renewed)) {
        let image = &object.image;
        let mut reads = References::new(image, |name| diff.is_renewed(name));
        for symbol in object.definitions() {
            let Place::Section(section) = image.symbol(symbol).place else { continue };
            let name = image.name(symbol);
            let ignored = known.contains(&(ObjectKey::of(object), symbol))
                || diff.is_renewed(name)
                || live.entity(name, object.scope(symbol)).is_none();
            match image.section(section).kind {
                SectionKind::Text if !ignored && reads.reach(section) => {
                    let new = Entity { object: object.clone(), symbol };
                    found.functions.push(Change { new, lines_only: false });
                }
                SectionKind::ReadOnly if !ignored && reads.reach(section) => {
                    found.statics.push(name.into());
                }
                _ => {}
            }
        }
    }
    found
}

/// Which sections of an object refer to some names, through private constants too.
pub struct References<'o, F> {
    image: &'o Relocatable,
    wanted: F,
    memo: FxHashMap<SectionId, bool>,
}

impl<'o, F: Fn(&str) -> bool> References<'o, F> {
    /// Nothing was looked at yet.
    pub fn new(image: &'o Relocatable, wanted: F) -> Self {
        Self { image, wanted, memo: FxHashMap::default() }
    }

    /// Whether a section does.
    pub fn reach(&mut self, section: SectionId) -> bool {
        if let Some(&known) = self.memo.get(&section) {
            return known;
        }
        self.memo.insert(section, false);
        let image = self.image;
        let found =
            image.relocations(section).iter().any(|relocation| match referent(image, section, relocation) {
                Referent::Named { symbol, .. } => (self.wanted)(image.name(symbol)),
                Referent::Content { section, .. } => self.reach(section),
                Referent::Interior { .. } | Referent::Absolute { .. } => false,
            });
        self.memo.insert(section, found);
        found
    }
}
