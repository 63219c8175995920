//! Calling a function of a library that was loaded, because the user said so.

use livepatch_object::address::RuntimeAddress;
use std::ffi::{CStr, c_char};

/// Calls it, and returns what is in the register for results.
///
/// # Safety
/// It must be a function that takes nothing, of a library that stays loaded.
pub(super) unsafe fn number(function: RuntimeAddress) -> i64 {
    // SAFETY: the caller's promise; a result of another type is somewhere else, and this is a number all the same.
    unsafe {
        let function: extern "C" fn() -> i64 = std::mem::transmute(function.0 as usize as *const ());
        function()
    }
}

/// The text at an address; none if that is null.
///
/// # Safety
/// The address of a text that is ended by a NUL, or null.
pub(super) unsafe fn text(at: i64) -> Option<String> {
    let at = at as usize as *const c_char;
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned())
}
