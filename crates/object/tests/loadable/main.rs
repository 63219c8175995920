//! Shared objects as a loader sees them, compared with what specifications say and other readers see.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod archives;
mod arithmetic;
mod forms;
mod readers;
