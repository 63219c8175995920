//! Libraries that the program loads while it runs.

use super::Server;
use crate::arguments::OnUnsound;
use crate::events::Event;
use crate::patcher::{Change, Refusal, Verdict};
use std::collections::BTreeSet;

/// Whether anything in a library has run when it is brought up to date.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// The thread that has loaded it waits: it has no values that anybody made.
    JustLoaded,
    Older,
}

impl Server {
    /// A process has loaded a library, and waits.
    pub(super) fn loaded(&mut self, pid: u32, ticket: u32) {
        self.bring_up_to_date(pid, Age::JustLoaded);
        let peers = self.run.iter_mut().flat_map(|run| &mut run.patching.peers);
        peers.filter(|peer| peer.pid == pid).for_each(|peer| peer.proceed(ticket));
    }

    /// Gives libraries that were loaded with the code they were linked from what was changed since.
    pub(super) fn bring_up_to_date(&mut self, pid: u32, age: Age) {
        let force = age == Age::JustLoaded || self.on_unsound == OnUnsound::Force;
        let Some(run) = &mut self.run else { return };
        let patching = &mut run.patching;
        let peer = patching.peers.iter_mut().find(|peer| peer.pid == pid);
        let (Some(patcher), Some(peer)) = (&mut patching.patcher, peer) else { return };
        if patcher.libraries().is_empty() || peer.is_stopped() {
            return;
        }
        let (verdict, warnings) = match patcher.catch_up(pid, peer, force) {
            Ok(answer) => answer,
            Err(error) => {
                return self.reporter.warning(&format!("libraries of process {pid}: {error}"));
            }
        };
        self.warn_once(warnings);
        match verdict {
            Verdict::Unchanged { .. } => {}
            Verdict::Patch(change) => self.join(change),
            Verdict::Restart { reason } => self.unsound(reason),
        }
    }

    fn join(&mut self, change: Change) {
        match self.apply_everywhere(&change) {
            Ok(_) => {
                let Change { number: patch, functions, joining: libraries, .. } = change;
                self.reporter.event(&Event::Joined { libraries, patch, functions });
            }
            Err(Refusal::Restart(reason)) => self.unsound(reason),
            // The next edit, or the next library, tries again.
            Err(Refusal::Later(reason)) => self
                .reporter
                .warning(&format!("{} stays as it was built: {reason}", change.joining.join(", "))),
        }
    }

    /// The same for all processes, after a rollback.
    pub(super) fn bring_all_up_to_date(&mut self) {
        let peers = self.run.iter().flat_map(|run| &run.patching.peers);
        let pids: BTreeSet<u32> = peers.map(|peer| peer.pid).collect();
        pids.into_iter().for_each(|pid| self.bring_up_to_date(pid, Age::Older));
    }

    pub(super) fn warn_once(&mut self, warnings: Vec<String>) {
        let Some(run) = &mut self.run else { return };
        for warning in warnings {
            if run.patching.warned.insert(warning.clone()) {
                self.reporter.warning(&warning);
            }
        }
    }
}
