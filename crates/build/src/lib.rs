//! From a source edit to a patch: capture, rebuild, diff, resolve, place, write.

pub mod islands;
pub mod session;
