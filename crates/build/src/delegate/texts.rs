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
        let wanted: Vec<_> = wanted.into_values().collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let each = wanted.len().div_ceil(threads).max(1);
        let mut all = FxHashMap::default();
        std::thread::scope(|scope| {
            let readers: Vec<_> = wanted
                .chunks(each)
                .map(|some| {
                    scope
                        .spawn(|| some.iter().flat_map(|(object, ids)| read(object, ids)).collect::<Vec<_>>())
                })
                .collect();
            readers.into_iter().for_each(|reader| all.extend(reader.join().into_iter().flatten()));
        });
        Self(all)
    }

    pub(super) fn get(&self, object: &Arc<Object>, future: TypeId) -> Option<&FutureText> {
        self.0.get(&(ObjectKey::of(object), future))
    }
}

/// What one object says of some futures. What cannot be read has none that could be moved.
fn read(object: &Arc<Object>, ids: &[TypeId]) -> Vec<((ObjectKey, TypeId), FutureText)> {
    let key = ObjectKey::of(object);
    let texts = describe_several(&object.image, |describe| {
        let future = |&id: &TypeId| {
            let whole = describe(id)?;
            let unresumed = describe(TypeId::of(&format!("{}::Unresumed", whole.name)));
            Some(((key, id), FutureText { whole, unresumed }))
        };
        ids.iter().filter_map(future).collect()
    });
    texts.unwrap_or_default()
}
