//! `cargo livepatch attach`: programs that run already, started by anybody, or left by their session.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at what it cannot do without")]

#[path = "../hold/live.rs"]
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod live;
#[path = "../sessions/project.rs"]
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod project;
#[path = "../sessions/session.rs"]
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod session;

mod borrowed;
mod edits;
mod ends;
mod futures;
mod killed;
mod libraries;
mod refused;
mod started;
