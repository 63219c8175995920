//! Replaces Java methods of a running Android program, as `docs/art.md` describes.
//!
//! Every Java method has a record in the runtime (`ArtMethod`), and every caller goes through it. Where the record
//! of a method gets what a fixed method's says, every caller arrives at the fixed body from then on.
//!
//! * what is decided over bytes: [`layout`], [`record`], [`flags`].

pub mod archive;
pub mod dex;
pub mod diff;
pub mod engine;
pub mod exported;
pub mod flags;
pub mod host;
pub mod jni;
pub mod layout;
pub mod patch;
pub mod preflight;
pub mod program;
pub mod record;
pub mod release;
pub mod smali;
