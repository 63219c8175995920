//! `livepatch check`: libraries that are linked here to break one rule each, and the packages of
//! `cargo xtask fixtures`.
//!
//! From which API level on a rule holds is what bionic documents: "Android linker changes for NDK developers".

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod build;
mod mutants;
mod packages;
mod rules;
