//! Entry redirection, decided from bytes: what a function's first instructions become.
//!
//! One module per instruction set. Each takes a function's bytes and says which bytes may stand at its
//! entry so that no thread, wherever its program counter is, runs anything but the old or the new body.

pub mod x86_64;
