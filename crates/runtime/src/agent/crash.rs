//! Telling the server that the program crashes: from signal handlers, so without locks or allocation.
//!
//! The server is dialled anew, since the agent's thread may be in the middle of a word on its own
//! connection. Then the thread that crashes waits, for a moment, until the server has hung up: it reads
//! from the memory of the process how it came to this.

use super::entry::Registers;
use super::environment::Invitation;
use super::state;
use super::thread::{self, nap_while};
use livepatch_proto::{Crash, Origin, Token, WireAddress};
use std::ffi::c_int;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// Whom to tell.
struct Listener {
    address: libc::sockaddr_un,
    token: Token,
}

static LISTENER: AtomicPtr<Listener> = AtomicPtr::new(std::ptr::null_mut());
/// The process and the thread that tell, as one number; 0 if none does.
static TELLING: AtomicU64 = AtomicU64::new(0);

/// How long the server may take, in seconds.
const PATIENCE: libc::time_t = 2;

/// Crashes are told to this server from now on. Nothing is freed: a handler may be reading it.
pub(crate) fn tell_to(invitation: &Invitation) {
    // SAFETY: a `sockaddr_un` is plain data, for which all zeros is a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = invitation.socket.as_os_str().as_bytes();
    // One byte stays zero: the path's end.
    if path.len() >= address.sun_path.len() {
        return;
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let listener = Box::new(Listener { address, token: invitation.token });
    LISTENER.store(Box::into_raw(listener), Ordering::Release);
}

/// Tells the server that this thread is about to end the process by `signal`. One thread does it: others
/// that crash meanwhile wait here to be ended with the process.
pub(crate) fn tell(signal: c_int, code: c_int, at: Registers) {
    // SAFETY: the pointer is null or a leaked box, complete before the Release store that published it.
    let Some(listener) = (unsafe { LISTENER.load(Ordering::Acquire).as_ref() }) else { return };
    if !is_first() {
        return;
    }
    let parent = match state::origin() {
        Origin::Started | Origin::Dialled => 0,
        Origin::Forked { parent } => parent,
    };
    let crash = Crash {
        token: listener.token,
        pid: std::process::id(),
        parent,
        thread: thread::id(),
        signal: signal.cast_unsigned(),
        code,
        pc: WireAddress(at.pc),
        sp: WireAddress(at.sp),
        bp: WireAddress(at.bp),
    };
    send(&listener.address, &crash.frame());
}

/// Whether no other thread of this process was here before.
fn is_first() -> bool {
    let process = u64::from(std::process::id());
    let own = process << 32 | u64::from(thread::id());
    let mut telling = TELLING.load(Ordering::Relaxed);
    // What a parent left says nothing about its child.
    while telling >> 32 != process {
        match TELLING.compare_exchange(telling, own, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => telling = now,
        }
    }
    if telling != own {
        nap_while(Duration::from_secs(PATIENCE.unsigned_abs()), || true);
    }
    false
}

/// Sends a frame on a connection of its own, and waits until the other side has hung up.
fn send(address: &libc::sockaddr_un, frame: &[u8]) {
    let patience = libc::timeval { tv_sec: PATIENCE, tv_usec: 0 };
    // SAFETY: async-signal-safe calls on a descriptor that nobody else knows; what they are to read and
    // write is alive until they return, and as long as they are told. No SIGPIPE is raised.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return;
        }
        for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
            let size = size_of_val(&patience) as libc::socklen_t;
            libc::setsockopt(socket, libc::SOL_SOCKET, option, (&raw const patience).cast(), size);
        }
        let size = size_of_val(address) as libc::socklen_t;
        if libc::connect(socket, std::ptr::from_ref(address).cast(), size) == 0
            && libc::send(socket, frame.as_ptr().cast(), frame.len(), libc::MSG_NOSIGNAL) >= 0
        {
            let mut answer = 0u8;
            while libc::recv(socket, (&raw mut answer).cast(), 1, 0) < 0
                && *libc::__errno_location() == libc::EINTR
            {}
        }
        libc::close(socket);
    }
}
