//! What is particular to an instruction set: the trap's program counter, and code to test with.

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;
