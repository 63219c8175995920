//! From a source edit to a patch: capture, rebuild, diff, resolve, place, write.

pub mod archives;
pub mod capture;
pub mod delegate;
pub mod diff;
pub mod gate;
pub mod hosts;
pub mod islands;
pub mod jump_table;
pub mod library;
pub mod link_plan;
pub mod live;
pub mod loops;
mod mapped_file;
pub mod members;
pub mod objects;
pub mod place;
pub mod process;
pub mod readers;
pub mod rebuild;
mod renamed;
pub mod resolve;
pub mod session;
pub mod statics;
pub mod stubs;
pub mod threads;
pub mod write;
