//! Replacing by copying: a method's record is given what the fix's record says. For runtimes whose calls do not go
//! through entries.
//!
//! Nothing that the collector moves is kept: what a record says about its class is read from a live record at the
//! moment at which it is written to another one. A body that runs finds what it refers to through its record, so records
//! change only while no thread runs the method.

use super::memory::{self, RecordAddress};
use super::stacks::{self, Running};
use super::state::Live;
use super::{Change, Engine, EngineError, lookup};
use crate::jni::Environment;
use crate::record::Way;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Engine {
    /// Notes, for every target that is not replaced yet, which other methods its class has.
    pub(super) fn find_anchors(&mut self, env: Environment, changes: &[Change]) -> Result<(), EngineError> {
        let mut found = Vec::new();
        // A class is asked once, however many of its methods are replaced.
        let mut classes: Vec<Arc<[RecordAddress]>> = Vec::new();
        for change in changes {
            let record = change.target.record;
            let is_known = |live: &Live| live.target.record == record && !live.anchors.is_empty();
            if self.live.iter().any(is_known) {
                continue;
            }
            let known = classes.iter().find(|methods| methods.contains(&record)).cloned();
            let methods = match known {
                Some(methods) => methods,
                None => {
                    let methods = self.other_methods(env, change, changes)?;
                    classes.push(Arc::clone(&methods));
                    methods
                }
            };
            found.push((change.target.clone(), methods));
        }
        for (target, anchors) in found {
            let original = self.read(target.record);
            match self.live.iter_mut().find(|live| live.target.record == target.record) {
                Some(live) => live.anchors = anchors,
                None => self.live.push(Live { target, original, anchors, bodies: Vec::new() }),
            }
        }
        Ok(())
    }

    /// All methods of a target's class, of which one at least is to stay as it is.
    fn other_methods(
        &self,
        env: Environment,
        change: &Change,
        changes: &[Change],
    ) -> Result<Arc<[RecordAddress]>, EngineError> {
        let methods = lookup::declared(env, change.target.class.class())?;
        let is_target = |record: &RecordAddress| {
            changes.iter().any(|other| other.target.record == *record)
                || self.live.iter().any(|live| live.target.record == *record)
        };
        match methods.iter().all(is_target) {
            true => Err(EngineError::NoAnchor(change.target.to_string())),
            false => Ok(methods.into()),
        }
    }

    /// A method of a target's class that is as it was.
    pub(super) fn anchor(&self, live: &Live) -> Option<RecordAddress> {
        let is_replaced = |record| {
            let mut all = self.live.iter();
            // Itself included, which is about to be as it was.
            record == live.target.record
                || all.any(|other| other.target.record == record && !other.bodies.is_empty())
        };
        live.anchors.iter().copied().find(|anchor| !is_replaced(*anchor))
    }

    /// Gives records what the state says, all at once, at a moment at which no thread runs one of the methods.
    pub(super) fn write_when_idle(
        &self,
        env: Environment,
        records: &[RecordAddress],
    ) -> Result<(), EngineError> {
        self.not_in_this_thread(env, records)?;
        let Some(suspension) = &self.suspension else {
            return match self.alone {
                true => {
                    self.write(records);
                    Ok(())
                }
                false => Err(EngineError::NoSuspension),
            };
        };
        let until = Instant::now() + self.patience;
        loop {
            let found = suspension.while_others_wait(|| {
                let found = stacks::running(records);
                let is_idle = found == Running::Nowhere || found == Running::Unknown && self.alone;
                if is_idle {
                    self.write(records);
                }
                (!is_idle).then_some(found)
            });
            let error = match found {
                None | Some(Running::Nowhere) => return Ok(()),
                Some(Running::Unknown) => EngineError::Busy,
                Some(Running::Somewhere(record)) => {
                    let live = self.live.iter().find(|live| live.target.record == record);
                    EngineError::Running(live.map(|live| live.target.to_string()).unwrap_or_default())
                }
            };
            if Instant::now() >= until {
                return Err(error);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Whether this thread is in none of the methods: it would go on in one of them afterwards.
    fn not_in_this_thread(&self, env: Environment, records: &[RecordAddress]) -> Result<(), EngineError> {
        let thrown = |thrown| EngineError::Thrown { what: "this thread's stack".to_owned(), thrown };
        let own = lookup::own_stack(env).map_err(thrown)?;
        let is_running = |live: &&Live| {
            let (class, name) = (&live.target.class_name, &live.target.name.name);
            records.contains(&live.target.record)
                && own.iter().any(|frame| (&frame.0, &frame.1) == (class, name))
        };
        match self.live.iter().find(is_running) {
            Some(live) => Err(EngineError::Running(live.target.to_string())),
            None => Ok(()),
        }
    }

    /// Gives records what the state says.
    pub(super) fn write(&self, records: &[RecordAddress]) {
        for live in self.live.iter().filter(|live| records.contains(&live.target.record)) {
            let made = match live.bodies.last() {
                // Composed from what it was at first: nothing of an earlier fix is left.
                Some(body) => live.original.with_body_of(&self.read(body.fix), self.way == Way::Whole),
                None => match self.anchor(live) {
                    Some(anchor) => live.original.with_class_of(&self.read(anchor)),
                    None => continue,
                },
            };
            memory::write(live.target.record, &made);
        }
    }
}
