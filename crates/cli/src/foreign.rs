//! Another process: what it has in memory, where its threads are, and borrowing one of them.
//!
//! `status` is what the kernel says of it, `maps` which file is where, `memory` reads and writes words,
//! `library` finds functions in it, `stack` goes from a thread's registers to the calls that it is in,
//! `safe_place` says whether it can be borrowed there, `trace` stops it, and `borrow` has it call something.

pub mod borrow;
pub mod library;
pub mod maps;
pub mod memory;
pub mod safe_place;
pub mod stack;
pub mod status;
pub mod trace;
