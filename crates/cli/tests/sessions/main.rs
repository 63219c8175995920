//! `cargo livepatch run` on small projects: real cargo, real programs, real edits.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails should panic")]

mod builds;
mod control;
mod edits;
mod ends;
mod project;
mod session;
