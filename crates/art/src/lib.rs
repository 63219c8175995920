//! Replaces Java methods of a running Android program, as `docs/art.md` describes.
//!
//! Every Java method has a record in the runtime (`ArtMethod`), and every caller goes through it. Where the record's
//! entry leads to a fixed method, every caller arrives at the fixed body from then on, and all else that the record says
//! stays true.
//!
//! * what is decided over bytes: [`layout`], [`record`], [`flags`];
//! * what is done in a process: [`engine`];
//! * two versions, and the patch between them: [`dex`], [`diff`], [`patch`].

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
