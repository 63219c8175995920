//! `cargo livepatch run` on small projects: real cargo, real programs, real edits.

mod builds;
mod control;
mod edits;
mod ends;
mod project;
mod session;
