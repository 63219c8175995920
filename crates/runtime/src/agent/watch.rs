//! Libraries that the server wants to know of as soon as the program has loaded one.
//!
//! The thread that loads one is held until the server has brought the library up to date, so that the
//! program finds it as if it had been built after the last edit. Only for a moment: a server that is
//! slow, or gone, holds nobody up.

use super::connection;
use super::loader;
use super::modules;
use super::thread::nap_while;
use livepatch_proto::{BuildId, FromProcess, Generation};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long the thread is held at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the server wants to know of: the captured build's libraries, which are the same for a process's
/// whole life.
static WATCHED: OnceLock<Vec<BuildId>> = OnceLock::new();
static TICKETS: AtomicU32 = AtomicU32::new(0);
static PROCEEDED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// How many loads of this thread are under way: a constructor of a library may load another.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The server's wish.
pub(crate) fn set(libraries: Vec<BuildId>) {
    // A child has its parent's already, which are the same.
    drop(WATCHED.set(libraries));
}

/// The server is done with everything up to that ticket.
pub(crate) fn proceed(ticket: u32) {
    PROCEEDED.fetch_max(ticket, Ordering::SeqCst);
}

/// Whether loads are of interest now.
pub(crate) fn is_on() -> bool {
    WATCHED.get().is_some_and(|libraries| !libraries.is_empty()) && connection::is_open()
}

/// Does `load`, and sees to it that what it loaded is up to date.
pub(crate) fn around<T>(load: impl FnOnce() -> T) -> T {
    let depth = DEPTH.get();
    let before = modules::generation();
    DEPTH.set(depth + 1);
    let loaded = load();
    DEPTH.set(depth);
    // Within another load, the dynamic linker's lock is held, which the agent's thread needs.
    if depth == 0 && has_loaded_since(before) {
        wait();
    }
    loaded
}

fn has_loaded_since(before: Generation) -> bool {
    let watched = WATCHED.get().map_or([].as_slice(), Vec::as_slice);
    let is_watched =
        |module: &loader::Module<'_>| modules::build_id(module).is_some_and(|id| watched.contains(&id));
    modules::generation().added != before.added
        && loader::visit_modules(|module| match is_watched(module) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
        .is_some()
}

fn wait() {
    let ticket = TICKETS.fetch_add(1, Ordering::SeqCst) + 1;
    if connection::speak(&FromProcess::Loaded { ticket }).is_ok() {
        nap_while(PATIENCE, || PROCEEDED.load(Ordering::SeqCst) < ticket && connection::is_open());
    }
}
