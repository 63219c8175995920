//! Patch libraries in this very process: applied by itself, and sent by a server that these tests play.

#![cfg(unix)]
#![expect(clippy::expect_used, reason = "how a test fails")]

mod applied;
mod built;
mod dialled;
mod host;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// There is one jump table in a process: tests that change it take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
