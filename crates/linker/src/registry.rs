//! All libraries that any linker of this process has loaded, by address: for whoever has an address and asks
//! whose it is, at any time and on any thread, without waiting.

use crate::linker::Shared;
use crate::loaded::Loaded;
use arc_swap::ArcSwap;
use livepatch_object::address::RuntimeAddress;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

/// A library, and which linker it belongs to.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) library: Arc<Loaded>,
    pub(crate) linker: Weak<Shared>,
}

static ENTRIES: LazyLock<ArcSwap<Vec<Entry>>> = LazyLock::new(ArcSwap::default);
static ADDED: AtomicU64 = AtomicU64::new(0);
static REMOVED: AtomicU64 = AtomicU64::new(0);

/// Makes libraries known.
pub(crate) fn add(new: &[Entry]) {
    ENTRIES.rcu(|entries| {
        let mut entries = Vec::clone(entries);
        entries.extend_from_slice(new);
        entries.sort_by_key(|entry| entry.library.mapped.reservation().start());
        entries
    });
    ADDED.fetch_add(new.len() as u64, Ordering::Release);
}

/// Makes a library unknown.
pub(crate) fn remove(library: &Loaded) {
    ENTRIES.rcu(|entries| {
        let mut entries = Vec::clone(entries);
        entries.retain(|entry| entry.library.id != library.id);
        entries
    });
    REMOVED.fetch_add(1, Ordering::Release);
}

/// Whose address it is.
pub(crate) fn at(address: RuntimeAddress) -> Option<Entry> {
    let entries = ENTRIES.load();
    let after = entries.partition_point(|entry| entry.library.mapped.reservation().start() <= address);
    let entry = entries.get(after.checked_sub(1)?)?;
    entry.library.mapped.contains(address).then(|| entry.clone())
}

/// All of them, in the order of their addresses.
pub(crate) fn all() -> Arc<Vec<Entry>> {
    ENTRIES.load_full()
}

/// How many were ever added and removed.
pub(crate) fn changes() -> (u64, u64) {
    (ADDED.load(Ordering::Acquire), REMOVED.load(Ordering::Acquire))
}
