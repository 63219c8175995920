//! Reads and reasons about object files for live patching: bytes in, values out.
//!
//! Nothing here does I/O or touches memory that it was not given, so that all of it can be fuzzed.

#![forbid(unsafe_code)]

pub mod address;
