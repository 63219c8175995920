//! What the debug information of freshly compiled sources says, against the compiler's own answers and
//! against what an edit is known to change.

#![expect(clippy::expect_used, reason = "a test stops at what it cannot do without")]

mod damaged;
mod edits;
mod facts;
mod listed;
mod sources;
mod unit;
