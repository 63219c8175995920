//! What processes have applied lately. A child that was forked before a patch and calls after it is at a place
//! where its parent was: what the parent was told then holds for it too.

use livepatch_build::hosts::Loaded;
use livepatch_proto::ToProcess;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A child calls a tenth of a second after the `fork`, or as soon after as it is given time to.
const KEPT: Duration = Duration::from_secs(60);

/// How many patches are kept of a process.
const MOST: usize = 16;

/// A patch that a process applied.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) number: u32,
    pub(super) message: ToProcess,
    /// The process as it was, and as it is since.
    pub(super) before: Loaded,
    pub(super) after: Loaded,
}

/// The last steps of all processes, and those that children have yet to make.
#[derive(Default)]
pub(super) struct Trail {
    made: HashMap<u32, VecDeque<(Instant, Step)>>,
    ahead: HashMap<u32, VecDeque<Step>>,
}

impl Trail {
    /// A process has applied a patch.
    pub(super) fn add(&mut self, pid: u32, step: Step) {
        if let Some(ahead) = self.ahead.get_mut(&pid) {
            ahead.retain(|other| other.number > step.number);
        }
        let now = Instant::now();
        let steps = self.made.entry(pid).or_default();
        steps.push_back((now, step));
        while steps.len() > MOST || steps.front().is_some_and(|(at, _)| now.duration_since(*at) > KEPT) {
            steps.pop_front();
        }
    }

    /// What the parent was when it was last at a patch. What it applied since is ahead of the child.
    pub(super) fn branch(&mut self, parent: u32, child: u32, at: u32) -> Option<Loaded> {
        let steps: Vec<&Step> = self.made.get(&parent)?.iter().map(|(_, step)| step).collect();
        let first = steps.iter().rposition(|step| step.before.current() == at)?;
        let ahead = steps[first..].iter().copied();
        // One patch may have been applied in several steps: then a number does not say which.
        let in_order = ahead.clone().all(|step| step.before.current() < step.number);
        let before = in_order.then(|| steps[first].before.clone())?;
        self.ahead.insert(child, ahead.cloned().collect());
        Some(before)
    }

    /// The step of a child to a patch.
    pub(super) fn ahead(&self, child: u32, number: u32) -> Option<&Step> {
        self.ahead.get(&child)?.iter().find(|step| step.number == number)
    }

    /// A process is gone.
    pub(super) fn forget(&mut self, pid: u32) {
        self.made.remove(&pid);
        self.ahead.remove(&pid);
    }

    /// Processes went back: from where they were, nothing leads to where they are.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
