//! The agent in a program that knows nothing of it, with a server played by these tests.

#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
#![expect(clippy::expect_used, reason = "how a test fails")]

mod api;
mod crashes;
mod errors;
mod figures;
mod forks;
mod images;
mod late;
mod libraries;
mod patch_libraries;
mod plan;
mod process;
mod redirect;
mod settle;
mod signals;
mod support;
mod thread_locals;
mod traced;
