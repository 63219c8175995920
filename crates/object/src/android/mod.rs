//! Would Android load this shared object, and if not, which phase stops it?
//!
//! Everything here is decided from bytes; nothing is loaded. The facts about API levels are those that bionic
//! documents ("Android linker changes for NDK developers", ELF TLS) and its version scripts state.
//!
//! | module | answers |
//! | --- | --- |
//! | [`level`] | which releases are asked about? |
//! | [`finding`] | what is wrong, how bad is it, and in which phase? |
//! | [`platform`] | which libraries does a release have for apps, and what do they export? |
//! | [`archive`] | which libraries are in this APK or AAR, and can they be mapped from it? |
//! | [`siblings`] | which libraries come along? |
//! | [`library`] | what would the linker make of one library? |

pub mod archive;
pub mod finding;
pub mod level;
pub mod library;
pub mod platform;
mod rules;
pub mod siblings;

pub use finding::{Effect, Finding, Phase, Verdict};
pub use level::{ApiLevel, PageSizes};
pub use library::{Report, check};
pub use siblings::Siblings;
