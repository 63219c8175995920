//! Shared objects as a loader sees them: program headers and the dynamic section, never sections.
//!
//! Each file is a step that rests on the ones before it, with the generic ABI's names:
//!
//! | module | answers |
//! | --- | --- |
//! | [`machine`] | whose instructions are these, and how wide is a word? |
//! | [`header`] | is this a shared object that this machine can load? |
//! | [`program`] | which parts of the file go where in memory? |
//! | [`image`] | which bytes are at this link-time address? |
//! | [`dynamic`] | what does the dynamic section say? |
//! | [`symbol`] | what is symbol number n, and what is it called? |
//! | [`hash`] | which symbol has this name? |
//! | [`version`] | which version of a name is asked for, and which is this? |
//! | [`relocation`] | which words have to be changed, and to what? |
//! | [`packed`] | the same, in Android's and the generic ABI's compressed forms |
//! | [`tables`] | all of these for one object, checked against each other |
//! | [`debug_image`] | what does a debugger need to know of a loaded library? |
//! | [`archive_entry`] | where in a ZIP archive is this library, and can it be mapped from there? |
//!
//! Nothing is believed: every offset, size and count is checked before it is used, and what is wrong is a
//! [`Problem`] with the wording of Android's linker.

pub mod archive_entry;
pub mod debug_image;
pub mod dynamic;
pub(crate) mod fields;
pub mod hash;
pub mod header;
pub mod image;
pub mod machine;
pub mod packed;
mod problem;
pub mod program;
pub mod relocation;
pub mod symbol;
pub mod tables;
pub mod version;

pub use problem::{LoadError, Problem};
