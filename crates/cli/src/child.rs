//! Child processes that can be signalled while another thread waits for them.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

/// A child, for signalling.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Its process id.
    pub pid: u32,
    /// False once it was waited for: its id may belong to another process then.
    alive: Arc<Mutex<bool>>,
}

/// A child, for waiting.
#[derive(Debug)]
pub struct Waiter {
    child: Child,
    alive: Arc<Mutex<bool>>,
}

/// Starts a child.
pub fn spawn(command: &mut Command) -> io::Result<(Handle, Waiter)> {
    let child = command.spawn()?;
    let alive = Arc::new(Mutex::new(true));
    Ok((Handle { pid: child.id(), alive: alive.clone() }, Waiter { child, alive }))
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

impl Handle {
    /// A process that is not our child: it is not signalled.
    pub fn of_stranger(pid: u32) -> Self {
        Self { pid, alive: Arc::new(Mutex::new(false)) }
    }

    /// Sends a signal, if the child still runs.
    pub fn signal(&self, signal: Signal) {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = raw(self.pid)
            && *alive
        {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Waiter {
    /// Waits for the child to end.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        // Without reaping at first, so that the id stays the child's while it can be signalled.
        if let Some(pid) = raw(self.child.id()) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        }
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        *alive = false;
        self.child.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_waited_for_child_can_be_signalled() {
        let (handle, waiter) = spawn(Command::new("sleep").arg("60")).unwrap();
        let waiting = std::thread::spawn(move || waiter.wait());
        handle.signal(Signal::TERM);
        assert_eq!(waiting.join().unwrap().unwrap().signal(), Some(15));
        handle.signal(Signal::TERM);
    }
}
