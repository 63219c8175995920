//! The agent's one thread, made with the C library directly: no panic, no unwinding, own signal mask.
//! And what the kernel counts of others.

use super::signals::real;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

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

/// This thread's id.
pub(crate) fn id() -> u32 {
    // SAFETY: `gettid` only says a number.
    unsafe { libc::gettid() }.unsigned_abs()
}

/// This thread's thread pointer.
pub(crate) fn pointer() -> u64 {
    super::tls::thread_pointer()
}

/// Whether this process has a thread of that id.
pub(crate) fn exists(id: u32) -> bool {
    // SAFETY: signal 0 is no signal: the kernel looks for the thread and does nothing with it.
    let found = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, 0) };
    found == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Waits while `condition` holds, but not longer than `patience`. For threads of the program: this is
/// no cancellation point, and takes no lock.
pub(crate) fn nap_while(patience: Duration, mut condition: impl FnMut() -> bool) {
    let mut begun = None;
    while condition() {
        if begun.get_or_insert_with(Instant::now).elapsed() > patience {
            return;
        }
        nap();
    }
}

/// Sleeps a little; no cancellation point.
pub(crate) fn nap() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };
    // SAFETY: nanosleep(2) reads `time` and writes nothing.
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, 0) };
}

/// How long a thread of this process has run so far, to the nanosecond; None where that is not known.
pub(crate) fn run_time(id: u32) -> Option<Duration> {
    // A thread's clock as clock_gettime(2) numbers it: glibc has a function for it, but that takes a
    // `pthread_t`. Unlike /proc's `schedstat`, it is right between the scheduler's ticks too.
    const PER_THREAD: libc::clockid_t = 4;
    const SCHEDULED: libc::clockid_t = 2;
    let clock = !id.cast_signed() << 3 | PER_THREAD | SCHEDULED;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock's number is made up, which the kernel checks; `time` is ours to be written.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    Some(Duration::new(seconds, nanoseconds))
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
