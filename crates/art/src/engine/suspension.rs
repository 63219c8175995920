//! Holding all other threads, and the collector, by functions of the runtime's own that are not a part of any API.

use super::symbols;
use std::ffi::{CString, c_char, c_void};

/// Those functions, where they are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Suspension {
    current: *mut c_void,
    collector: [*mut c_void; 2],
    threads: [*mut c_void; 2],
}

/// `art::Thread::CurrentFromGdb()`
const CURRENT: &[&str] = &["_ZN3art6Thread14CurrentFromGdbEv"];
/// `art::gc::ScopedGCCriticalSection`: its constructor waits until no collection runs, and lets none begin. Of
/// constructors and destructors a runtime may export one of two names, or both, for the same.
const COLLECTOR: [&[&str]; 2] = [
    &[
        "_ZN3art2gc23ScopedGCCriticalSectionC1EPNS_6ThreadENS0_7GcCauseENS0_13CollectorTypeE",
        "_ZN3art2gc23ScopedGCCriticalSectionC2EPNS_6ThreadENS0_7GcCauseENS0_13CollectorTypeE",
    ],
    &["_ZN3art2gc23ScopedGCCriticalSectionD1Ev", "_ZN3art2gc23ScopedGCCriticalSectionD2Ev"],
];
/// `art::ScopedSuspendAll`
const THREADS: [&[&str]; 2] = [
    &["_ZN3art16ScopedSuspendAllC1EPKcb", "_ZN3art16ScopedSuspendAllC2EPKcb"],
    &["_ZN3art16ScopedSuspendAllD1Ev", "_ZN3art16ScopedSuspendAllD2Ev"],
];
/// `kGcCauseInstrumentation` and `kCollectorTypeInstrumentation` in 10 and 11; they are shown in logs and have no
/// other effect than that some collection counts as running.
const CAUSE: i32 = 8;
const COLLECTOR_TYPE: i32 = 9;

type Current = unsafe extern "C" fn() -> *mut c_void;
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
    /// Finds them, if the runtime has them under these names.
    pub(super) fn find() -> Option<Self> {
        Self::by(&mut linked).or_else(Self::in_file)
    }

    /// Finds them in the runtime's file, and not through the dynamic linker.
    pub(super) fn in_file() -> Option<Self> {
        let sets = [CURRENT].into_iter().chain(COLLECTOR).chain(THREADS);
        let found = symbols::find(&sets.flatten().copied().collect::<Vec<_>>());
        Self::by(&mut |name| found.get(name).map(|at| std::ptr::with_exposed_provenance_mut(*at)))
    }

    fn by(find: &mut dyn FnMut(&str) -> Option<*mut c_void>) -> Option<Self> {
        let mut first = |names: &[&str]| names.iter().find_map(|name| find(name));
        let current = first(CURRENT)?;
        let mut pair = |names: [&[&str]; 2]| Some([first(names[0])?, first(names[1])?]);
        Some(Self { current, collector: pair(COLLECTOR)?, threads: pair(THREADS)? })
    }

    /// Does something while no other thread runs Java code, and no collection runs. It must not call the runtime,
    /// nor panic.
    pub(super) fn while_others_wait<T>(&self, something: impl FnOnce() -> T) -> T {
        let (mut section, mut all) = (Room::new(), Room::new());
        // SAFETY: functions of these mangled names have these parameters (Itanium C++ ABI), the
        // room is larger than the objects, each is destroyed once and in reverse order; this thread is attached, and
        // is in native code, as whoever uses an `Environment` is.
        unsafe {
            let thread = std::mem::transmute::<*mut c_void, Current>(self.current)();
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

/// Through the dynamic linker.
fn linked(name: &str) -> Option<*mut c_void> {
    let name = CString::new(name).ok()?;
    // SAFETY: a text that ends with a NUL.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
