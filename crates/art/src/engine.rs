//! Replacing methods in this process.
//!
//! Patches are numbered, and hold one or more methods, which are replaced together while no other thread runs Java
//! code, if the runtime lets that be asked for. Nothing that the collector moves is kept: what a record says about
//! its class is read from a live record at the moment at which it is written to another one.

mod fields;
mod lookup;
mod memory;
mod patching;
mod stacks;
mod state;
mod suspension;
mod symbols;

pub use lookup::{Method, MethodName};
pub use memory::RecordAddress;
pub use patching::Classes;
pub use state::{Patch, Replaced};

use crate::jni::{Environment, Receiver, Thrown};
use crate::layout::{Layout, Mismatch, check_size};
use crate::preflight::{self, Refusal};
use crate::record::{Copy, Record};
use crate::release::{Pointer, Release};
use jni_sys::{jclass, jvalue};
use stacks::Running;
use state::{Body, Live};
use std::sync::Arc;
use std::time::{Duration, Instant};
use suspension::Suspension;
use thiserror::Error;

/// Why nothing was replaced.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The runtime's records are none that are known.
    #[error("this runtime is not as its release says")]
    Mismatch(#[from] Mismatch),
    /// Records that are objects on the heap are not written to.
    #[error("on Android {0} records are objects on the heap, which is not supported")]
    HeapObjects(Release),
    /// A method's record could not be found.
    #[error("the record of {0} could not be found")]
    NoRecord(String),
    /// The class or the method is not there, or something was thrown by its initialiser.
    #[error("{what}: the runtime threw {thrown}")]
    Thrown {
        /// What was asked for.
        what: String,
        /// What was thrown.
        thrown: Thrown,
    },
    /// It would go wrong.
    #[error("{method} cannot be replaced: {refusal}")]
    Refused {
        /// The method.
        method: String,
        /// Why.
        refusal: Refusal,
    },
    /// Every method of a class would be replaced.
    #[error("{0} would have no method that is as it was, and the way back needs one")]
    NoAnchor(String),
    /// The same method is there twice.
    #[error("{0} is there twice in one patch")]
    Twice(String),
    /// A body that runs finds what it refers to through the record.
    #[error("{0} is running, and a body that runs must keep its record")]
    Running(String),
    /// It cannot be told whether one of the methods is running.
    #[error("a thread is busy with native code, and it cannot be told which methods it has called that from")]
    Busy,
    /// Other threads would see half a record.
    #[error("this runtime does not say how other threads are held, and they would see half a record")]
    NoSuspension,
    /// There is no such patch.
    #[error("there is no patch {0}")]
    NoPatch(u32),
}

/// What replaces methods in this process. There must be one only.
#[derive(Debug)]
pub struct Engine {
    layout: Layout,
    suspension: Option<Suspension>,
    live: Vec<Live>,
    last: u32,
    patience: Duration,
    alone: bool,
}

/// How long to wait until no thread runs a method that is to be replaced.
const PATIENCE: Duration = Duration::from_secs(2);

/// A method and the one whose body it gets.
#[derive(Clone, Debug)]
pub struct Change {
    /// What callers call.
    pub target: Method,
    /// Whose body they get.
    pub fix: Method,
}

impl Engine {
    /// Checks what is known about the release against the runtime: `probe` is a class with three static methods
    /// `a()`, `b()` and `c()`, and nothing else that is direct.
    pub fn start(env: Environment, release: Release, probe: jclass) -> Result<Self, EngineError> {
        let layout = Layout::of(release, Pointer::OWN);
        if layout.is_heap_object() {
            return Err(EngineError::HeapObjects(release));
        }
        let mut records = [0; 3];
        for (record, name) in records.iter_mut().zip(["a", "b", "c"]) {
            let name = MethodName { name: name.to_owned(), signature: "()V".to_owned(), is_static: true };
            *record = lookup::record(env, probe, &name)?.as_usize();
        }
        check_size(&layout, records)?;
        Ok(Self {
            layout,
            suspension: Suspension::find(),
            live: Vec::new(),
            last: 0,
            patience: PATIENCE,
            alone: false,
        })
    }

    /// How records look.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether other threads are held while records are written.
    pub fn suspends(&self) -> bool {
        self.suspension.is_some()
    }

    /// Whether the functions that hold threads are found in the runtime's file as they are through the dynamic linker:
    /// on devices there is no other way.
    pub fn finds_suspension_in_file(&self) -> bool {
        self.suspension.is_some() && self.suspension == Suspension::in_file()
    }

    /// Takes the word of the caller that no other thread runs Java code while something is replaced: for runtimes
    /// that do not say how to hold them.
    pub fn assume_alone(&mut self) {
        self.alone = true;
    }

    /// How long to wait until no thread runs a method that is to be replaced. Two seconds if nothing else is said.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Finds a method. Its class is initialised first, as it would be by its first call.
    pub fn method(&self, env: Environment, class: jclass, name: &MethodName) -> Result<Method, EngineError> {
        let id = env.method(class, &name.name, &name.signature, name.is_static);
        id.map_err(|thrown| EngineError::Thrown { what: name.to_string(), thrown })?;
        Method::find(env, class, name)
    }

    /// A record's bytes, as they are now.
    pub fn record(&self, method: &Method) -> Record {
        self.read(method.record)
    }

    fn read(&self, address: RecordAddress) -> Record {
        memory::read(address, self.layout)
    }

    /// Replaces methods, all of them or none.
    pub fn apply(&mut self, env: Environment, changes: &[Change], copy: Copy) -> Result<Patch, EngineError> {
        for (nth, change) in changes.iter().enumerate() {
            let name = change.target.described(&self.record(&change.target));
            if changes[..nth].iter().any(|other| other.target.record == change.target.record) {
                return Err(EngineError::Twice(name.full_name()));
            }
            let refused = |refusal| EngineError::Refused { method: name.full_name(), refusal };
            if change.target.record == change.fix.record {
                return Err(refused(Refusal::Itself));
            }
            let fix = change.fix.described(&self.record(&change.fix));
            let release = self.layout.release();
            preflight::check(&name, &fix, change.target.in_interface, release).map_err(refused)?;
        }
        self.find_anchors(env, changes)?;
        let patch = self.note(changes, copy);
        let records: Vec<RecordAddress> = changes.iter().map(|change| change.target.record).collect();
        let written = self.not_in_this_thread(env, &records).and_then(|()| self.write_when_idle(&records));
        if let Err(error) = written {
            self.forget(patch.number);
            return Err(error);
        }
        Ok(patch)
    }

    /// Replaces methods without asking whether that can go well. For those who want to see what goes wrong: such a
    /// patch may not be rolled back.
    pub fn apply_unchecked(&mut self, changes: &[Change], copy: Copy) -> Patch {
        let patch = self.note(changes, copy);
        let records: Vec<RecordAddress> = changes.iter().map(|change| change.target.record).collect();
        match &self.suspension {
            Some(suspension) => suspension.while_others_wait(|| self.write(&records)),
            None => self.write(&records),
        }
        patch
    }

    /// Has a new patch in the state.
    fn note(&mut self, changes: &[Change], copy: Copy) -> Patch {
        self.last += 1;
        let number = self.last;
        for change in changes {
            let body = Body { patch: number, fix: change.fix.record, copy };
            let known = self.live.iter_mut().find(|live| live.target.record == change.target.record);
            match known {
                Some(live) => live.bodies.push(body),
                None => {
                    let original = memory::read(change.target.record, self.layout);
                    let target = change.target.clone();
                    self.live.push(Live { target, original, anchors: Arc::new([]), bodies: vec![body] });
                }
            }
        }
        Patch { number, methods: changes.iter().map(|change| change.target.to_string()).collect() }
    }

    /// Has a patch in the state no more.
    fn forget(&mut self, patch: u32) {
        self.live.iter_mut().for_each(|live| live.bodies.retain(|body| body.patch != patch));
        self.live.retain(|live| !live.bodies.is_empty());
    }

    /// Takes a patch back: its methods get the body that they would have without it.
    pub fn roll_back(&mut self, env: Environment, patch: u32) -> Result<(), EngineError> {
        let of_patch = |live: &Live| live.bodies.iter().any(|body| body.patch == patch);
        let records: Vec<_> =
            self.live.iter().filter(|live| of_patch(live)).map(|live| live.target.record).collect();
        if records.is_empty() {
            return Err(EngineError::NoPatch(patch));
        }
        for live in self.live.iter().filter(|live| of_patch(live) && live.bodies.len() == 1) {
            if self.anchor(live).is_none() {
                return Err(EngineError::NoAnchor(live.target.to_string()));
            }
        }
        self.not_in_this_thread(env, &records)?;
        let mut removed = Vec::new();
        for live in self.live.iter_mut().filter(|live| records.contains(&live.target.record)) {
            let nth = live.bodies.iter().position(|body| body.patch == patch);
            removed.extend(nth.map(|nth| (live.target.record, nth, live.bodies.remove(nth))));
        }
        if let Err(error) = self.write_when_idle(&records) {
            for (record, nth, body) in removed {
                if let Some(live) = self.live.iter_mut().find(|live| live.target.record == record) {
                    live.bodies.insert(nth, body);
                }
            }
            return Err(error);
        }
        self.live.retain(|live| !live.bodies.is_empty());
        Ok(())
    }

    /// Takes all patches back.
    pub fn roll_back_all(&mut self, env: Environment) -> Result<(), EngineError> {
        let numbers: std::collections::BTreeSet<u32> =
            self.live.iter().flat_map(|live| live.bodies.iter().map(|body| body.patch)).collect();
        numbers.into_iter().rev().try_for_each(|number| self.roll_back(env, number))
    }

    /// Every method that is replaced, by the patches that do, the newest last.
    pub fn list(&self) -> Vec<Replaced> {
        let one = |live: &Live| Replaced {
            method: live.target.to_string(),
            patches: live.bodies.iter().map(|body| body.patch).collect(),
        };
        self.live.iter().map(one).collect()
    }

    /// Notes, for every target that is not replaced yet, which other methods its class has.
    fn find_anchors(&mut self, env: Environment, changes: &[Change]) -> Result<(), EngineError> {
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
    fn anchor(&self, live: &Live) -> Option<RecordAddress> {
        let is_replaced = |record| {
            let mut all = self.live.iter();
            // Itself included, which is about to be as it was.
            record == live.target.record
                || all.any(|other| other.target.record == record && !other.bodies.is_empty())
        };
        live.anchors.iter().copied().find(|anchor| !is_replaced(*anchor))
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

    /// Gives records what the state says, all at once, at a moment at which no thread runs one of the methods.
    fn write_when_idle(&self, records: &[RecordAddress]) -> Result<(), EngineError> {
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
                if found == Running::Nowhere {
                    self.write(records);
                }
                found
            });
            let error = match found {
                Running::Nowhere => return Ok(()),
                Running::Unknown => EngineError::Busy,
                Running::Somewhere(record) => {
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

    /// Gives records what the state says.
    fn write(&self, records: &[RecordAddress]) {
        for live in self.live.iter().filter(|live| records.contains(&live.target.record)) {
            let made = match live.bodies.last() {
                // Composed from what it was at first: nothing of an earlier fix is left.
                Some(body) => live.original.with_body_of(&self.read(body.fix), body.copy),
                None => match self.anchor(live) {
                    Some(anchor) => live.original.with_class_of(&self.read(anchor)),
                    None => continue,
                },
            };
            memory::write(live.target.record, &made);
        }
    }
}

/// Initialises a class by its name, as its first use would, through a loader of its own.
pub fn initialised(env: Environment, name: &str, loader: jni_sys::jobject) -> Result<jclass, Thrown> {
    let class = env.find_class("java/lang/Class")?;
    let signature = "(Ljava/lang/String;ZLjava/lang/ClassLoader;)Ljava/lang/Class;";
    // Android has `forName`; the boot classes of tests have only what it calls.
    let find = env.method(class, "forName", signature, true);
    let find = find.or_else(|_| env.method(class, "classForName", signature, true))?;
    let arguments = [jvalue { l: env.string(name)? }, jvalue { z: true }, jvalue { l: loader }];
    env.call_object(Receiver::Class(class), find, &arguments)
}
