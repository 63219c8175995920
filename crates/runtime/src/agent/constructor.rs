//! Before the program runs, and around its forks.

use super::signals::{self, real};
use super::state::{self, Session};
use super::{connection, crash, environment, membarrier, modules, self_test, serve, thread, threads, tls};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

/// Run by the dynamic linker when it has loaded the agent.
#[cfg(feature = "agent")]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

extern "C" fn construct() {
    // A panic must not pass into the dynamic linker. It was said nowhere: see `start`.
    drop(catch_unwind(AssertUnwindSafe(|| {
        if let Some(invitation) = environment::take_invitation() {
            start(invitation);
        }
    })));
}

fn start(invitation: environment::Invitation) {
    // The agent's own copy of std: the program's panics are not affected.
    set_hook(Box::new(|_| {}));
    if !real::prepare() {
        return;
    }
    modules::remember_start();
    tls::find_reserve();
    threads::start();
    crash::tell_to(&invitation);
    let ready = membarrier::register().and_then(|()| signals::install());
    let redirection = self_test::run(ready);
    state::begin_session(Session { invitation, redirection });
    watch_forks();
    serve();
}

/// Registered after the allocator has registered its own handlers, at the first allocation: so a child may
/// allocate in ours.
pub(super) fn watch_forks() {
    thread::around_fork(before_fork, after_fork, after_fork_in_child);
}

fn serve() {
    if serve::claim() && !thread::spawn(serve::run) {
        serve::release();
    }
}

extern "C" fn before_fork() {
    state::hold();
}

extern "C" fn after_fork() {
    state::release();
}

extern "C" fn after_fork_in_child() {
    state::release_in_child();
    connection::in_child();
    // Registered before, in the parent; costs nothing while there is one thread.
    let _ = membarrier::register();
    threads::in_child();
    serve();
}
