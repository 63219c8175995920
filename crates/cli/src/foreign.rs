//! What another process has in memory, and where its threads are: read from outside.
//!
//! `maps` says which file is where, `memory` reads words, `stack` goes from a thread's registers to the
//! calls that it is in.

pub mod maps;
pub mod memory;
pub mod stack;
