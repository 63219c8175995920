//! Slots that machine code jumps or calls through, led somewhere else while it runs. Nothing here knows about a
//! file format.

use crate::memory::{Protection, protect};
use crate::page;
use livepatch_object::address::RuntimeAddress;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A slot of machine code: an aligned word that it reads whole, at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(RuntimeAddress);

impl Slot {
    /// A slot at this address, if it is aligned.
    ///
    /// # Safety
    /// A word is mapped there and stays so while the slot is used, and it is writable whenever it is stored to.
    pub(crate) unsafe fn new(at: RuntimeAddress) -> Option<Self> {
        at.0.is_multiple_of(size_of::<usize>() as u64).then_some(Self(at))
    }

    pub(crate) fn address(self) -> RuntimeAddress {
        self.0
    }

    /// Whoever reads the new value sees all that was written before.
    pub(crate) fn store(self, value: u64) {
        // SAFETY: aligned and mapped, as `new` was promised; all accesses are whole.
        unsafe { AtomicUsize::from_ptr(self.0.0 as *mut usize) }.store(value as usize, Ordering::Release);
    }
}

/// Leads a slot somewhere else whose page may be read-only: it is made writable for that, and, if it is to be
/// read-only, made so again.
///
/// # Safety
/// As for [`Slot::new`], but for its being writable; nobody may rely on the page's being read-only meanwhile.
pub(crate) unsafe fn rebind(at: RuntimeAddress, to: u64, is_read_only: bool) -> io::Result<()> {
    let pages = page::floor(at.0)..page::floor(at.0) + page::size();
    // SAFETY: the caller's promise.
    unsafe {
        protect(pages.clone(), Protection::READ_WRITE)?;
        if let Some(slot) = Slot::new(at) {
            slot.store(to);
        }
        match is_read_only {
            true => protect(pages, Protection::READ),
            false => Ok(()),
        }
    }
}
