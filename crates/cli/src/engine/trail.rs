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

/// A patch that a process applied. What it was after that is what it was before the next, or is now.
pub(super) struct Step {
    pub(super) number: u32,
    pub(super) message: ToProcess,
    pub(super) before: Loaded,
}

/// A patch that a child has yet to apply, and what it is then.
pub(super) struct Ahead {
    number: u32,
    pub(super) message: ToProcess,
    pub(super) after: Loaded,
}

/// The last steps of all processes, and those that children have yet to make.
#[derive(Default)]
pub(super) struct Trail {
    made: HashMap<u32, VecDeque<(Instant, Step)>>,
    ahead: HashMap<u32, Vec<Ahead>>,
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

    /// What the parent, as it is now, was when it was last at a patch. What it applied since is ahead of the child.
    pub(super) fn branch(&mut self, parent: &Loaded, child: u32, at: u32) -> Option<Loaded> {
        let steps: Vec<&Step> = self.made.get(&parent.pid)?.iter().map(|(_, step)| step).collect();
        let first = steps.iter().rposition(|step| step.before.current() == at)?;
        let steps = &steps[first..];
        // One patch may have been applied in several steps: then a number does not say which.
        if steps.iter().any(|step| step.before.current() >= step.number) {
            return None;
        }
        let afters = steps[1..].iter().map(|step| &step.before).chain([parent]);
        let ahead = steps.iter().zip(afters).map(|(step, after)| Ahead {
            number: step.number,
            message: step.message.clone(),
            after: after.clone(),
        });
        let ahead = ahead.collect();
        let before = steps[0].before.clone();
        self.ahead.insert(child, ahead);
        Some(before)
    }

    /// The step of a child to a patch.
    pub(super) fn ahead(&self, child: u32, number: u32) -> Option<&Ahead> {
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
