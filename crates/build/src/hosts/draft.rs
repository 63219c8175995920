//! What a rebuild changed of all hosts, and the patch that makes it live.

use super::lookup::{Elsewhere, ForHost, Provider, Wanted};
use super::{Host, HostId, Hosts, Loaded, ProcessLookup};
use crate::diff::Diff;
use crate::resolve::ThreadLocalPlace;
use crate::session::{self, Counters, CrateObjects, EditPart, PatchError};
use livepatch_object::address::RuntimeAddress;
use std::collections::{BTreeMap, BTreeSet};

/// What a rebuild changed.
#[derive(Debug, Default)]
pub struct Changes {
    diffs: BTreeMap<HostId, Diff>,
    crates: Vec<CrateObjects>,
    part: EditPart,
    /// Why new code would misunderstand old data: sentences without full stops.
    pub unsound: Vec<String>,
    /// Why the program must be restarted for this edit to be sound.
    pub restart: Option<String>,
}

impl Changes {
    /// Whether nothing that runs has changed.
    pub fn is_empty(&self) -> bool {
        self.diffs.values().all(Diff::is_empty)
    }

    /// Goes on with what new code would misunderstand, and says so.
    pub fn force(&mut self) {
        let forced = std::mem::take(&mut self.unsound);
        if let Some(diff) = self.diffs.values_mut().next() {
            diff.notes.extend(forced.into_iter().map(|reason| format!("forced: {reason}")));
        }
    }

    /// What the user should know, each once.
    pub fn notes(&self) -> Vec<String> {
        once(self.diffs.values().flat_map(|diff| diff.notes.iter().cloned()))
    }
}

/// A patch that is ready to be linked for processes.
#[derive(Debug)]
pub struct Draft {
    /// Its number.
    pub number: u32,
    /// The patch that processes must be at.
    pub predecessor: u32,
    pub(super) parts: BTreeMap<HostId, session::Draft>,
    /// Hosts in which nothing that runs has changed.
    accepted: BTreeMap<HostId, Diff>,
    crates: Vec<CrateObjects>,
    part: EditPart,
    joining: Vec<String>,
    /// Who needs something that the patch brings to whom.
    pub(super) needs: BTreeSet<(HostId, HostId)>,
}

impl Draft {
    /// The redirected functions, demangled, each once: those that do something else first.
    pub fn functions(&self) -> Vec<String> {
        once(self.parts.values().flat_map(session::Draft::functions))
    }

    /// Functions of which old code stays for values and callers of before, demangled, each once.
    pub fn versioned(&self) -> Vec<String> {
        once(self.parts.values().flat_map(session::Draft::versioned).cloned())
    }

    /// What the user should know, each once.
    pub fn notes(&self) -> Vec<String> {
        let accepted = self.accepted.values().flat_map(|diff| &diff.notes);
        once(self.parts.values().flat_map(session::Draft::notes).chain(accepted).cloned())
    }

    /// Libraries that have the code they were linked from, and get all there is, as people call them.
    pub fn joining(&self) -> &[String] {
        &self.joining
    }

    /// Whether no callers of anything in any process would see a difference.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

fn once(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    all.filter(|one| seen.insert(one.clone())).collect()
}

impl Hosts {
    /// What a rebuild changed of what is live, and what libraries lack that were loaded since. What a rollback
    /// has taken back of crates that were not rebuilt is live again with it: the sources still say it.
    pub fn diff(&self, rebuilt: &[CrateObjects]) -> Result<Changes, PatchError> {
        self.compare(self.versions.with_taken_back(rebuilt))
    }

    fn compare(&self, rebuilt: Vec<CrateObjects>) -> Result<Changes, PatchError> {
        let mut changes = Changes::default();
        for (&id, host) in &self.hosts {
            let mut crates: Vec<CrateObjects> =
                rebuilt.iter().filter(|krate| host.units.contains(&krate.unit)).cloned().collect();
            if host.behind {
                let is_new = |krate: &&CrateObjects| rebuilt.iter().all(|new| new.unit != krate.unit);
                crates.extend(self.versions.latest_of(&host.units).filter(is_new).cloned());
            }
            if crates.is_empty() {
                continue;
            }
            let mut diff = host.session.diff(&crates)?;
            let said = |reason: String| match host.behind {
                true => format!("{} was loaded with the code it was built with: {reason}", host.name),
                false => reason,
            };
            changes.unsound.extend(std::mem::take(&mut diff.unsound).into_iter().map(said));
            changes.restart = changes.restart.take().or_else(|| diff.restart.take().map(said));
            changes.diffs.insert(id, diff);
        }
        changes.unsound = once(std::mem::take(&mut changes.unsound).into_iter());
        changes.crates = rebuilt;
        Ok(changes)
    }

    /// What a rebuild changed in one crate whose dependents are still being compiled; none where it must go
    /// live together with what changes in them, or nothing that runs has changed.
    pub fn diff_first(&self, krate: &CrateObjects) -> Result<Option<Changes>, PatchError> {
        let crates = vec![krate.clone()];
        let mut changes = Changes { crates, part: EditPart::First, ..Changes::default() };
        for (&id, host) in self.hosts.iter().filter(|(_, host)| host.units.contains(&krate.unit)) {
            match host.session.diff_first(krate)?.filter(|_| !host.behind) {
                Some(diff) => changes.diffs.insert(id, diff),
                None => return Ok(None),
            };
        }
        Ok(Some(changes).filter(|changes| !changes.is_empty()))
    }

    /// Finds all that the patch must hold, and lays it out. The process is only asked for symbols.
    pub fn prepare(
        &mut self,
        changes: Changes,
        loaded: &Loaded,
        lookup: &mut dyn ProcessLookup,
    ) -> Result<Draft, PatchError> {
        let before = self.counters;
        let prepared = self.prepare_hosts(changes, loaded, lookup);
        self.set_counters(before);
        prepared
    }

    fn prepare_hosts(
        &mut self,
        changes: Changes,
        loaded: &Loaded,
        lookup: &mut dyn ProcessLookup,
    ) -> Result<Draft, PatchError> {
        let Counters { highest, current, .. } = self.counters;
        let mut draft = Draft {
            number: highest + 1,
            predecessor: current,
            parts: BTreeMap::new(),
            accepted: BTreeMap::new(),
            crates: changes.crates,
            part: changes.part,
            joining: Vec::new(),
            needs: BTreeSet::new(),
        };
        let mut diffs = changes.diffs;
        let mut waiting: Vec<HostId> = diffs.keys().copied().collect();
        while let Some(id) = waiting.pop() {
            let diff = diffs.get(&id).cloned().unwrap_or_default();
            let Some((part, wanted)) = self.prepare_host(id, diff, &diffs, loaded, lookup)? else { continue };
            draft.parts.insert(id, part);
            for Wanted { host, entity } in wanted {
                draft.needs.insert((id, host));
                let others = &mut diffs.entry(host).or_default().wanted;
                if others.iter().all(|known| known.name() != entity.name()) {
                    others.push(entity);
                    // Once more, if it was done already, with what it is to bring.
                    draft.parts.remove(&host);
                    waiting.retain(|&other| other != host);
                    waiting.push(host);
                }
            }
        }
        let (empty, parts): (BTreeMap<_, _>, _) =
            draft.parts.into_iter().partition(|(_, part)| part.is_empty());
        draft.parts = parts;
        let behind = draft.parts.keys().filter_map(|id| self.hosts.get(id)).filter(|host| host.behind);
        draft.joining = behind.map(|host| host.name.clone()).collect();
        draft.accepted = empty.into_iter().map(|(id, part)| (id, part.into_diff())).collect();
        Ok(draft)
    }

    /// Prepares the part of one host; returns it, and what it needs that the patch has to bring to others.
    fn prepare_host(
        &mut self,
        id: HostId,
        diff: Diff,
        diffs: &BTreeMap<HostId, Diff>,
        loaded: &Loaded,
        lookup: &mut dyn ProcessLookup,
    ) -> Result<Option<(session::Draft, Vec<Wanted>)>, PatchError> {
        // A library of a child only is resolved as if the program had it.
        let process = loaded.hosts.get(&id).or_else(|| loaded.hosts.get(&HostId::PROGRAM));
        let Some((mut host, process)) = self.hosts.remove(&id).zip(process) else { return Ok(None) };
        let mut others = Others { hosts: &self.hosts, diffs, loaded, wanted: Vec::new() };
        let mut names = ForHost { key: process.library().cloned(), process: lookup, elsewhere: &mut others };
        let part = host.session.prepare(diff, process, &mut names);
        let wanted = others.wanted;
        self.hosts.insert(id, host);
        let part = part?;
        self.set_counters(Counters { tls_reserve_used: part.tls_reserve_used(), ..self.counters });
        Ok(Some((part, wanted)))
    }

    /// What libraries lack that were loaded after patches went live, as a rebuild of nothing.
    pub fn behind(&self) -> Result<Changes, PatchError> {
        self.compare(Vec::new())
    }

    /// The same, as a patch that leaves processes at the one that they are at.
    pub fn catch_up(
        &mut self,
        changes: Changes,
        loaded: &Loaded,
        lookup: &mut dyn ProcessLookup,
    ) -> Result<Draft, PatchError> {
        let mut draft = self.prepare(changes, loaded, lookup)?;
        if draft.predecessor > 0 {
            draft.number = draft.predecessor;
            draft.parts.values_mut().for_each(|part| part.number = draft.predecessor);
        }
        Ok(draft)
    }

    /// The patch is applied in the processes.
    pub fn commit(&mut self, draft: Draft) {
        let mut counters = self.counters;
        counters.current = draft.number;
        counters.highest = counters.highest.max(draft.number);
        for (id, part) in draft.parts {
            counters.tls_reserve_used = counters.tls_reserve_used.max(part.tls_reserve_used());
            if let Some(host) = self.hosts.get_mut(&id) {
                host.session.commit(part, draft.part);
                host.settle(draft.number);
            }
        }
        self.set_counters(counters);
        self.accept_all(draft.accepted, draft.crates, draft.part);
        self.note_live(draft.number);
    }

    /// A rebuild changed nothing that runs: its objects are what is live from now on.
    pub fn accept(&mut self, changes: Changes) {
        self.accept_all(changes.diffs, changes.crates, changes.part);
    }

    /// The same for a patch that turned out to change nothing.
    pub fn accept_draft(&mut self, draft: Draft) {
        self.accept_all(draft.accepted, draft.crates, draft.part);
    }

    fn accept_all(&mut self, diffs: BTreeMap<HostId, Diff>, crates: Vec<CrateObjects>, part: EditPart) {
        let current = self.counters.current;
        for (id, diff) in diffs {
            if let Some(host) = self.hosts.get_mut(&id) {
                host.session.accept(diff, part);
                host.settle(current);
            }
        }
        // A library that is loaded later is compared with these, when their files may be gone.
        for path in crates.iter().flat_map(|krate| &krate.objects) {
            // What cannot be read now is found out when it is needed.
            drop(self.store.load(path));
        }
        self.versions.advance(current, crates);
    }
}

impl Host {
    /// The host has the latest code.
    fn settle(&mut self, patch: u32) {
        if std::mem::take(&mut self.behind) {
            self.joined = patch;
        }
    }
}

/// The other hosts, while one is being prepared.
struct Others<'o> {
    hosts: &'o BTreeMap<HostId, Host>,
    diffs: &'o BTreeMap<HostId, Diff>,
    loaded: &'o Loaded,
    wanted: Vec<Wanted>,
}

impl Elsewhere for Others<'_> {
    fn find(&mut self, name: &str) -> Option<RuntimeAddress> {
        for (&id, host) in self.hosts {
            let Some(process) = self.loaded.hosts.get(&id) else { continue };
            let provider = Provider { host, process, brings: BTreeMap::new() };
            if let Some(address) = provider.address(name) {
                return Some(address);
            }
            if let Some(entity) = host.session.newest(name, self.diffs.get(&id)) {
                self.wanted.push(Wanted { host: id, entity });
                // Any address will do: the patch is linked when the real one is known.
                return Some(RuntimeAddress::default());
            }
        }
        None
    }

    fn find_thread_local(&mut self, name: &str) -> Option<ThreadLocalPlace> {
        let hosts =
            || self.hosts.iter().filter_map(|(id, host)| Some((*id, host, self.loaded.hosts.get(id)?)));
        let there = hosts().find_map(|(_, host, process)| {
            Provider { host, process, brings: BTreeMap::new() }.thread_local(name)
        });
        if there.is_some() {
            return there;
        }
        let (host, entity) =
            hosts().find_map(|(id, host, _)| Some((id, host.session.newest(name, self.diffs.get(&id))?)))?;
        self.wanted.push(Wanted { host, entity });
        // It will be in the reserve, wherever that is: the patch is linked when that is known.
        Some(ThreadLocalPlace::At(0))
    }
}
