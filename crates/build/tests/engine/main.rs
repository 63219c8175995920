//! The engine on programs that rustc built: what an edit changes, and what a running program does with it.

#![expect(clippy::expect_used, reason = "a test stops at what it cannot do without")]

mod diff;
mod fixture;
mod gate;
mod live;
mod objects;
mod program;
mod server;
mod storm;
