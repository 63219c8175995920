//! What a thread is told by `dlerror`.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::thread::LocalKey;

/// What is said next, and what was said last, which the caller may still read.
pub(crate) struct Said {
    next: Option<CString>,
    last: Option<CString>,
}

impl Said {
    /// Of a thread that nothing was said to.
    pub(crate) const fn nothing() -> RefCell<Self> {
        RefCell::new(Self { next: None, last: None })
    }
}

/// Has `dlerror` say this next.
pub(crate) fn say(said: &'static LocalKey<RefCell<Said>>, text: String) {
    let text = CString::new(text).unwrap_or_default();
    // A thread that ends has nobody left to tell.
    let _ = said.try_with(|said| said.borrow_mut().next = Some(text));
}

/// What `dlerror` returns: null if nothing was said since.
pub(crate) fn take(said: &'static LocalKey<RefCell<Said>>) -> *const c_char {
    let text = said.try_with(|said| {
        let mut said = said.borrow_mut();
        said.last = said.next.take();
        said.last.as_ref().map(|text| text.as_ptr())
    });
    text.ok().flatten().unwrap_or(std::ptr::null())
}
