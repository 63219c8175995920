//! Threads that the program starts are registered before they run code of the program (`threads`).
//!
//! Uninvited, and before the agent's constructor, everything is passed through as it is.

use crate::agent::next::Next;
use crate::agent::threads::{self, Record};
use std::ffi::{c_int, c_void};

/// What a thread runs. Unwinding passes through the agent's own start routines, which have nothing to
/// clean up: `pthread_exit` and cancellation unwind by force.
type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;
type StartC11 = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

type Create = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void, *mut c_void) -> c_int;
type CreateC11 = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int;

static PTHREAD_CREATE: Next = Next::new(c"pthread_create");
static THRD_CREATE: Next = Next::new(c"thrd_create");

/// `thrd_error` of threads.h in glibc.
const THRD_ERROR: c_int = 2;

/// # Safety
/// As for pthread_create(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    start: *mut c_void,
    argument: *mut c_void,
) -> c_int {
    let address = PTHREAD_CREATE.address();
    if address == 0 {
        return libc::EAGAIN;
    }
    // SAFETY: the address is that of the C library's function, whose arguments are four pointers.
    let next: Create = unsafe { std::mem::transmute(address) };
    with_record(start, argument, |record| match record {
        // SAFETY: the caller's promise, but for the start routine: `begin` gets the record it expects.
        Some(record) => unsafe {
            next(thread, attributes, begin as *mut c_void, std::ptr::from_ref(record).cast_mut().cast())
        },
        // SAFETY: the caller's promise.
        None => unsafe { next(thread, attributes, start, argument) },
    })
}

/// # Safety
/// As for thrd_create(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_create(thread: *mut c_void, start: *mut c_void, argument: *mut c_void) -> c_int {
    let address = THRD_CREATE.address();
    if address == 0 {
        return THRD_ERROR;
    }
    // SAFETY: the address is that of the C library's function, whose arguments are three pointers.
    let next: CreateC11 = unsafe { std::mem::transmute(address) };
    with_record(start, argument, |record| match record {
        // SAFETY: the caller's promise, but for the start routine: `begin_c11` gets the record it expects.
        Some(record) => unsafe {
            next(thread, begin_c11 as *mut c_void, std::ptr::from_ref(record).cast_mut().cast())
        },
        // SAFETY: the caller's promise.
        None => unsafe { next(thread, start, argument) },
    })
}

/// Calls `create` with a record for the new thread, if it is to be registered; takes the record back if
/// no thread was made.
fn with_record(
    start: *mut c_void,
    argument: *mut c_void,
    create: impl FnOnce(Option<&'static Record>) -> c_int,
) -> c_int {
    let record = threads::announce(start as usize, argument as usize);
    let failed = create(record);
    if failed != 0
        && let Some(record) = record
    {
        threads::withdraw(record);
    }
    failed
}

/// # Safety
/// `record` must be the record that this thread was announced with.
unsafe extern "C-unwind" fn begin(record: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise; records are never freed.
    let (start, argument) = threads::begin(unsafe { &*record.cast::<Record>() });
    // SAFETY: these are what the program passed to `pthread_create`.
    unsafe { std::mem::transmute::<usize, Start>(start)(argument as *mut c_void) }
}

/// # Safety
/// As for [`begin`].
unsafe extern "C-unwind" fn begin_c11(record: *mut c_void) -> c_int {
    // SAFETY: the caller's promise; records are never freed.
    let (start, argument) = threads::begin(unsafe { &*record.cast::<Record>() });
    // SAFETY: these are what the program passed to `thrd_create`.
    unsafe { std::mem::transmute::<usize, StartC11>(start)(argument as *mut c_void) }
}
