//! What is told when the program crashes.

use super::Server;
use crate::crash::{Crashed, Whereabouts, signal_name};
use crate::events::Event;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

impl Server {
    /// A process waits to end by a signal.
    pub(super) fn crashed(&mut self, crashed: &Crashed) {
        let Some(run) = &mut self.run else { return };
        let patcher = run.patching.patcher.as_ref();
        let whereabouts = crashed.whereabouts(|address| {
            // A child that has not called yet is as its parent was.
            let processes = [Some(crashed.pid), crashed.parent].into_iter().flatten();
            processes.filter_map(|pid| patcher?.code_at(pid, address)).next()
        });
        if crashed.pid == run.program.pid {
            run.crash_told = Some(crashed.signal);
        }
        self.tell_crash((crashed.pid, crashed.parent), crashed.signal, whereabouts);
    }

    /// The program has ended. A crash that it could not tell is told by its status.
    pub(super) fn tell_crash_by_status(&mut self, pid: u32, status: ExitStatus) {
        if let Some(signal) = status.signal() {
            self.tell_crash((pid, None), signal, Whereabouts::default());
        }
    }

    fn tell_crash(&mut self, (pid, parent): (u32, Option<u32>), signal: i32, whereabouts: Whereabouts) {
        let Some(signal) = signal_name(signal) else { return };
        let (function, patch) = whereabouts.function.map(|found| (found.function, found.patch)).unzip();
        self.reporter.event(&Event::Crashed {
            pid,
            parent,
            signal: signal.to_owned(),
            function,
            patch: patch.flatten(),
            called_from: whereabouts.called_from,
        });
    }
}
