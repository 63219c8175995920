//! Holding all other threads, and the collector, by functions of the runtime's own that are not a part of any API.

use std::ffi::{CStr, c_char, c_void};

/// Those functions, where they are found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspension {
    current: unsafe extern "C" fn() -> *mut c_void,
    collector: [*mut c_void; 2],
    threads: [*mut c_void; 2],
}

/// `art::Thread::CurrentFromGdb()`
const CURRENT: &CStr = c"_ZN3art6Thread14CurrentFromGdbEv";
/// `art::gc::ScopedGCCriticalSection`: its constructor waits until no collection runs, and lets none begin.
const COLLECTOR: [&CStr; 2] = [
    c"_ZN3art2gc23ScopedGCCriticalSectionC1EPNS_6ThreadENS0_7GcCauseENS0_13CollectorTypeE",
    c"_ZN3art2gc23ScopedGCCriticalSectionD1Ev",
];
/// `art::ScopedSuspendAll`
const THREADS: [&CStr; 2] = [c"_ZN3art16ScopedSuspendAllC1EPKcb", c"_ZN3art16ScopedSuspendAllD1Ev"];
/// `kGcCauseInstrumentation` and `kCollectorTypeInstrumentation` in 10 and 11; they are shown in logs and have no
/// other effect than that some collection counts as running.
const CAUSE: i32 = 8;
const COLLECTOR_TYPE: i32 = 9;

type Enter = unsafe extern "C" fn(*mut c_void, *mut c_void, i32, i32);
type Suspend = unsafe extern "C" fn(*mut c_void, *const c_char, bool);
type Leave = unsafe extern "C" fn(*mut c_void);

/// Room for an object of one of those classes, which have a few words.
#[repr(align(16))]
struct Room([u8; 256]);

impl Room {
    fn new() -> Self {
        Self([0; 256])
    }

    fn address(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }
}

// SAFETY: addresses of code, which is for all threads.
unsafe impl Send for Suspension {}

impl Suspension {
    /// Finds them, if the runtime exports them to this library.
    pub(super) fn find() -> Option<Self> {
        let find = |name: &CStr| {
            // SAFETY: a text that ends with a NUL.
            let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            (!address.is_null()).then_some(address)
        };
        let current = find(CURRENT)?;
        // SAFETY: a static member function of this name takes nothing and returns a pointer (Itanium C++ ABI).
        let current =
            unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *mut c_void>(current) };
        let pair = |names: [&CStr; 2]| Some([find(names[0])?, find(names[1])?]);
        Some(Self { current, collector: pair(COLLECTOR)?, threads: pair(THREADS)? })
    }

    /// Does something while no other thread runs Java code, and no collection runs. It must not call the runtime,
    /// nor panic.
    pub(super) fn while_others_wait<T>(&self, something: impl FnOnce() -> T) -> T {
        let (mut section, mut all) = (Room::new(), Room::new());
        // SAFETY: constructors and destructors of these mangled names have these parameters (Itanium C++ ABI), the
        // room is larger than the objects, each is destroyed once and in reverse order; this thread is attached, and
        // is in native code, as whoever uses an `Environment` is.
        unsafe {
            let thread = (self.current)();
            let enter = std::mem::transmute::<*mut c_void, Enter>(self.collector[0]);
            let suspend = std::mem::transmute::<*mut c_void, Suspend>(self.threads[0]);
            enter(section.address(), thread, CAUSE, COLLECTOR_TYPE);
            suspend(all.address(), c"livepatch".as_ptr(), false);
        }
        let result = something();
        // SAFETY: as above.
        unsafe {
            std::mem::transmute::<*mut c_void, Leave>(self.threads[1])(all.address());
            std::mem::transmute::<*mut c_void, Leave>(self.collector[1])(section.address());
        }
        result
    }
}
