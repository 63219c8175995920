//! Waiting until no thread stands at a changed entry because its old body looped there.
//!
//! Such a thread is at the entry since before the code changed: branches that lead there from the body
//! trap by then. So it is enough that every thread that there was has been elsewhere, or has executed
//! anything, since. What a thread that runs has executed cannot be seen, but how long it ran can.
//!
//! A signal may have interrupted it at the entry, where it goes on once the program's handler returns: a
//! thread that waits inside a handler has the signal's frame on its stack. Not seen is one whose handler
//! runs for longer than [`RAN`] without ever waiting.

use super::{entry, memory, process_status, thread};
use process_status::Place;
use std::time::{Duration, Instant};

/// How long a thread has run when it must have executed something. Interrupts that arrive while it
/// stands at an entry count as its own run time, but are shorter.
const RAN: Duration = Duration::from_millis(1);
/// How much of a stack is looked at: what a handler takes that waits.
const STACK: usize = (64 << 10) / size_of::<u64>();
const POLL: Duration = Duration::from_micros(300);
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that may stand at an entry.
struct Suspect {
    id: u32,
    /// How long it had run when the code had just been changed.
    ran: Option<Duration>,
}

impl Suspect {
    fn has_run_on(&mut self, entries: &[u64]) -> bool {
        if let (Some(before), Some(now)) = (self.ran, thread::run_time(self.id))
            && now.saturating_sub(before) >= RAN
        {
            return true;
        }
        // A breakpoint is reported behind itself.
        let stands = |pc: u64| entries.contains(&pc) || entries.contains(&pc.wrapping_sub(1));
        match process_status::place(self.id) {
            Place::Gone => true,
            Place::At { pc, .. } if stands(pc) => false,
            Place::At { sp, .. } => {
                let mut stack = vec![0; STACK];
                let length = memory::read_what_is_there(sp & !7, &mut stack);
                let interrupted = entry::has_signal_frame(&stack[..length], stands);
                if interrupted {
                    // It ran in the handler. What counts is how long it runs from now on.
                    self.ran = thread::run_time(self.id);
                }
                !interrupted
            }
            Place::Running => false,
        }
    }
}

/// Waits until every thread has run on that may stand at one of `entries`, which are changed already.
/// Names the threads for which it waited in vain.
pub(crate) fn wait(entries: &[u64]) -> Vec<String> {
    if entries.is_empty() {
        return Vec::new();
    }
    let begun = Instant::now();
    let mut suspects = match process_status::threads() {
        Ok(threads) => suspects(threads),
        Err(error) => return vec![format!("the threads of the process cannot be listed: {error}")],
    };
    loop {
        suspects.retain_mut(|thread| !thread.has_run_on(entries));
        if suspects.is_empty() || begun.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(POLL);
    }
    let text = |thread: &Suspect| {
        let id = thread.id;
        format!("thread {id} did not run on: a loop of it to a function's start goes on in the new body")
    };
    suspects.iter().map(text).collect()
}

/// All but this one. Threads that start later can only come to an entry by a call.
fn suspects(threads: Vec<u32>) -> Vec<Suspect> {
    let own = thread::id();
    let others = threads.into_iter().filter(|&id| id != own);
    others.map(|id| Suspect { id, ran: thread::run_time(id) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    #[test]
    fn threads_that_sleep_or_run_have_run_on() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let spin = || {
            while !STOP.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let threads = [std::thread::spawn(spin), std::thread::spawn(std::thread::park)];
        assert_eq!(wait(&[0x1000]), Vec::<String>::new());
        STOP.store(true, Ordering::Relaxed);
        threads[1].thread().unpark();
        threads.into_iter().for_each(|thread| thread.join().expect("it returns"));
    }

    #[test]
    fn a_thread_that_stands_at_an_entry_has_not() {
        static ID: AtomicU32 = AtomicU32::new(0);
        let thread = std::thread::spawn(|| {
            ID.store(thread::id(), Ordering::Release);
            std::thread::park();
        });
        // By then it is parked.
        std::thread::sleep(Duration::from_millis(100));
        let mut suspect = Suspect { id: ID.load(Ordering::Acquire), ran: None };
        let Place::At { pc, sp } = process_status::place(suspect.id) else { panic!("it is parked") };
        assert!(suspect.has_run_on(&[pc + 64]));
        assert!(!suspect.has_run_on(&[pc + 64, pc]));
        assert!(!suspect.has_run_on(&[pc - 1]), "it may have trapped there");
        let mut stack = vec![0; 1 << 20];
        let length = memory::read_what_is_there(sp, &mut stack);
        assert!(length > 16 && length < stack.len(), "to the end of the stack: {length}");
        thread.thread().unpark();
        thread.join().expect("it returns");
        assert!(suspect.has_run_on(&[pc]), "it is gone");
    }
}
