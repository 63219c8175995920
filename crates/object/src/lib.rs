//! Reads and reasons about object files for live patching: bytes in, values out.
//!
//! Nothing here does I/O or touches memory that it was not given, so that all of it can be fuzzed.
//!
//! | module | answers |
//! | --- | --- |
//! | [`address`] | which kind of address is this? |
//! | [`architecture`] | whose instructions are these? |
//! | [`relocatable`] | what does this object define, refer to, and with which relocations? |
//! | [`unwind`] | which unwind entries and landing pads belong to which function? |
//! | [`compare`] | did this function or static change? |
//! | [`layout`] | which types, signatures, vtables and closures does this object’s debug information describe? |
//! | [`relocation`] | what does this relocation do to these bytes? |
//! | [`tls`] | how does this thread-local access become one with a constant offset? |
//! | [`detour`] | where can this instruction go whose operand is out of reach? |
//! | [`loadable`] | what does a loader see in this shared object, and is it sound? |
//! | [`macho`] | the same for Mach-O: what is rebased, bound, exported, and through which stubs is it called? |
//! | [`android`] | would a release of Android load this shared object, and which phase stops it? |
//! | [`host`] | what does the running image define, and where? |
//! | [`archive`] | which member of an archive defines this symbol? |
//! | [`indirect`] | does this code call what is in a pointer? |
//! | [`entry`] | how is this function’s entry redirected while threads run it? |

#![forbid(unsafe_code)]

pub mod address;
pub mod android;
pub mod architecture;
pub mod archive;
pub mod compare;
pub mod detour;
pub mod entry;
mod error;
pub mod host;
pub mod indirect;
pub mod layout;
pub mod loadable;
pub mod macho;
pub mod relocatable;
pub mod relocation;
mod strings;
pub mod tls;
pub mod unwind;

pub use error::ObjectError;

/// A symbol's name as a person writes it: demangled, without the hash.
pub fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}
