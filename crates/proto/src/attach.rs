//! What `cargo livepatch attach` calls in a process: a function of the agent that is found by name.
//!
//! ```c
//! int livepatch_attach_1(const char *socket, const char *token);
//! ```
//!
//! It takes the path of the server's socket and the session's token in hexadecimal, both ended by a zero
//! byte, and answers one of the numbers below. Whatever changes of this changes the name.

/// The function's name.
pub const ENTRY: &str = "livepatch_attach_1";

/// The agent is about to dial.
pub const DIALS: i32 = 0;
/// It converses with a server already.
pub const BUSY: i32 = 1;
/// It could not start its thread.
pub const NO_THREAD: i32 = 2;
/// The arguments are not what they should be.
pub const INVALID: i32 = 3;
