//! The threads of the process whose thread-locals the agent can write.
//!
//! A thread is *announced* when it is made, *begins* before it runs code of the program, and *leaves* in
//! the last round of its destructors, after those of C++ and Rust. Between the last two, its
//! thread-local block is there for as long as its record is [`Held`].
//!
//! Records are never freed, so that a walk through them needs no lock, and nothing here waits for a
//! lock: threads begin and leave inside `fork` handlers, signal handlers and allocators. No memory is
//! allocated in a new thread: that would make its arena.

mod record;

use super::process_status;
use super::thread::{self, nap_while};
use super::tls::image;
use record::{FRESH, LIVE};
pub(crate) use record::{Held, Record};
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The key whose value is a thread's record; negative while threads are not registered.
static KEY: AtomicI32 = AtomicI32::new(-1);
/// How often the C library calls destructors that set their values again.
static ROUNDS: AtomicU32 = AtomicU32::new(0);

/// How long a thread may take to begin, or to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Registers this thread, and from now on every thread that is made.
pub(crate) fn start() {
    let mut key = 0;
    // SAFETY: `key` is ours to be written; `leave` is a destructor for the values that are set below.
    let (failed, rounds) = unsafe {
        (
            libc::pthread_key_create(&raw mut key, Some(leave)),
            libc::sysconf(libc::_SC_THREAD_DESTRUCTOR_ITERATIONS),
        )
    };
    if failed != 0 {
        return;
    }
    ROUNDS.store(u32::try_from(rounds).unwrap_or(1), Ordering::Relaxed);
    KEY.store(key.cast_signed(), Ordering::Release);
    register_this();
}

fn register_this() {
    if let Some(record) = announce(0, 0) {
        begin(record);
    }
}

fn key() -> Option<libc::pthread_key_t> {
    libc::pthread_key_t::try_from(KEY.load(Ordering::Acquire)).ok()
}

/// This thread's record.
fn own() -> Option<&'static Record> {
    // SAFETY: the key was made; its values are null or records, which are never freed.
    unsafe { libc::pthread_getspecific(key()?).cast::<Record>().as_ref() }
}

fn set_own(record: &'static Record) -> bool {
    let Some(key) = key() else { return false };
    // SAFETY: the key was made, and its destructor expects a record.
    unsafe { libc::pthread_setspecific(key, std::ptr::from_ref(record).cast()) == 0 }
}

/// A record for a thread that is about to be made, with what it is to run. None where threads are not
/// registered.
pub(crate) fn announce(start: usize, argument: usize) -> Option<&'static Record> {
    key()?;
    // Before the C library copies the initial values: see `begin`.
    let edits = image::edits();
    let record = record::claim()?;
    record.announce(start, argument, edits);
    Some(record)
}

/// The announced thread was not made.
pub(crate) fn withdraw(record: &'static Record) {
    record.free();
}

/// Called first of all by the thread that was announced with `record`; what it is to run.
pub(crate) fn begin(record: &'static Record) -> (usize, usize) {
    let work = record.work();
    // A thread may have been announced twice: where another library makes `thrd_create` of ours.
    if own().is_some() || !set_own(record) {
        record.free();
        return work;
    }
    record.register(thread::pointer(), thread::id());
    // Whoever changes initial values from now on finds this thread. If somebody did since it was
    // announced, its block may have been made before, or in the middle.
    record.catch_up(image::copy_unless(record.edits()));
    work
}

/// The destructor of the key. It sets its value again, so as to be called in the last round.
unsafe extern "C" fn leave(record: *mut c_void) {
    // SAFETY: the value of the key: a record, which is never freed.
    let record = unsafe { &*record.cast::<Record>() };
    if record.count_round() < ROUNDS.load(Ordering::Relaxed) && set_own(record) {
        return;
    }
    // The agent holds it for microseconds. Should it do so for ever (in a child that was made past
    // `fork`), the record stays, and is found to be of no thread.
    nap_while(PATIENCE, || !record.leave());
}

/// Shows every registered thread to `visit`, each while it cannot leave.
///
/// A thread that begins meanwhile is either shown, or sees the latest [`image::edits`].
pub(crate) fn each(mut visit: impl FnMut(&Held<'_>)) {
    for record in record::all() {
        if let Some(held) = record.hold() {
            // A thread that ended by a system call of its own never left, and its block may be gone.
            if thread::exists(held.id()) {
                visit(&held);
            } else {
                drop(held);
                record.leave();
            }
        }
    }
}

/// A thread of the process that is not registered and goes on not to be, if there is one.
///
/// Threads that were just made, or end just now, pass.
pub(crate) fn stranger() -> std::io::Result<Option<u32>> {
    let mut strangers = process_status::threads()?;
    let begun = Instant::now();
    loop {
        let known: BTreeSet<u32> = record::all().filter_map(Record::registered).collect();
        strangers.retain(|id| !known.contains(id) && !process_status::has_ended(*id));
        if strangers.is_empty() || begun.elapsed() > PATIENCE {
            return Ok(strangers.first().copied());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// After a `fork`, in the child: this thread is all that is left, but for any that an earlier handler
/// of the program made by now.
pub(crate) fn in_child() {
    if key().is_none() {
        return;
    }
    image::in_child();
    let own = own();
    for record in record::all() {
        let is_own = own.is_some_and(|own| std::ptr::eq(own, record));
        if is_own {
            record.continue_as(thread::id());
        } else if record.state() & (FRESH | LIVE) != 0 && !thread::exists(record.id()) {
            record.free();
        }
    }
    if own.is_none() {
        register_this();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_registered_uninvited() {
        assert!(announce(1, 2).is_none());
        assert!(own().is_none());
    }
}
