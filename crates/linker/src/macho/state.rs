//! What a linker has loaded, and what of that is still needed.

use super::loaded::{Loaded, Module};
use crate::loaded::LibraryId;
use crate::provider::Provider;
use crate::trace::Trace;
use livepatch_object::macho::ImageKind;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An image, with what changes about it.
pub(super) struct Record {
    pub(super) loaded: Arc<Loaded>,
    /// How often it was opened and not closed.
    pub(super) handles: usize,
    /// Images that it is bound to by flat or weak lookups.
    pub(super) bound_to: FxHashSet<LibraryId>,
    /// When its initialisers were called, among all images; none if not yet.
    pub(super) constructed: Option<u64>,
    pub(super) closing: bool,
}

/// Everything about one linker that its lock guards. Records are in the order in which images were loaded.
pub(super) struct State {
    pub(super) records: BTreeMap<LibraryId, Record>,
    pub(super) providers: Arc<[Provider]>,
    pub(super) search_paths: Vec<PathBuf>,
    pub(super) uses_host: bool,
    pub(super) initializes: bool,
    pub(super) trace: Option<Trace>,
    pub(super) constructions: u64,
}

impl State {
    /// All images, in the order in which they were loaded.
    pub(super) fn images(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.records.values().filter(|record| !record.closing).map(|record| &record.loaded)
    }

    /// The main executable, if one was loaded.
    pub(super) fn executable(&self) -> Option<&Arc<Loaded>> {
        self.images().find(|image| image.image.header.kind == ImageKind::Executable)
    }

    pub(super) fn add(&mut self, loaded: Arc<Loaded>) {
        let id = loaded.id;
        let bound_to = FxHashSet::default();
        let record = Record { loaded, handles: 0, bound_to, constructed: None, closing: false };
        self.records.insert(id, record);
    }

    /// Images that nobody needs any more, those that were initialised last first.
    pub(super) fn garbage(&self) -> Vec<LibraryId> {
        let mut reached = FxHashSet::default();
        let is_root = |record: &Record| record.handles > 0 || record.loaded.is_kept.load(Ordering::Acquire);
        let mut queue: Vec<LibraryId> =
            self.records.iter().filter(|(_, record)| is_root(record)).map(|(&id, _)| id).collect();
        while let Some(id) = queue.pop() {
            if !reached.insert(id) {
                continue;
            }
            let Some(record) = self.records.get(&id) else { continue };
            queue.extend(&record.bound_to);
            queue.extend(record.loaded.dependencies().iter().filter_map(
                |dependency| match dependency.module {
                    Module::Image(id, _) => Some(id),
                    _ => None,
                },
            ));
        }
        let unreached = self.records.iter().filter(|(id, record)| !reached.contains(id) && !record.closing);
        let mut garbage: Vec<_> = unreached.map(|(&id, record)| (record.constructed, id)).collect();
        garbage.sort_by(|a, b| b.cmp(a));
        garbage.into_iter().map(|(_, id)| id).collect()
    }
}
