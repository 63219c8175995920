//! Replacing by entries: the state of the engine becomes entries of methods.

use super::lookup::Method;
use super::memory::RecordAddress;
use super::state::{Live, Patch};
use super::{Change, Engine, EngineError, targets, visible};
use crate::jni::Environment;
use crate::record::Way;
use std::collections::HashSet;

impl Engine {
    /// Whether a fix leads to what it replaces, by others of its patch, or by any that is live and may become the newest
    /// when patches are taken back.
    pub(super) fn leads_back(&self, change: &Change, others: &[Change]) -> bool {
        let (mut to_do, mut seen) = (vec![change.fix.record], HashSet::new());
        while let Some(record) = to_do.pop() {
            if record == change.target.record {
                return true;
            }
            if seen.insert(record) {
                let of_patch = others.iter().map(|other| (other.target.record, other.fix.record));
                let live = self
                    .live
                    .iter()
                    .flat_map(|live| live.bodies.iter().map(|body| (live.target.record, body.fix)));
                to_do
                    .extend(of_patch.chain(live).filter(|(target, _)| *target == record).map(|(_, fix)| fix));
            }
        }
        false
    }

    /// Has the runtime do first what it would do to the entries of static methods some time later.
    pub(super) fn make_visible<'a>(
        &'a self,
        env: Environment,
        methods: impl Iterator<Item = &'a Method>,
    ) -> Result<(), EngineError> {
        if !visible::is_late(self.layout.release()) {
            return Ok(());
        }
        let mut known: Vec<&Method> = self.live.iter().map(|live| &live.target).collect();
        known.retain(|method| method.name.is_static);
        let before = known.len();
        for method in methods.filter(|method| method.name.is_static) {
            let class = method.class.class();
            if known.iter().all(|other| !env.is_same(other.class.class(), class)) {
                let thrown = |thrown| EngineError::Thrown { what: method.class_name.clone(), thrown };
                visible::ask(env, class, &method.class_name).map_err(thrown)?;
                known.push(method);
            }
        }
        if known.len() > before {
            visible::wait(self.suspension.as_ref());
        }
        Ok(())
    }

    pub(super) fn apply_by_entries(&mut self, changes: &[Change]) -> Result<Patch, EngineError> {
        let fixes: Vec<RecordAddress> = changes.iter().map(|change| change.fix.record).collect();
        self.entries.as_mut().ok_or(EngineError::AnotherWay)?.lead_to(&fixes)?;
        let patch = self.note(changes);
        self.give(&targets(changes));
        Ok(patch)
    }

    /// Gives methods the entries that the state says. One is changed at once for all threads; several together while
    /// no other thread runs, if that can be asked for.
    pub(super) fn give(&self, records: &[RecordAddress]) {
        let Some(entries) = &self.entries else { return };
        let of_these = self.live.iter().filter(|live| records.contains(&live.target.record));
        // What takes time is done before others are held.
        let found: Vec<(&Live, Option<usize>)> = of_these
            .map(|live| (live, live.bodies.is_empty().then(|| entries.way_back(&live.original)).flatten()))
            .collect();
        let all = || {
            for (live, entry) in &found {
                match live.bodies.last() {
                    Some(body) => entries.give(live.target.record, body.fix),
                    None => entries.take_back(live.target.record, &live.original, *entry),
                }
            }
        };
        match &self.suspension {
            Some(suspension) if records.len() > 1 => suspension.while_others_wait(all),
            _ => all(),
        }
    }

    /// Leads callers to the fixes again where the runtime has given a method another entry meanwhile, as it does when a
    /// compilation ends that had begun before the patch, or when all calls are traced. Returns how many there were.
    pub fn refresh(&mut self) -> usize {
        let Some(entries) = self.entries.as_ref().filter(|_| self.way == Way::Entry) else { return 0 };
        let lost = self.live.iter().filter_map(|live| {
            let (target, fix) = (live.target.record, live.bodies.last()?.fix);
            (!entries.is_given(target, fix)).then_some(target)
        });
        let lost: Vec<RecordAddress> = lost.collect();
        self.give(&lost);
        lost.len()
    }
}
