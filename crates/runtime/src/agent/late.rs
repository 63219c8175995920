//! Coming into a program that runs already, and meeting another server: called by name, in a thread that
//! `cargo livepatch attach` borrows (`livepatch_proto::attach`).
//!
//! The borrowed thread stands where it may allocate and make threads, and does no more than that here.
//! The rest is done by the agent's own thread, before it dials.

use super::environment::Invitation;
use super::signals::{self, real, stand_in};
use super::state::{self, Session};
use super::{constructor, crash, membarrier, modules, process_status, self_test, serve, thread, tls};
use livepatch_proto::attach::{BUSY, DIALS, INVALID, NO_THREAD};
use livepatch_proto::{Redirection, Token};
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{catch_unwind, set_hook};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

/// From the borrowed thread to the agent's.
static INVITATION: AtomicPtr<Invitation> = AtomicPtr::new(std::ptr::null_mut());

/// How long the thread that was borrowed may stay traced.
const PATIENCE: Duration = Duration::from_secs(1);

/// # Safety
/// Both arguments are null or strings.
#[cfg_attr(feature = "agent", unsafe(no_mangle))]
unsafe extern "C" fn livepatch_attach_1(socket: *const c_char, token: *const c_char) -> c_int {
    // A panic must not pass into the frames of another language, nor be said.
    let answer = catch_unwind(|| {
        set_hook(Box::new(|_| {}));
        // SAFETY: the caller's promise.
        match unsafe { read(socket, token) } {
            Some(invitation) => attach(invitation),
            None => INVALID,
        }
    });
    answer.unwrap_or(INVALID)
}

/// # Safety
/// As for [`livepatch_attach_1`].
unsafe fn read(socket: *const c_char, token: *const c_char) -> Option<Invitation> {
    if socket.is_null() || token.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let (socket, token) = unsafe { (CStr::from_ptr(socket), CStr::from_ptr(token)) };
    let token = Token::from_hex(token.to_str().ok()?)?;
    Some(Invitation { socket: OsStr::from_bytes(socket.to_bytes()).into(), token })
}

fn attach(invitation: Invitation) -> c_int {
    if !serve::claim() {
        return BUSY;
    }
    let earlier = INVITATION.swap(Box::into_raw(Box::new(invitation)), Ordering::AcqRel);
    debug_assert!(earlier.is_null(), "whoever claims takes it");
    if thread::spawn(begin) {
        return DIALS;
    }
    drop(take());
    serve::release();
    NO_THREAD
}

fn take() -> Option<Box<Invitation>> {
    let invitation = INVITATION.swap(std::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: a pointer that is not null came from a box in `attach`, and is taken once.
    (!invitation.is_null()).then(|| unsafe { Box::from_raw(invitation) })
}

/// The agent's thread: the session's beginning, then the session.
fn begin() {
    let Some(invitation) = take() else { return serve::release() };
    let redirection = match state::session() {
        Some(earlier) => earlier.redirection.clone(),
        None => come_in(),
    };
    crash::tell_to(&invitation);
    tls::begin_session();
    state::begin_session(Session { invitation: *invitation, redirection });
    serve::run();
}

/// What the constructor does for a program that has not begun.
fn come_in() -> Redirection {
    // The self-test traps, which is no business of whoever traces.
    thread::nap_while(PATIENCE, || process_status::tracer() != 0);
    if !real::prepare() {
        return Redirection::Unavailable { reason: "the C library's functions are not found".to_owned() };
    }
    modules::remember_program();
    let ready = membarrier::register().and_then(|()| signals::install());
    let redirection = self_test::run(ready);
    stand_in::install_late();
    constructor::watch_forks();
    match redirection {
        Redirection::Entry => Redirection::Unguarded,
        other => other,
    }
}
