//! The agent: waits in a program for patches and applies them.
//!
//! * [`constructor`] runs before the program: invitation, signal handlers, self-test, thread. [`late`] does
//!   the same in a program that runs already, and begins further sessions.
//! * [`serve`] is the thread: one answer per question of the server.
//! * [`plan`] turns a patch into checked values, [`transaction`] carries them out or undoes them;
//!   [`settle`] waits for threads that may stand at an entry without having called it.
//! * [`modules`] says what is loaded, and keeps what is patched loaded; [`watch`] tells the server of what
//!   the program loads later.
//! * [`crash`] tells the server that the program is about to end by a signal.
//! * What can go wrong in unsafe ways is in leaves named for the hazard: [`memory`], [`membarrier`],
//!   [`icache`], [`loader`], [`signals`], [`entry`], [`tls`], [`fork_lock`], [`trap_table`], [`thread`],
//!   [`threads`], [`next`], `borrowed`.
//!
//! What the agent never does: write to the program's output, spawn a process, send a signal to a
//! thread of the program, keep a descriptor open across `exec`, or anything at all uninvited.

mod address;
#[cfg(all(feature = "agent", target_arch = "x86_64"))]
mod borrowed;
mod callbacks;
mod connection;
mod constructor;
mod crash;
mod entry;
mod environment;
mod fork_lock;
mod free_ranges;
mod hello;
mod icache;
mod image;
#[cfg(feature = "agent")]
mod interpose;
mod late;
mod linker;
mod loader;
mod membarrier;
mod memory;
mod modules;
mod next;
mod plan;
mod process_status;
mod self_test;
mod serve;
mod settle;
mod signals;
mod state;
mod thread;
mod threads;
mod tls;
mod transaction;
mod trap_table;
mod undo;
mod watch;
