//! Entry redirection proved on real code: planned for every function of an executable, and carried out in a
//! process of its own.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "entry/cases.rs"]
mod cases;
#[path = "entry/execute.rs"]
mod execute;
#[path = "entry/host.rs"]
mod host;
#[path = "entry/plans.rs"]
mod plans;
#[path = "entry/process.rs"]
mod process;
