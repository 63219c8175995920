//! Replacing methods in this process.
//!
//! Patches are numbered, and hold one or more methods, which are replaced together, while no other thread runs Java
//! code if the runtime lets that be asked for. Callers are led to a fix by the entry in the method's record
//! ([`Way::Entry`]) where calls go through entries, which is tried when the engine starts; elsewhere records are
//! copied.

mod copying;
mod entry;
mod executable;
mod fields;
mod kernel;
mod leading;
mod lookup;
mod maps;
mod memory;
mod patching;
mod reason;
mod stacks;
mod state;
mod suspension;
mod symbols;
mod trampoline;
mod visible;

pub use lookup::{Method, MethodName};
pub use memory::RecordAddress;
pub use patching::Classes;
pub use reason::EngineError;
pub use state::{Patch, Replaced};

use crate::jni::{Environment, Receiver, Thrown};
use crate::layout::{Layout, check_size};
use crate::preflight::{self, Refusal};
use crate::record::{Record, Way};
use crate::release::{Pointer, Release};
use entry::Entries;
use jni_sys::{jclass, jvalue};
use state::{Body, Live};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use suspension::Suspension;

/// What replaces methods in this process. There must be one only.
#[derive(Debug)]
pub struct Engine {
    layout: Layout,
    way: Way,
    entries: Option<Entries>,
    suspension: Option<Suspension>,
    live: Vec<Live>,
    /// Methods that patches brought for classes that do not have them: class, name and signature.
    added: HashSet<[String; 3]>,
    /// Classes that patches brought, by their names, with what tells whether another one is the same.
    brought: HashMap<String, [u8; 32]>,
    /// Patches that have brought nothing but classes.
    without_methods: HashSet<u32>,
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
    /// `a()`, `b()` and `c()`, and nothing else that is direct. If `b` throws something, and `c` calls `a`, which is too
    /// long to become a part of `c`, then it is also tried whether calls go through entries.
    pub fn start(env: Environment, release: Release, probe: jclass) -> Result<Self, EngineError> {
        let layout = Layout::of(release, Pointer::OWN);
        if layout.is_heap_object() {
            return Err(EngineError::HeapObjects(release));
        }
        let record = |name: &str| {
            let name = MethodName { name: name.to_owned(), signature: "()V".to_owned(), is_static: true };
            lookup::record(env, probe, &name)
        };
        let records = [record("a")?, record("b")?, record("c")?];
        check_size(&layout, records.map(RecordAddress::as_usize))?;
        let entries = Entries::find(env, layout, probe, records);
        Ok(Self {
            layout,
            way: if entries.is_some() { Way::Entry } else { Way::Fields },
            entries,
            suspension: Suspension::find(),
            live: Vec::new(),
            added: HashSet::new(),
            brought: HashMap::new(),
            without_methods: HashSet::new(),
            last: 0,
            patience: PATIENCE,
            alone: false,
        })
    }

    /// In which way methods are replaced.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Replaces methods in another way than the safest that the runtime is capable of. For those who compare them.
    pub fn set_way(&mut self, way: Way) -> Result<(), EngineError> {
        let copies = |way| way != Way::Entry;
        let fits = self.live.is_empty() || copies(way) == copies(self.way);
        if !fits || (way == Way::Entry && self.entries.is_none()) {
            return Err(EngineError::AnotherWay);
        }
        self.way = way;
        Ok(())
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
    /// that do not say how to hold them, and for emulators, in which it cannot be told what others run.
    pub fn assume_alone(&mut self) {
        self.alone = true;
    }

    /// How long to wait until no thread runs a method that is to be replaced. Two seconds if nothing else is said.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Finds a method. Its class is initialised first, as it would be by its first call.
    pub fn method(&self, env: Environment, class: jclass, name: &MethodName) -> Result<Method, EngineError> {
        let found = Method::find(env, class, name)?;
        match lookup::is_inherited(env, class, name, found.record) {
            true => Err(EngineError::Inherited(found.to_string())),
            false => Ok(found),
        }
    }

    /// A record's bytes, as they are now.
    pub fn record(&self, method: &Method) -> Record {
        self.read(method.record)
    }

    fn read(&self, address: RecordAddress) -> Record {
        memory::read(address, self.layout)
    }

    /// Replaces methods, all of them or none.
    pub fn apply(&mut self, env: Environment, changes: &[Change]) -> Result<Patch, EngineError> {
        for (nth, change) in changes.iter().enumerate() {
            self.check(change, &changes[..nth])?;
            if self.way == Way::Entry && self.leads_back(change, &changes[..nth]) {
                let (method, refusal) = (change.target.to_string(), Refusal::Itself);
                return Err(EngineError::Refused { method, refusal });
            }
        }
        if self.way == Way::Entry {
            self.make_visible(env, changes.iter().map(|change| &change.target))?;
            return self.apply_by_entries(changes);
        }
        self.find_anchors(env, changes)?;
        let patch = self.note(changes);
        let records = targets(changes);
        if let Err(error) = self.write_when_idle(env, &records) {
            self.forget(patch.number);
            return Err(error);
        }
        Ok(patch)
    }

    /// Whether a change can go well, among others of its patch.
    fn check(&self, change: &Change, others: &[Change]) -> Result<(), EngineError> {
        let target = change.target.described(&self.record(&change.target));
        if others.iter().any(|other| other.target.record == change.target.record) {
            return Err(EngineError::Twice(target.full_name()));
        }
        let refused = |refusal| EngineError::Refused { method: target.full_name(), refusal };
        if change.target.record == change.fix.record {
            return Err(refused(Refusal::Itself));
        }
        let fix = change.fix.described(&self.record(&change.fix));
        let (release, in_interface) = (self.layout.release(), change.target.in_interface);
        preflight::check(&target, &fix, in_interface, release, self.way).map_err(refused)?;
        let is_live = self.live.iter().any(|live| live.target.record == change.target.record);
        match &self.entries {
            Some(entries)
                if self.way == Way::Entry && !is_live && !entries.has_way_back(change.target.record) =>
            {
                Err(EngineError::NoWayBack(target.full_name()))
            }
            _ => Ok(()),
        }
    }

    /// Replaces methods without asking whether that can go well. For those who want to see what goes wrong: such a
    /// patch may not be rolled back.
    pub fn apply_unchecked(&mut self, changes: &[Change]) -> Result<Patch, EngineError> {
        if self.way == Way::Entry {
            return self.apply_by_entries(changes);
        }
        let patch = self.note(changes);
        let records = targets(changes);
        match &self.suspension {
            Some(suspension) => suspension.while_others_wait(|| self.write(&records)),
            None => self.write(&records),
        }
        Ok(patch)
    }

    /// Has a new patch in the state.
    fn note(&mut self, changes: &[Change]) -> Patch {
        self.last += 1;
        let number = self.last;
        if changes.is_empty() {
            self.without_methods.insert(number);
        }
        for change in changes {
            let (fix, class) = (change.fix.record, change.fix.class.clone());
            let body = Body { patch: number, fix, _class: class };
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
            return match self.without_methods.remove(&patch) {
                true => Ok(()),
                false => Err(EngineError::NoPatch(patch)),
            };
        }
        let is_last = |live: &&Live| of_patch(live) && live.bodies.len() == 1;
        if self.way != Way::Entry
            && let Some(live) = self.live.iter().filter(is_last).find(|live| self.anchor(live).is_none())
        {
            return Err(EngineError::NoAnchor(live.target.to_string()));
        }
        let mut removed = Vec::new();
        for live in self.live.iter_mut().filter(|live| records.contains(&live.target.record)) {
            let nth = live.bodies.iter().position(|body| body.patch == patch);
            removed.extend(nth.map(|nth| (live.target.record, nth, live.bodies.remove(nth))));
        }
        let written = match self.way {
            Way::Entry => {
                self.give(&records);
                Ok(())
            }
            Way::Fields | Way::Whole => self.write_when_idle(env, &records),
        };
        if let Err(error) = written {
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
        self.without_methods.clear();
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
}

fn targets(changes: &[Change]) -> Vec<RecordAddress> {
    changes.iter().map(|change| change.target.record).collect()
}

/// Initialises a class by its name, as its first use would, through a loader of its own.
pub fn initialised(env: Environment, name: &str, loader: jni_sys::jobject) -> Result<jclass, Thrown> {
    let (class, find) = lookup::for_name(env)?;
    let arguments = [jvalue { l: env.string(name)? }, jvalue { z: true }, jvalue { l: loader }];
    env.call_object(Receiver::Class(class), find, &arguments)
}
