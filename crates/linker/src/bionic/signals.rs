//! Signals: bionic's `sigset_t` is the kernel's 8 bytes, glibc's has 128; `struct sigaction` has another order.

use super::Symbols;
use libc::{sigset_t, timespec};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

/// bionic's set.
type Set = u64;

/// bionic's `struct sigaction` on 64-bit machines.
#[repr(C)]
struct Action {
    flags: c_int,
    handler: usize,
    mask: Set,
    restorer: usize,
}

/// glibc's set with the same signals.
fn to_glibc(set: Set) -> sigset_t {
    let mut wide = MaybeUninit::<sigset_t>::zeroed();
    // SAFETY: any bytes are a set, and its first eight are the kernel's.
    unsafe {
        wide.as_mut_ptr().cast::<Set>().write(set);
        wide.assume_init()
    }
}

fn from_glibc(set: &sigset_t) -> Set {
    // SAFETY: it is longer than that, and no less aligned.
    unsafe { std::ptr::from_ref(set).cast::<Set>().read() }
}

/// A set that may not be there, and where glibc finds it.
struct Given(Option<sigset_t>);

impl Given {
    /// # Safety
    /// Null, or a set of bionic's.
    unsafe fn new(set: *const Set) -> Self {
        // SAFETY: the caller's promise.
        Self((!set.is_null()).then(|| to_glibc(unsafe { set.read() })))
    }

    fn pointer(&self) -> *const sigset_t {
        self.0.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
    }
}

/// Writes what glibc has answered with, if it is wanted.
///
/// # Safety
/// Null, or room for a set of bionic's.
unsafe fn answer(to: *mut Set, set: &sigset_t) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(from_glibc(set)) };
    }
}

unsafe extern "C" fn sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int {
    // SAFETY: actions as bionic's headers describe them; glibc's are made of their fields.
    unsafe {
        let given = (!new.is_null()).then(|| {
            let new = &*new;
            let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            action.sa_sigaction = new.handler;
            action.sa_flags = new.flags;
            action.sa_mask = to_glibc(new.mask);
            action
        });
        let mut before = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        let given = given.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let result = libc::sigaction(signal, given, &raw mut before);
        if result == 0 && !old.is_null() {
            let mask = from_glibc(&before.sa_mask);
            old.write(Action { flags: before.sa_flags, handler: before.sa_sigaction, mask, restorer: 0 });
        }
        result
    }
}

unsafe extern "C" fn sigemptyset(set: *mut Set) -> c_int {
    // SAFETY: the caller's set.
    unsafe { set.write(0) };
    0
}

unsafe extern "C" fn sigfillset(set: *mut Set) -> c_int {
    // SAFETY: the caller's set.
    unsafe { set.write(!0) };
    0
}

/// The signal's bit, or `EINVAL`.
fn bit(signal: c_int) -> Option<Set> {
    let bit = u32::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
    let bit = bit.and_then(|bit| 1u64.checked_shl(bit));
    if bit.is_none() {
        // SAFETY: this thread's variable.
        unsafe { *libc::__errno_location() = libc::EINVAL };
    }
    bit
}

unsafe extern "C" fn sigaddset(set: *mut Set, signal: c_int) -> c_int {
    let Some(bit) = bit(signal) else { return -1 };
    // SAFETY: the caller's set.
    unsafe { *set |= bit };
    0
}

unsafe extern "C" fn sigdelset(set: *mut Set, signal: c_int) -> c_int {
    let Some(bit) = bit(signal) else { return -1 };
    // SAFETY: the caller's set.
    unsafe { *set &= !bit };
    0
}

unsafe extern "C" fn sigismember(set: *const Set, signal: c_int) -> c_int {
    let Some(bit) = bit(signal) else { return -1 };
    // SAFETY: the caller's set.
    c_int::from(unsafe { *set } & bit != 0)
}

unsafe extern "C" fn sigprocmask(how: c_int, new: *const Set, old: *mut Set) -> c_int {
    let mut before = to_glibc(0);
    // SAFETY: sets of the caller's, and one of ours.
    unsafe {
        let result = libc::sigprocmask(how, Given::new(new).pointer(), &raw mut before);
        if result == 0 {
            answer(old, &before);
        }
        result
    }
}

unsafe extern "C" fn pthread_sigmask(how: c_int, new: *const Set, old: *mut Set) -> c_int {
    let mut before = to_glibc(0);
    // SAFETY: sets of the caller's, and one of ours.
    unsafe {
        let result = libc::pthread_sigmask(how, Given::new(new).pointer(), &raw mut before);
        if result == 0 {
            answer(old, &before);
        }
        result
    }
}

unsafe extern "C" fn sigpending(set: *mut Set) -> c_int {
    let mut pending = to_glibc(0);
    // SAFETY: a set of ours, and the caller's.
    unsafe {
        let result = libc::sigpending(&raw mut pending);
        if result == 0 {
            answer(set, &pending);
        }
        result
    }
}

unsafe extern "C" fn sigsuspend(set: *const Set) -> c_int {
    // SAFETY: the caller's set.
    unsafe { libc::sigsuspend(Given::new(set).pointer()) }
}

unsafe extern "C" fn sigwait(set: *const Set, signal: *mut c_int) -> c_int {
    // SAFETY: the caller's set, and its room for a number.
    unsafe { libc::sigwait(Given::new(set).pointer(), signal) }
}

unsafe extern "C" fn sigwaitinfo(set: *const Set, information: *mut libc::siginfo_t) -> c_int {
    // SAFETY: the caller's set, and its room.
    unsafe { libc::sigwaitinfo(Given::new(set).pointer(), information) }
}

unsafe extern "C" fn sigtimedwait(
    set: *const Set,
    information: *mut libc::siginfo_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: the caller's set, room and time.
    unsafe { libc::sigtimedwait(Given::new(set).pointer(), information, time) }
}

unsafe extern "C" fn ppoll(
    files: *mut libc::pollfd,
    count: libc::nfds_t,
    time: *const timespec,
    set: *const Set,
) -> c_int {
    // SAFETY: the caller's list, time and set.
    unsafe { libc::ppoll(files, count, time, Given::new(set).pointer()) }
}

unsafe extern "C" fn pselect(
    count: c_int,
    read: *mut libc::fd_set,
    write: *mut libc::fd_set,
    exceptional: *mut libc::fd_set,
    time: *const timespec,
    set: *const Set,
) -> c_int {
    // SAFETY: the caller's sets and time.
    unsafe { libc::pselect(count, read, write, exceptional, time, Given::new(set).pointer()) }
}

unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut libc::epoll_event,
    most: c_int,
    milliseconds: c_int,
    set: *const Set,
) -> c_int {
    // SAFETY: the caller's room and set.
    unsafe { libc::epoll_pwait(epoll, events, most, milliseconds, Given::new(set).pointer()) }
}

unsafe extern "C" fn signalfd(file: c_int, set: *const Set, flags: c_int) -> c_int {
    // SAFETY: the caller's set.
    unsafe { libc::signalfd(file, Given::new(set).pointer(), flags) }
}

unsafe extern "C" fn posix_spawnattr_set(attributes: *mut c_void, set: *const Set) -> c_int {
    // SAFETY: the caller's attributes and set.
    unsafe { libc::posix_spawnattr_setsigmask(attributes.cast(), Given::new(set).pointer()) }
}

unsafe extern "C" fn posix_spawnattr_default(attributes: *mut c_void, set: *const Set) -> c_int {
    // SAFETY: the caller's attributes and set.
    unsafe { libc::posix_spawnattr_setsigdefault(attributes.cast(), Given::new(set).pointer()) }
}

/// Each is there with `64` in its name, too, from API level 28 on; on 64-bit machines that is the same.
pub(super) fn symbols() -> Symbols {
    vec![
        ("sigaction", sigaction as *const ()),
        ("sigaction64", sigaction as *const ()),
        ("sigemptyset", sigemptyset as *const ()),
        ("sigemptyset64", sigemptyset as *const ()),
        ("sigfillset", sigfillset as *const ()),
        ("sigfillset64", sigfillset as *const ()),
        ("sigaddset", sigaddset as *const ()),
        ("sigaddset64", sigaddset as *const ()),
        ("sigdelset", sigdelset as *const ()),
        ("sigdelset64", sigdelset as *const ()),
        ("sigismember", sigismember as *const ()),
        ("sigismember64", sigismember as *const ()),
        ("sigprocmask", sigprocmask as *const ()),
        ("sigprocmask64", sigprocmask as *const ()),
        ("pthread_sigmask", pthread_sigmask as *const ()),
        ("pthread_sigmask64", pthread_sigmask as *const ()),
        ("sigpending", sigpending as *const ()),
        ("sigpending64", sigpending as *const ()),
        ("sigsuspend", sigsuspend as *const ()),
        ("sigsuspend64", sigsuspend as *const ()),
        ("sigwait", sigwait as *const ()),
        ("sigwait64", sigwait as *const ()),
        ("sigwaitinfo", sigwaitinfo as *const ()),
        ("sigwaitinfo64", sigwaitinfo as *const ()),
        ("sigtimedwait", sigtimedwait as *const ()),
        ("sigtimedwait64", sigtimedwait as *const ()),
        ("ppoll", ppoll as *const ()),
        ("ppoll64", ppoll as *const ()),
        ("pselect", pselect as *const ()),
        ("pselect64", pselect as *const ()),
        ("epoll_pwait", epoll_pwait as *const ()),
        ("epoll_pwait64", epoll_pwait as *const ()),
        ("signalfd", signalfd as *const ()),
        ("signalfd64", signalfd as *const ()),
        ("posix_spawnattr_setsigmask", posix_spawnattr_set as *const ()),
        ("posix_spawnattr_setsigdefault", posix_spawnattr_default as *const ()),
    ]
}
