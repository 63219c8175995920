//! `libandroid.so`, for code that runs without an app: loopers that poll, and assets of which there are none.

use super::Symbols;
use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

type Callback = unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int;

/// `ALOOPER_POLL_*`.
const WAKE: c_int = -1;
const CALLBACK: c_int = -2;
const TIMEOUT: c_int = -3;
const ERROR: c_int = -4;

/// A thread's looper.
struct Looper {
    watched: Mutex<Vec<Watched>>,
    /// An eventfd that wakes it.
    wake: c_int,
}

#[derive(Clone, Copy)]
struct Watched {
    file: c_int,
    ident: c_int,
    callback: Option<Callback>,
    data: *mut c_void,
}

// SAFETY: `data` is not looked at, only given back to the thread that polls.
unsafe impl Send for Watched {}

thread_local! {
    static OWN: RefCell<Option<Arc<Looper>>> = const { RefCell::new(None) };
}

unsafe extern "C" fn for_thread() -> *const Looper {
    OWN.with_borrow(|own| own.as_ref().map_or(std::ptr::null(), Arc::as_ptr))
}

unsafe extern "C" fn prepare(_options: c_int) -> *const Looper {
    OWN.with_borrow_mut(|own| {
        let make = || {
            // SAFETY: it takes any number.
            let wake = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            Arc::new(Looper { watched: Mutex::default(), wake })
        };
        Arc::as_ptr(own.get_or_insert_with(make))
    })
}

unsafe extern "C" fn acquire(looper: *const Looper) {
    // SAFETY: one that `prepare` returned, which its thread or another owner keeps.
    unsafe { Arc::increment_strong_count(looper) };
}

unsafe extern "C" fn release(looper: *const Looper) {
    // SAFETY: one that `acquire` was called with.
    unsafe { Arc::decrement_strong_count(looper) };
}

unsafe extern "C" fn add_fd(
    looper: *const Looper,
    file: c_int,
    ident: c_int,
    _events: c_int,
    callback: Option<Callback>,
    data: *mut c_void,
) -> c_int {
    // SAFETY: a looper of the caller's.
    let mut watched = unsafe { &*looper }.watched.lock().unwrap_or_else(PoisonError::into_inner);
    watched.retain(|watched| watched.file != file);
    watched.push(Watched { file, ident, callback, data });
    1
}

unsafe extern "C" fn remove_fd(looper: *const Looper, file: c_int) -> c_int {
    // SAFETY: a looper of the caller's.
    let mut watched = unsafe { &*looper }.watched.lock().unwrap_or_else(PoisonError::into_inner);
    let before = watched.len();
    watched.retain(|watched| watched.file != file);
    c_int::from(watched.len() < before)
}

unsafe extern "C" fn wake(looper: *const Looper) {
    let one = 1u64;
    // SAFETY: a looper of the caller's; an eventfd is written eight bytes.
    unsafe { libc::write((*looper).wake, (&raw const one).cast(), 8) };
}

unsafe extern "C" fn poll(
    milliseconds: c_int,
    out_file: *mut c_int,
    out_events: *mut c_int,
    out_data: *mut *mut c_void,
) -> c_int {
    let Some(looper) = OWN.with_borrow(Clone::clone) else { return ERROR };
    let watched = looper.watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let files = std::iter::once(looper.wake).chain(watched.iter().map(|watched| watched.file));
    let mut files: Vec<_> = files.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: a list of ours.
    match unsafe { libc::poll(files.as_mut_ptr(), files.len() as libc::nfds_t, milliseconds) } {
        0 => return TIMEOUT,
        count if count < 0 => return ERROR,
        _ => {}
    }
    let mut result = WAKE;
    for (file, watched) in files.iter().skip(1).zip(&watched).filter(|(file, _)| file.revents != 0) {
        let events = c_int::from(file.revents);
        let Some(callback) = watched.callback else {
            let out = [(out_file, watched.file), (out_events, events)];
            // SAFETY: null, or the caller's room.
            unsafe {
                out.into_iter().filter(|(to, _)| !to.is_null()).for_each(|(to, value)| to.write(value));
                if !out_data.is_null() {
                    out_data.write(watched.data);
                }
            }
            return watched.ident;
        };
        result = CALLBACK;
        // SAFETY: the function that this file was added with, and its data.
        if unsafe { callback(watched.file, events, watched.data) } == 0 {
            // SAFETY: this thread's looper.
            unsafe { remove_fd(Arc::as_ptr(&looper), watched.file) };
        }
    }
    if files[0].revents != 0 {
        let mut count = 0u64;
        // SAFETY: eight bytes are read of an eventfd.
        unsafe { libc::read(looper.wake, (&raw mut count).cast(), 8) };
    }
    result
}

unsafe extern "C" fn no_asset(_: *const c_void, _: *const c_char, _: c_int) -> *const c_void {
    std::ptr::null()
}

unsafe extern "C" fn nothing(_: *const c_void, _: *mut c_void, _: usize) -> i64 {
    0
}

pub(super) fn symbols() -> Symbols {
    let mut all: Symbols = vec![
        ("ALooper_forThread", for_thread as *const ()),
        ("ALooper_prepare", prepare as *const ()),
        ("ALooper_acquire", acquire as *const ()),
        ("ALooper_release", release as *const ()),
        ("ALooper_addFd", add_fd as *const ()),
        ("ALooper_removeFd", remove_fd as *const ()),
        ("ALooper_wake", wake as *const ()),
        ("ALooper_pollOnce", poll as *const ()),
        ("ALooper_pollAll", poll as *const ()),
    ];
    let none = [
        "AAssetManager_fromJava",
        "AAssetManager_open",
        "AAssetManager_openDir",
        "AAssetDir_getNextFileName",
    ];
    all.extend(none.map(|name| (name, no_asset as *const ())));
    let empty = [
        "AAsset_close",
        "AAsset_getBuffer",
        "AAsset_getLength",
        "AAsset_getLength64",
        "AAsset_getRemainingLength",
        "AAsset_read",
        "AAsset_seek",
        "AAssetDir_close",
    ];
    all.extend(empty.map(|name| (name, nothing as *const ())));
    all
}
