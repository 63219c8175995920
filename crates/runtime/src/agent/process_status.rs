//! What the kernel says about this process and its threads (proc_pid_status(5)).

use super::signals::TRAP_SIGNALS;
use std::time::Duration;

/// The process that traces this one; 0 if none does.
pub(crate) fn tracer() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "TracerPid:").and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// A thread that blocks a trap signal, if one does and goes on doing so.
///
/// The C library blocks all signals for moments (starting a thread, say), in code of its own: that
/// passes.
pub(crate) fn thread_that_blocks_traps() -> Option<u32> {
    let mut seen = blocking_thread();
    for _ in 0..20 {
        seen?;
        std::thread::sleep(Duration::from_millis(1));
        seen = blocking_thread();
    }
    seen
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
}
