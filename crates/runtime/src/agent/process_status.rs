//! What the kernel says about this process and its threads (proc_pid_status(5)).

use super::signals::TRAP_SIGNALS;
use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

/// The process that traces this one; 0 if none does.
pub(crate) fn tracer() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "TracerPid:").and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// A thread that blocks a trap signal, if one does and goes on doing so.
///
/// The C library blocks all signals for moments (starting a thread, say), in code of its own: that
/// passes, once the thread has its turn.
pub(crate) fn thread_that_blocks_traps() -> Option<u32> {
    let begun = Instant::now();
    loop {
        let thread = blocking_thread()?;
        if begun.elapsed() > Duration::from_millis(200) {
            return Some(thread);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn blocking_thread() -> Option<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    tasks.flatten().find_map(|task| {
        // A thread that ended meanwhile blocks nothing.
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        blocks_traps(&status).then(|| task.file_name().to_str()?.parse().ok())?
    })
}

fn blocks_traps(status: &str) -> bool {
    let blocked = field(status, "SigBlk:").and_then(|value| u64::from_str_radix(value, 16).ok()).unwrap_or(0);
    TRAP_SIGNALS.iter().any(|signal| blocked >> (signal - 1) & 1 == 1)
}

/// The ids of all threads. The kernel's list may break off where a thread ends just then: this one is
/// whole unless threads end all the time, and then all but whole.
pub(crate) fn threads() -> io::Result<Vec<u32>> {
    let list = || {
        let tasks = std::fs::read_dir("/proc/self/task")?;
        let ids = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok());
        Ok::<BTreeSet<u32>, io::Error>(ids.collect())
    };
    let mut last = list()?;
    let mut all = last.clone();
    for _ in 0..8 {
        let next = list()?;
        all.extend(&next);
        if next == last {
            break;
        }
        last = next;
    }
    Ok(all.into_iter().collect())
}

/// Whether a thread ended: there is no trace of it, or only its remains are left.
pub(crate) fn has_ended(thread: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status"));
    status.map_or(true, |status| field(&status, "State:").is_some_and(|state| state.starts_with(['Z', 'X'])))
}

/// Where a thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It waits for something.
    At {
        /// Its program counter.
        pc: u64,
        /// Its stack pointer.
        sp: u64,
    },
    /// It runs, or would if it had a processor; or that is not known.
    Running,
    /// It ended.
    Gone,
}

/// Where a thread is now.
pub(crate) fn place(thread: u32) -> Place {
    match std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")) {
        Ok(text) => place_in(&text).unwrap_or(Place::Running),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Place::Gone,
        Err(_) => Place::Running,
    }
}

/// What a `syscall` file ends with, unless it says "running".
fn place_in(syscall: &str) -> Option<Place> {
    let mut words = syscall.split_whitespace().rev();
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    Some(Place::At { pc: number()?, sp: number()? })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status_files() {
        let status = "Name:\tx\nTracerPid:\t42\nSigBlk:\t0000000000000010\n";
        assert_eq!(field(status, "TracerPid:"), Some("42"));
        assert!(blocks_traps(status));
        assert!(blocks_traps("SigBlk:\t0000000000000008\n"));
        assert!(!blocks_traps("SigBlk:\tffffffffffffffe7\n"));
        assert!(!blocks_traps(""));
    }

    #[test]
    fn threads_that_run_are_listed() {
        let own = std::process::id();
        let threads = threads().expect("there is /proc");
        assert!(threads.contains(&own) && !has_ended(own));
        assert!(has_ended(u32::MAX));
    }

    #[test]
    fn reads_syscall_files() {
        let asleep = "202 0x55 0x89 0x0 0x0 0x0 0xffffffff 0x7ffc9f8cbd80 0x7f12a5e4f117\n";
        let sp = 0x7ffc_9f8c_bd80;
        assert_eq!(place_in(asleep), Some(Place::At { pc: 0x7f12_a5e4_f117, sp }));
        assert_eq!(place_in("-1 0x7ffc9f8cbd80 0x401136\n"), Some(Place::At { pc: 0x40_1136, sp }));
        assert_eq!(place_in("running\n"), None);
        assert_eq!(place_in(""), None);
    }
}
