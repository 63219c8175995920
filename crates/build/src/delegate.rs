//! Futures that old code holds and has not begun run new code, though what they keep changed its layout.
//!
//! A task that goes on for ever holds the futures it awaits inside itself, in the layout of before. Its own
//! code stays as it was, so it would start the old version of them for ever. Instead, shims stand at the
//! entries of the old `poll` and drop glue: one that was not begun yet moves what it captured into a new
//! environment elsewhere, and the old one leads there from then on.
//!
//! This holds only where nothing else looks into a future: not for optimised code.

mod shape;
mod shim;
mod texts;

use crate::gate::Relaid;
use crate::live::{Entity, Live};
use crate::objects::Object;
use livepatch_object::architecture::Architecture;
use livepatch_object::layout::TypeId;
use rustc_hash::FxHashSet;
use shape::Shape;
use std::path::Path;
use std::sync::Arc;
use texts::Texts;

pub(crate) use shim::{BEFORE, NEW};

/// A function whose old callers arrive at a shim.
#[derive(Clone, Debug)]
pub struct Delegation {
    /// The function as it was.
    pub old: Entity,
    /// Where the shim goes on in the new version; none when a new future needs no drop glue.
    pub new: Option<Entity>,
    /// The shim.
    pub shim: Entity,
    /// What stays when the patch is taken back: it serves the futures that were moved.
    pub kept: Entity,
}

/// The shims for futures of some types. Those that cannot have any go on in their old version.
pub(crate) fn delegations(
    live: &Live,
    newest: &[&Arc<Object>],
    relaid: &[Relaid<'_>],
    changed: &FxHashSet<TypeId>,
) -> Vec<Delegation> {
    // There are shims in x86-64 code only.
    if newest.iter().any(|object| object.image.architecture() != Architecture::X86_64) {
        return Vec::new();
    }
    let texts = Texts::of(relaid);
    relaid.iter().filter_map(|future| delegate(live, newest, future, &texts, changed)).flatten().collect()
}

fn delegate(
    live: &Live,
    newest: &[&Arc<Object>],
    future: &Relaid<'_>,
    texts: &Texts,
    changed: &FxHashSet<TypeId>,
) -> Option<Vec<Delegation>> {
    let has_it = |object: &&Arc<Object>| {
        object.layouts().is_some_and(|layouts| layouts.environments().any(|id| id == future.id))
    };
    let before: Vec<&Arc<Object>> = live.objects().map(|(_, object)| object).filter(has_it).collect();
    let newest: Vec<&Arc<Object>> = newest.iter().copied().filter(has_it).collect();
    let is_poll = |f: &livepatch_object::layout::Function<'_>| f.environment() == Some(future.id);
    let is_drop = |f: &livepatch_object::layout::Function<'_>| f.drops() == Some(future.id);
    let (old_poll, new_poll) = (only(&before, is_poll)?, only(&newest, is_poll)?);
    let old_drops = all(&before, is_drop);
    let new_drop = all(&newest, is_drop).into_iter().next();
    if old_drops.is_empty() && new_drop.is_some() {
        return None;
    }
    let earlier = live.shims_of(old_poll.name());
    let shape = Shape::of(future, texts, &old_poll, &new_poll, changed, earlier)?;
    let shim = |bytes: Result<Vec<u8>, object::write::Error>| entity(bytes.ok()?);
    let mut all = vec![Delegation {
        shim: shim(shim::poll_object(&shape, true))?,
        kept: shim(shim::poll_object(&shape, false))?,
        old: old_poll,
        new: Some(new_poll),
    }];
    for old in old_drops {
        let shim = shim(shim::drop_object(&shape, new_drop.is_some()))?;
        all.push(Delegation { kept: shim.clone(), shim, old, new: new_drop.clone() });
    }
    Some(all)
}

/// The function of a shim's object.
fn entity(bytes: Vec<u8>) -> Option<Entity> {
    let object = Object::parse(bytes, Path::new("delegation")).ok()?;
    let symbol = object.definitions().next()?;
    Some(Entity { object, symbol })
}

fn all(
    objects: &[&Arc<Object>],
    wanted: impl Fn(&livepatch_object::layout::Function<'_>) -> bool,
) -> Vec<Entity> {
    let mut found = Vec::new();
    for object in objects {
        let functions = object.layouts().into_iter().flat_map(|layouts| layouts.functions());
        found.extend(
            functions.filter(&wanted).map(|f| Entity { object: Arc::clone(object), symbol: f.symbol() }),
        );
    }
    found
}

fn only(
    objects: &[&Arc<Object>],
    wanted: impl Fn(&livepatch_object::layout::Function<'_>) -> bool,
) -> Option<Entity> {
    let mut found = all(objects, wanted);
    found.pop().filter(|_| found.is_empty())
}
