//! Edits that go live in parts: the edited crate first, its dependents when they are compiled.
//!
//! A part of an edit is never left live on its own: whatever keeps the rest from going live takes it back,
//! and one rollback takes back the whole edit. An edit that comes meanwhile is compiled together with what
//! is left of the one before, and they are one then.

use super::Server;
use super::patching::patched;
use crate::events::milliseconds;
use livepatch_build::rebuild::FirstPart;
use std::collections::BTreeSet;
use std::time::SystemTime;

/// Which patches are parts of an edit.
#[derive(Default)]
pub(super) struct Parts {
    /// The edit of which only a part is live.
    begun: Option<Begun>,
    /// Patches that are not the last of their edit: nobody goes back to one.
    inner: BTreeSet<u32>,
}

/// An edit of which only a part is live.
struct Begun {
    /// The patch that was live before.
    before: u32,
    /// Its patches, ascending; never none.
    patches: Vec<u32>,
    /// It is to be taken back as soon as the program goes on.
    owed: bool,
}

impl Parts {
    /// The edit is live as a whole, with that patch if more was needed. Returns its first patch, if there
    /// was one before.
    pub(super) fn complete(&mut self, last: Option<u32>) -> Option<u32> {
        let Begun { patches, .. } = self.begun.take()?;
        let whole = last.or(patches.last().copied());
        self.inner.extend(patches.iter().copied().filter(|&patch| Some(patch) != whole));
        patches.first().copied()
    }

    /// What is live is not part of an edit any more.
    pub(super) fn abandon(&mut self) {
        self.begun = None;
    }

    /// Whether only a part of an edit is live at a patch.
    pub(super) fn is_part(&self, patch: u32) -> bool {
        self.inner.contains(&patch) || self.begun.as_ref().is_some_and(|begun| begun.patches.contains(&patch))
    }
}

impl Server {
    /// The edited crate is compiled, its dependents are not: makes it live if it is sound by itself. If not,
    /// nothing is said: all of it is looked at once it is there.
    pub(super) fn first_part(&mut self, start: u32, part: &FirstPart) {
        if self.cargo.is_some() || self.successor.is_some() {
            return;
        }
        let Some(run) = self.run.as_mut().filter(|run| run.start == start) else { return };
        let Some(written) = run.editing.being_built() else { return };
        let program = run.program.pid;
        let patching = &mut run.patching;
        let is_clear = patching.offered.is_empty()
            && patching.broken.is_none()
            && patching.lost.is_none()
            && patching.leftover.is_none();
        let peer = patching.peers.first_mut().filter(|peer| peer.pid == program && !peer.is_stopped());
        let (Some(patcher), Some(peer), true) = (&mut patching.patcher, peer, is_clear) else { return };
        let before = patcher.current();
        let Ok(Some(mut change)) = patcher.begin_first(&part.krate, program, peer) else { return };
        let Ok((mut steps, notes)) = self.apply_everywhere(&change) else { return };
        change.notes.extend(notes);
        let Some(run) = &mut self.run else { return };
        let begun =
            run.patching.parts.begun.get_or_insert(Begun { before, patches: Vec::new(), owed: false });
        begun.patches.push(change.number);
        begun.owed = false;
        let edit = begun.patches[0];
        steps.rustc = milliseconds(part.rustc);
        steps.diff = milliseconds(change.diff);
        steps.total = milliseconds(SystemTime::now().duration_since(written).unwrap_or_default());
        self.reporter.event(&patched(change, edit, true, steps));
    }

    /// The rest of an edit does not go live: neither does its first part.
    pub(super) fn take_back_first_part(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some(begun) = &mut run.patching.parts.begun else { return };
        if run.patching.peers.first().is_some_and(|peer| peer.is_stopped()) {
            begun.owed = true;
            return self.wait_until_it_goes_on();
        }
        let before = begun.before;
        if let Err(error) = self.go_back(before) {
            self.reporter.warning(&format!("a part of the edit stays live: {error}"));
        }
    }

    /// Takes back what could not be while the program was stopped.
    pub(super) fn settle_debt(&mut self) {
        let begun = self.run.as_ref().and_then(|run| run.patching.parts.begun.as_ref());
        if begun.is_some_and(|begun| begun.owed) {
            self.take_back_first_part();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_back_to_a_part() {
        let begun = |patches: &[u32]| Some(Begun { before: 2, patches: patches.to_vec(), owed: false });
        let mut parts = Parts { begun: begun(&[3]), ..Parts::default() };
        assert!(parts.is_part(3) && !parts.is_part(2));
        assert_eq!(parts.complete(Some(4)), Some(3));
        assert!(parts.is_part(3) && !parts.is_part(4));
        // Dependents that stayed as they are: the first part is the whole.
        parts.begun = begun(&[5]);
        assert_eq!(parts.complete(None), Some(5));
        assert!(!parts.is_part(5));
        // An edit that came while dependents of another were being compiled.
        parts.begun = begun(&[6, 7]);
        assert_eq!(parts.complete(None), Some(6));
        assert!(parts.is_part(6) && !parts.is_part(7));
        assert_eq!(parts.complete(Some(8)), None);
    }
}
