//! The `cargo livepatch` command.
fn main() {}
