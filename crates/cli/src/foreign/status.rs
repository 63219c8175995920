//! What the kernel says of a process and its threads (proc_pid_status(5)).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process, or one of its threads, as it was just now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The process that a thread is of.
    pub process: u32,
    /// The first letter of its state.
    pub state: char,
    /// Who traces it.
    pub tracer: Option<u32>,
    /// How many filters its system calls pass (seccomp(2)); children have those of their parents.
    pub filters: u32,
    /// What it may do that others may not (capabilities(7)): bit by bit.
    pub capabilities: u64,
    /// The signals that it blocks: bit `number - 1`.
    pub blocked: u64,
}

impl Status {
    /// Of a process.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::read(Path::new(&format!("/proc/{pid}/status")))
    }

    /// Of a thread.
    pub fn of_thread(pid: u32, thread: u32) -> io::Result<Self> {
        Self::read(Path::new(&format!("/proc/{pid}/task/{thread}/status")))
    }

    fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        parse(&text).ok_or_else(|| io::Error::other(format!("{} is not understood", path.display())))
    }

    /// Whether it is stopped, by a signal or a tracer.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn parse(status: &str) -> Option<Status> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    Some(Status {
        process: field("Tgid")?.parse().ok()?,
        state: field("State")?.chars().next()?,
        tracer: field("TracerPid")?.parse().ok().filter(|&pid| pid != 0),
        filters: filters(field("Seccomp"), field("Seccomp_filters")),
        capabilities: u64::from_str_radix(field("CapEff")?, 16).ok()?,
        blocked: u64::from_str_radix(field("SigBlk")?, 16).ok()?,
    })
}

/// Kernels may have no filters, or not say how many there are.
fn filters(mode: Option<&str>, count: Option<&str>) -> u32 {
    match mode {
        None | Some("0") => 0,
        Some(_) => count.and_then(|count| count.parse().ok()).unwrap_or(1).max(1),
    }
}

/// The ids of a process's threads.
pub fn threads(pid: u32) -> io::Result<Vec<u32>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect())
}

/// The name of a process or a thread.
pub fn name(thread: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{thread}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// The user whose process it is.
pub fn owner(pid: u32) -> io::Result<u32> {
    std::fs::metadata(format!("/proc/{pid}")).map(|process| process.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let text = "Name:\tState: x\nState:\tt (tracing stop)\nTgid:\t41\nTracerPid:\t7\nSigBlk:\t0000000000000010\n\
                    CapEff:\t0000000000080000\nSeccomp:\t2\nSeccomp_filters:\t3\n";
        let status = parse(text).unwrap();
        assert_eq!((status.process, status.tracer, status.blocked), (41, Some(7), 16));
        assert!(status.is_stopped() && !status.is_over());
        assert_eq!((status.filters, status.capabilities), (3, 1 << 19));
        assert_eq!(parse("State:\tR\n"), None);
        assert_eq!([filters(None, None), filters(Some("0"), Some("0")), filters(Some("2"), None)], [0, 0, 1]);
    }

    #[test]
    fn this_process_is_as_it_is() {
        let own = std::process::id();
        let status = Status::of(own).unwrap();
        assert_eq!((status.process, status.tracer), (own, None));
        assert!(!status.is_stopped() && !status.is_over());
        assert!(threads(own).unwrap().contains(&own));
        assert_eq!(owner(own).unwrap(), rustix::process::geteuid().as_raw());
        assert!(Status::of_thread(own, own).is_ok() && Status::of(u32::MAX).is_err());
    }
}
