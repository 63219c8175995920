//! Futures as objects describe them. Each object is read once, however many of its futures changed.

use crate::gate::Relaid;
use crate::objects::{Object, ObjectKey};
use livepatch_object::layout::{TypeId, TypeText, describe_several};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A future's environment.
#[derive(Debug)]
pub(super) struct FutureText {
    pub(super) whole: TypeText,
    /// In the state in which it was not begun: what it captured.
    pub(super) unresumed: Option<TypeText>,
}

/// What objects say of some futures.
#[derive(Debug)]
pub(super) struct Texts(FxHashMap<(ObjectKey, TypeId), FutureText>);

impl Texts {
    /// Reads the objects of all these futures, before and after.
    pub(super) fn of(futures: &[Relaid<'_>]) -> Self {
        let mut wanted: FxHashMap<ObjectKey, (&Arc<Object>, Vec<TypeId>)> = FxHashMap::default();
        for future in futures {
            for object in [future.old, future.new] {
                wanted.entry(ObjectKey::of(object)).or_insert((object, Vec::new())).1.push(future.id);
            }
        }
        let mut all = FxHashMap::default();
        for (key, (object, ids)) in wanted {
            let read = |describe: &dyn Fn(TypeId) -> Option<TypeText>| {
                for id in ids {
                    let Some(whole) = describe(id) else { continue };
                    let unresumed = describe(TypeId::of(&format!("{}::Unresumed", whole.name)));
                    all.insert((key, id), FutureText { whole, unresumed });
                }
            };
            // What cannot be read has no futures that could be moved.
            let _ = describe_several(&object.image, read);
        }
        Self(all)
    }

    pub(super) fn get(&self, object: &Arc<Object>, future: TypeId) -> Option<&FutureText> {
        self.0.get(&(ObjectKey::of(object), future))
    }
}
