//! Import slots led somewhere else while the program runs: those of the program's own modules, and those of images
//! that linkers of this process have loaded, by one mechanism (`livepatch::import_slot`).
//!
//! ```no_run
//! use livepatch_linker::rebinder::rebinder;
//! unsafe extern "C" fn always_four() -> i32 {
//!     4
//! }
//! let found = rebinder().find("getppid");
//! println!("{} slots lead to {:?}", found.slots().len(), found.original());
//! // SAFETY: it takes and returns what `getppid` does, and stays.
//! let rebinding = unsafe { found.rebind(always_four as *const ()) }?;
//! rebinding.undo()?;
//! # Ok::<(), livepatch::import_slot::RebindError>(())
//! ```

mod loaded;

pub use livepatch::import_slot::{
    Found, ImportSlot, Keep, RebindError, Rebinder, Rebinding, SlotKind, SlotSource, Word,
};

use livepatch_object::address::RuntimeAddress;

/// Finds slots of all images of this process, whoever has loaded them.
pub fn rebinder() -> Rebinder {
    let elf = Rebinder::process().with(loaded::Libraries);
    #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
    return elf.with(crate::macho::Images);
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
    return elf;
}

/// A slot at an address, if it is aligned.
///
/// # Safety
/// As for [`Word::new`].
pub(crate) unsafe fn word(at: RuntimeAddress) -> Option<Word> {
    // SAFETY: the caller's promise.
    usize::try_from(at.0).ok().and_then(|at| unsafe { Word::new(at) })
}
