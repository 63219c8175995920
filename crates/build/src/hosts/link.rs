//! Linking a patch for one process: one image for each host, one message for all.

use super::lookup::{Elsewhere, ForHost, Provider};
use super::{Draft, HostId, Hosts, Loaded, ProcessLookup};
use crate::process::Process;
use crate::resolve::ThreadLocalPlace;
use crate::session::{self, PatchError};
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::{Patch, SlotSet};
use std::collections::BTreeMap;

/// A patch for one process.
#[derive(Debug)]
pub struct Linked {
    /// The message.
    pub patch: Patch,
    /// The process once the patch is applied.
    pub loaded: Loaded,
}

impl Hosts {
    /// Links a patch for one process: the images' files are written, the message made.
    pub fn link(
        &self,
        draft: &Draft,
        loaded: &Loaded,
        lookup: &mut dyn ProcessLookup,
    ) -> Result<Linked, PatchError> {
        let mut after = loaded.clone();
        let mut patch = Patch::new(draft.number, draft.predecessor, self.build_id());
        let mut slots = Slots::default();
        for id in in_order(draft) {
            let (Some(host), Some(part)) = (self.hosts.get(&id), draft.parts.get(&id)) else { continue };
            after.share_space();
            let Some(process) = after.hosts.get(&id) else { continue };
            let mut others = Linking { hosts: self, draft, after: &after };
            let mut names =
                ForHost { key: process.library().cloned(), process: lookup, elsewhere: &mut others };
            let linked = host.session.link(part, process, &mut names)?;
            slots.add(&linked);
            merge(&mut patch, linked.patch);
            after.hosts.insert(id, linked.process);
        }
        slots.settle(&mut patch);
        after.set_current(draft.number);
        Ok(Linked { patch, loaded: after })
    }
}

/// The hosts of a patch, those that others need something of first.
fn in_order(draft: &Draft) -> Vec<HostId> {
    let mut ordered: Vec<HostId> = Vec::with_capacity(draft.parts.len());
    let mut left: Vec<HostId> = draft.parts.keys().copied().collect();
    while !left.is_empty() {
        let is_ready = |id: &HostId| {
            let mut needs = draft.needs.iter().filter(|(who, _)| who == id);
            needs.all(|(_, of)| !left.contains(of) || of == id)
        };
        // Crates do not depend on one another in circles.
        let next = left.iter().position(is_ready).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

fn merge(patch: &mut Patch, part: Patch) {
    patch.holds.extend(part.holds);
    patch.images.extend(part.images);
    patch.island_pages.extend(part.island_pages);
    patch.island_writes.extend(part.island_writes);
    patch.traps.extend(part.traps);
    patch.tls.extend(part.tls);
    patch.slots.extend(part.slots);
    patch.redirects.extend(part.redirects);
    patch.shims.extend(part.shims);
}

/// Where slots lead meanwhile: if any host's settle, those of all that are new do.
#[derive(Default)]
struct Slots {
    originals: Vec<SlotSet>,
    settle: bool,
}

impl Slots {
    fn add(&mut self, linked: &session::Linked) {
        self.originals.extend(linked.originals.iter().cloned());
        self.settle |= !linked.patch.settle.is_empty();
    }

    fn settle(self, patch: &mut Patch) {
        if self.settle {
            patch.settle = self.originals;
        }
    }
}

/// The hosts while a patch is being linked.
struct Linking<'l> {
    hosts: &'l Hosts,
    draft: &'l Draft,
    after: &'l Loaded,
}

impl Elsewhere for Linking<'_> {
    fn find(&mut self, name: &str) -> Option<RuntimeAddress> {
        self.providers().find_map(|provider| provider.address(name))
    }

    fn find_thread_local(&mut self, name: &str) -> Option<ThreadLocalPlace> {
        self.providers().find_map(|provider| provider.thread_local(name))
    }
}

impl Linking<'_> {
    fn providers(&self) -> impl Iterator<Item = Provider<'_>> {
        self.after.hosts.iter().filter_map(|(id, process): (&HostId, &Process)| {
            let host = self.hosts.hosts.get(id)?;
            let brings = self.draft.parts.get(id).map_or_else(BTreeMap::new, session::Draft::brings);
            Some(Provider { host, process, brings })
        })
    }
}
