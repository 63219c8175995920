//! The agent's one thread. Made with the C library directly: no panic, no unwinding, own signal mask.

use super::signals::real;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Enough for the dynamic linker and a program's callbacks; only touched pages count.
const STACK: usize = 512 << 10;

/// Runs `work` on a new, detached thread that takes no signals but those its own instructions raise.
/// Says whether the thread could be started.
pub(crate) fn spawn(work: fn()) -> bool {
    let mask = real::block_asynchronous();
    let started = start(work);
    real::restore(&mask);
    started
}

fn start(work: fn()) -> bool {
    // SAFETY: the attributes are initialised before and destroyed after use; `main` gets the function
    // pointer it expects, by value.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_attr_init(&raw mut attributes) != 0 {
            return false;
        }
        libc::pthread_attr_setdetachstate(&raw mut attributes, libc::PTHREAD_CREATE_DETACHED);
        libc::pthread_attr_setstacksize(&raw mut attributes, STACK);
        let mut thread = 0;
        let failed = libc::pthread_create(
            &raw mut thread,
            &raw const attributes,
            main,
            work as *const () as *mut c_void,
        );
        libc::pthread_attr_destroy(&raw mut attributes);
        failed == 0
    }
}

extern "C" fn main(work: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passes a `fn()`; the name is NUL-terminated and shorter than 16 bytes.
    let work = unsafe {
        libc::pthread_setname_np(libc::pthread_self(), c"livepatch".as_ptr());
        std::mem::transmute::<*mut c_void, fn()>(work)
    };
    // A panic ends the conversation, which the server sees; the program goes on.
    drop(catch_unwind(AssertUnwindSafe(work)));
    std::ptr::null_mut()
}

unsafe extern "C" {
    safe fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
}

/// Has `prepare` called before every `fork`, and the others after it. All must be async-signal-safe
/// but for allocation, and must not panic.
pub(crate) fn around_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> bool {
    pthread_atfork(Some(prepare), Some(parent), Some(child)) == 0
}
