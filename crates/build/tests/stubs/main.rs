//! Stub objects, by what linkers, loaders and processors make of them.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

mod differential;
mod elf;
mod machine;
mod malformed;
mod others;
mod peers;
mod tools;
