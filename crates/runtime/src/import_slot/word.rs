//! One word that machine code reads at any time. Hazard: it is memory of others.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An aligned word of a loaded image, which machine code reads whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(usize);

impl Word {
    /// The word at an address, if that is a multiple of its size.
    ///
    /// # Safety
    /// A readable word is mapped there, and stays so while this is used.
    pub unsafe fn new(at: usize) -> Option<Self> {
        (at != 0 && at.is_multiple_of(align_of::<AtomicUsize>())).then_some(Self(at))
    }

    /// Where it is.
    pub fn address(self) -> usize {
        self.0
    }

    fn atomic(&self) -> &AtomicUsize {
        // SAFETY: aligned and mapped, as `new` was promised; whoever else accesses it does so whole.
        unsafe { AtomicUsize::from_ptr(self.0 as *mut usize) }
    }

    /// What it holds.
    pub fn load(self) -> usize {
        self.atomic().load(Ordering::Acquire)
    }

    /// Changes it. Whoever reads the new value sees all that was written before.
    ///
    /// # Safety
    /// Its page is writable, and what reads it can be given this.
    pub unsafe fn store(self, value: usize) {
        self.atomic().store(value, Ordering::Release);
    }

    /// Changes it if it holds `old`; if not, says what it holds.
    ///
    /// # Safety
    /// As for [`Word::store`].
    pub unsafe fn exchange(self, old: usize, new: usize) -> Result<(), usize> {
        let exchanged = self.atomic().compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        exchanged.map(|_| ())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({:#x})", self.0)
    }
}
