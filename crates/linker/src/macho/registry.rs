//! All images that any linker of this process has loaded, by address: for the binder, which has nothing else, at any
//! time and on any thread, without waiting.

use super::linker::Linker;
use super::loaded::Loaded;
use arc_swap::ArcSwap;
use livepatch_object::address::RuntimeAddress;
use std::sync::{Arc, LazyLock};

static IMAGES: LazyLock<ArcSwap<Vec<Arc<Loaded>>>> = LazyLock::new(ArcSwap::default);

/// Makes images known.
pub(super) fn add(new: &[Arc<Loaded>]) {
    IMAGES.rcu(|images| {
        let mut images = Vec::clone(images);
        images.extend_from_slice(new);
        images.sort_by_key(|image| image.start());
        images
    });
}

/// Makes an image unknown.
pub(super) fn remove(image: &Loaded) {
    IMAGES.rcu(|images| {
        let mut images = Vec::clone(images);
        images.retain(|other| other.id != image.id);
        images
    });
}

/// Whose address it is.
pub(super) fn at(address: RuntimeAddress) -> Option<Arc<Loaded>> {
    let images = IMAGES.load();
    let after = images.partition_point(|image| image.start() <= address);
    let image = images.get(after.checked_sub(1)?)?;
    image.mapped.contains(address).then(|| Arc::clone(image))
}

/// All of them, in the order of their addresses.
pub(crate) fn all() -> Arc<Vec<Arc<Loaded>>> {
    IMAGES.load_full()
}

/// Who called, by where the call returns to, and with which linker it was loaded.
pub(crate) fn caller(returns_to: RuntimeAddress) -> Option<(Linker, Arc<Loaded>)> {
    // The instruction before the one that is returned to.
    let image = at(RuntimeAddress(returns_to.0.wrapping_sub(1)))?;
    Some((Linker { shared: image.linker.upgrade()? }, image))
}
