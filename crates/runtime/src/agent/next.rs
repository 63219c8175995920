//! Functions of the C library that the agent stands in front of (`interpose`).

use super::loader;
use std::ffi::CStr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A function of the C library that is looked up once.
pub(crate) struct Next {
    name: &'static CStr,
    address: AtomicUsize,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicUsize::new(0) }
    }

    /// The function's address; 0 where the C library does not have it.
    pub(crate) fn address(&self) -> usize {
        match self.address.load(Ordering::Relaxed) {
            0 => self.find(),
            known => known,
        }
    }

    #[cold]
    fn find(&self) -> usize {
        // SAFETY: `dlsym` only reads the name.
        let first = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) } as usize;
        let found = if loader::is_own(first as u64) {
            // SAFETY: as above.
            unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) as usize }
        } else {
            // The agent was loaded late, behind it. (What is next to such a library is not defined.)
            first
        };
        self.address.store(found, Ordering::Relaxed);
        found
    }
}
