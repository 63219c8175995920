//! Coming into a program that runs already.
//!
//! `target` finds out what runs there and which captured build it is of; `agent` has it load the agent, or
//! has the agent that it has call this session.

mod agent;
mod target;

pub use agent::{Arrival, invite};
pub use target::{Target, hindrance};
