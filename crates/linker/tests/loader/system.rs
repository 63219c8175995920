//! Libraries of the system.

use crate::build::call;
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::trace::{Detail, Trace};
use livepatch_linker::{Flags, Linker, LinkerError};
use std::ffi::{CStr, c_char};

pub(crate) const CASES: &[Case] = cases![system::zlib_is_loaded_and_called];

/// zlib's checksum of known bytes: RFC 1950's Adler-32 of "Wikipedia" is 0x11e60398.
fn zlib_is_loaded_and_called() -> Outcome {
    let trace = Trace::new(Detail::Bindings);
    let linker = Linker::builder().trace(&trace).build();
    let library = match linker.dlopen("libz.so.1", Flags::NOW) {
        Ok(library) => library,
        // None, or one of another machine than this program is emulated for.
        Err(error @ (LinkerError::NotFound { .. } | LinkerError::Load(_))) => {
            return Outcome::Skipped(error.to_string());
        }
        Err(error) => panic!("{error}\n{trace}"),
    };
    let version = call(library.symbol("zlibVersion").unwrap()) as *const c_char;
    // SAFETY: zlib's version is a text.
    let version = unsafe { CStr::from_ptr(version) };
    assert!(version.to_bytes().starts_with(b"1."), "{version:?}");
    let adler = library.symbol("adler32").unwrap();
    // SAFETY: zlib's function of this type.
    let sum = unsafe {
        let adler: unsafe extern "C" fn(u64, *const u8, u32) -> u64 = std::mem::transmute(adler.0 as usize);
        adler(1, b"Wikipedia".as_ptr(), 9)
    };
    assert_eq!(sum, 0x11e6_0398);
    println!("{trace}");
    Outcome::Passed
}
