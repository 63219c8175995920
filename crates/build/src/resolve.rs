//! From changed functions to everything a patch must hold, and where the rest is found.
//!
//! A patch holds the changed functions, their private constants and landing pads, and whatever they
//! refer to that exists nowhere yet. For each name, in this order:
//!
//! 1. where an earlier patch brought it, 2. where the host has it, 3. in the new objects,
//! 4. where the process has it (its libraries, as its own dynamic linker finds them),
//! 5. in the archives of the captured link.
//!
//! Statics are names like any other, so they are the live ones.

mod closure;
mod delegation;
mod error;

use crate::archives::Archives;
use crate::diff::Diff;
use crate::live::{Entity, Live, Location, Module, Name};
use crate::objects::{Object, ObjectKey};
use livepatch_object::compare::{Referent, referent};
use livepatch_object::demangle;
use livepatch_object::host::{Host, HostSymbol, Lookup as HostLookup};
use livepatch_object::relocatable::{
    Binding, Place, Relocation, SectionId, SectionKind, SymbolId, SymbolKind,
};
use livepatch_object::relocation::{Formula, howto};
use livepatch_object::unwind::relocations_within;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use closure::{Closure, NewCode, OtherTls, Part, PartId, Redirected, Target};
pub use error::{Lookup, LookupError, ResolveError, ThreadLocalPlace, Unresolved};

/// What there is to resolve against.
pub struct Sources<'s> {
    /// The host.
    pub host: &'s Host,
    /// What is live.
    pub live: &'s Live,
    /// The archives of the captured link.
    pub archives: &'s mut Archives,
    /// The process.
    pub process: &'s mut dyn Lookup,
    /// The patch that processes are at.
    pub current: u32,
    /// Size of the agent's thread-local reserve, in bytes.
    pub tls_reserve: u64,
    /// How much of it earlier patches use.
    pub tls_reserve_used: u64,
    /// Whether the host's code calls `__tls_get_addr` for thread-locals.
    pub dynamic_tls: bool,
}

/// Finds all that a patch must hold.
pub fn resolve<'s>(sources: Sources<'s>, diff: &'s Diff) -> Result<Closure, ResolveError> {
    let mut resolver = Resolver::new(sources, diff);
    for change in &diff.changed {
        resolver.add_change(&change.new)?;
    }
    for delegation in &diff.delegations {
        resolver.add_delegation(delegation)?;
    }
    for wanted in &diff.wanted {
        resolver.define(&wanted.object, wanted.symbol)?;
    }
    resolver.run()?;
    if resolver.closure.dynamic_tls {
        refuse_mixed_thread_locals(&resolver.closure)?;
    }
    Ok(resolver.closure)
}

/// Names, which symbols mean each, and who needs it.
type Wanted = BTreeMap<String, Vec<(Arc<Object>, SymbolId, String)>>;

struct Resolver<'s> {
    sources: Sources<'s>,
    /// Definitions in objects that this patch makes live.
    newest: FxHashMap<&'s str, Vec<(&'s Arc<Object>, SymbolId)>>,
    /// What this patch makes, and what it changes of the meaning of names.
    diff: &'s Diff,
    closure: Closure,
    /// Parts whose references were not looked at yet.
    queue: Vec<PartId>,
    /// Names to ask the process for: which symbols mean them, and who needs them.
    wanted: Wanted,
    /// Whether an archive member is linked into the host, at least in part.
    in_host: FxHashMap<ObjectKey, bool>,
    /// Objects whose constructors were looked for.
    with_constructors: FxHashSet<ObjectKey>,
}

impl<'s> Resolver<'s> {
    fn new(sources: Sources<'s>, diff: &'s Diff) -> Self {
        let mut newest: FxHashMap<&str, Vec<_>> = FxHashMap::default();
        for (_, _, object) in &diff.units {
            for symbol in object.definitions() {
                newest.entry(object.image.name(symbol)).or_default().push((object, symbol));
            }
        }
        let closure = Closure {
            tls_reserve_used: sources.tls_reserve_used,
            dynamic_tls: sources.dynamic_tls,
            architecture: sources.host.architecture(),
            ..Closure::default()
        };
        Self {
            sources,
            newest,
            diff,
            closure,
            queue: Vec::new(),
            wanted: BTreeMap::new(),
            in_host: FxHashMap::default(),
            with_constructors: FxHashSet::default(),
        }
    }

    /// A changed function: its new body goes into the patch if its callers can arrive somewhere at all.
    fn add_change(&mut self, new: &Entity) -> Result<(), ResolveError> {
        let name = new.name().to_owned();
        let Some(entry) = self.entry_of(&new.object, new.symbol)? else { return Ok(()) };
        let Place::Section(section) = new.object.image.symbol(new.symbol).place else { return Ok(()) };
        let earlier =
            self.sources.live.same_body(entry, new).filter(|_| self.diff.renewed().next().is_none());
        let body = match earlier {
            Some(body) => NewCode::Earlier(body),
            None => {
                let offset = new.object.image.symbol(new.symbol).offset;
                NewCode::Part(self.add_part(&new.object, section), offset)
            }
        };
        if self.sources.live.shims(entry) > 0 {
            return Err(ResolveError::Delegated { name: demangle(&name) });
        }
        self.closure.redirected.push(Redirected { entry, body, entity: new.clone(), name, kept: None });
        Ok(())
    }

    /// Where callers of a function arrive; none when it is not in the process.
    fn entry_of(&mut self, object: &Arc<Object>, symbol: SymbolId) -> Result<Option<Location>, ResolveError> {
        match self.existing(object, symbol) {
            Existing::Target(Target::Live(location)) => Ok(Some(location)),
            Existing::Ambiguous => Err(self.ambiguous(object, symbol, "its callers")),
            _ => Ok(None),
        }
    }

    fn ambiguous(&self, object: &Object, symbol: SymbolId, needed_by: &str) -> ResolveError {
        ResolveError::Ambiguous { name: demangle(object.image.name(symbol)), needed_by: needed_by.to_owned() }
    }

    fn run(&mut self) -> Result<(), ResolveError> {
        loop {
            while let Some(part) = self.queue.pop() {
                self.visit(part)?;
            }
            if self.wanted.is_empty() {
                return Ok(());
            }
            self.ask_process()?;
        }
    }

    fn add_part(&mut self, object: &Arc<Object>, section: SectionId) -> PartId {
        let key = (ObjectKey::of(object), section);
        if let Some(&part) = self.closure.sections.get(&key) {
            return part;
        }
        if !self.is_in_host(object) && self.with_constructors.insert(ObjectKey::of(object)) {
            let mut sections = object.image.sections();
            if sections.any(|(_, section)| section.kind == SectionKind::Constructors && section.size > 0) {
                let origin = object.origin.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.closure.notes.push(format!("code of {origin} that would run at the start is not run"));
            }
        }
        let part = PartId(self.closure.parts.len());
        self.closure.parts.push(Part { object: object.clone(), section });
        self.closure.sections.insert(key, part);
        self.queue.push(part);
        part
    }

    /// Looks at everything a part refers to.
    fn visit(&mut self, part: PartId) -> Result<(), ResolveError> {
        let Part { object, section } = self.closure.parts[part.0].clone();
        for relocation in object.image.relocations(section) {
            self.reference(&object, section, relocation, section)?;
        }
        if let Some(unwind) = object.unwind.section {
            for fde in object.unwind.fdes_in(section) {
                if let Some((pads, _)) = fde.landing_pads {
                    self.add_part(&object, pads);
                }
                let cie = &object.unwind.cies[fde.cie];
                for relocation in relocations_within(&object.image, unwind, &cie.range) {
                    self.reference(&object, unwind, relocation, section)?;
                }
            }
        }
        Ok(())
    }

    fn reference(
        &mut self,
        object: &Arc<Object>,
        holder: SectionId,
        relocation: &Relocation,
        from: SectionId,
    ) -> Result<(), ResolveError> {
        match referent(&object.image, holder, relocation) {
            Referent::Absolute { .. } => {}
            Referent::Content { section, .. } | Referent::Interior { section, .. } => {
                self.add_part(object, section);
            }
            // Only called by sequences that are rewritten.
            Referent::Named { symbol, .. }
                if !self.closure.dynamic_tls && object.image.name(symbol) == "__tls_get_addr" => {}
            // The null symbol: a relocation that needs none.
            Referent::Named { symbol: SymbolId(0), .. } => {}
            Referent::Named { symbol, .. } => self.named(object, symbol, from)?,
        }
        Ok(())
    }

    fn named(&mut self, object: &Arc<Object>, symbol: SymbolId, from: SectionId) -> Result<(), ResolveError> {
        let key = (ObjectKey::of(object), symbol);
        if self.closure.targets.contains_key(&key) {
            return Ok(());
        }
        let target = match self.existing(object, symbol) {
            Existing::Target(target) => target,
            Existing::Ambiguous if self.is_own_function(object, symbol) => {
                // One of several private copies of a function: the patch has its own.
                self.define(object, symbol)?
            }
            Existing::Ambiguous => {
                return Err(self.ambiguous(object, symbol, &needed_by(object, from)));
            }
            Existing::Missing => match self.newest_definition(object, symbol) {
                Some((object, symbol)) => self.define(&object, symbol)?,
                None => {
                    let name = object.image.name(symbol).to_owned();
                    let users = self.wanted.entry(name).or_default();
                    users.push((object.clone(), symbol, needed_by(object, from)));
                    return Ok(());
                }
            },
        };
        self.closure.targets.insert(key, target);
        Ok(())
    }

    fn is_own_function(&self, object: &Object, symbol: SymbolId) -> bool {
        match object.image.symbol(symbol).place {
            Place::Section(section) => object.image.section(section).kind == SectionKind::Text,
            _ => false,
        }
    }

    /// What a symbol means in what is live already.
    fn existing(&mut self, object: &Arc<Object>, symbol: SymbolId) -> Existing {
        let name = object.image.name(symbol);
        let renewed = self.diff.is_renewed(name) || self.sources.live.is_stale(name);
        if renewed && self.newest_definition(object, symbol).is_some() {
            return Existing::Missing;
        }
        self.known(object, symbol)
    }

    /// What a symbol means to the code of before.
    fn known(&mut self, object: &Arc<Object>, symbol: SymbolId) -> Existing {
        let name = object.image.name(symbol);
        if let Some(location) = self.sources.live.brought(&Name::of(object, symbol)) {
            return Existing::Target(match location.module {
                Module::TlsReserve => Target::ReserveTls(location.position),
                Module::Host | Module::Patch(_) => Target::Live(location),
            });
        }
        let scope = object.scope(symbol);
        // Rust's local names have a hash, so a static of another codegen unit is the same thing moved; each
        // unit has its own copy of a function. Other names mean something in their own file only, and only
        // if that file is in the host at all.
        let hashed = name.starts_with("_ZN") || name.starts_with("_R");
        if scope.is_some() && !hashed && !self.is_in_host(object) {
            return Existing::Missing;
        }
        match self.sources.host.lookup(name, scope.unwrap_or("")) {
            HostLookup::Missing => Existing::Missing,
            HostLookup::Ambiguous => Existing::Ambiguous,
            // Which function it is was decided when the process started: the process knows.
            HostLookup::Found(found) if found.kind == SymbolKind::IndirectFunction => Existing::Missing,
            HostLookup::Found(found)
                if self.is_own_function(object, symbol)
                    && scope.is_some_and(|file| !self.sources.host.is_visible(found, file)) =>
            {
                Existing::Missing
            }
            HostLookup::Found(found) => Existing::Target(in_host(found)),
        }
    }

    fn is_in_host(&mut self, object: &Arc<Object>) -> bool {
        let host = self.sources.host;
        *self.in_host.entry(ObjectKey::of(object)).or_insert_with(|| {
            object.definitions().any(|symbol| {
                object.scope(symbol).is_none() && host.definitions(object.image.name(symbol)).next().is_some()
            })
        })
    }

    /// The newest definition of a name among the captured crates: the object's own, else one of the
    /// objects that this patch makes live, else one that is live but was never needed in the process.
    fn newest_definition(&self, object: &Arc<Object>, symbol: SymbolId) -> Option<(Arc<Object>, SymbolId)> {
        if matches!(object.image.symbol(symbol).place, Place::Section(_)) {
            return Some((object.clone(), symbol));
        }
        let name = object.image.name(symbol);
        let visible = |object: &Object, symbol| object.scope(symbol).is_none();
        if let Some(all) = self.newest.get(name) {
            let found = all.iter().find(|(object, symbol)| visible(object, *symbol));
            if let Some(&(object, symbol)) = found {
                return Some((object.clone(), symbol));
            }
        }
        let entity = self.sources.live.entity(name, None)?;
        visible(&entity.object, entity.symbol).then(|| (entity.object.clone(), entity.symbol))
    }

    /// Takes a definition into the patch: its name goes live there.
    fn define(&mut self, object: &Arc<Object>, symbol: SymbolId) -> Result<Target, ResolveError> {
        let definition = object.image.symbol(symbol);
        let Place::Section(section) = definition.place else {
            return Ok(Target::Absolute(definition.offset.0.cast_signed()));
        };
        let key = (ObjectKey::of(object), symbol);
        if let Some(&known) = self.closure.targets.get(&key) {
            return Ok(known);
        }
        let target = match object.image.section(section).kind {
            SectionKind::TlsBss | SectionKind::TlsData => {
                self.define_thread_local(object, symbol, section)?
            }
            _ => Target::Part(self.add_part(object, section), definition.offset),
        };
        self.closure.targets.insert(key, target);
        let entity = Entity { object: object.clone(), symbol };
        self.closure.brought.push((Name::of(object, symbol), target, entity));
        Ok(target)
    }

    /// A new thread-local gets a place in the agent's reserve, which is zero in every thread; a value
    /// other than zero is sent along.
    fn define_thread_local(
        &mut self,
        object: &Arc<Object>,
        symbol: SymbolId,
        section: SectionId,
    ) -> Result<Target, ResolveError> {
        let header = object.image.section(section).clone();
        let refuse = |why| {
            let name = demangle(object.image.name(symbol));
            Err(ResolveError::ThreadLocal { name, why })
        };
        let start = self.closure.tls_reserve_used.checked_next_multiple_of(header.align);
        let end = start.and_then(|start| start.checked_add(header.size));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.sources.tls_reserve && header.align <= 64 => {
                self.closure.tls_reserve_used = end;
                if header.kind == SectionKind::TlsData {
                    let part = self.add_part(object, section);
                    self.closure.thread_locals.push((part, start));
                }
                let offset = start + object.image.symbol(symbol).offset.0;
                Ok(Target::ReserveTls(offset))
            }
            _ => refuse("does not fit what the agent holds in reserve for new thread-locals"),
        }
    }

    /// Resolves the thread-locals among the wanted names: in other hosts, then in the archives. Returns what is
    /// left. One of the C library's, say, has an address in the thread that is asked only.
    fn take_thread_locals(&mut self) -> Result<Wanted, ResolveError> {
        let is_local = |(object, symbol, _): &(Arc<Object>, SymbolId, String)| {
            object.image.symbol(*symbol).kind == SymbolKind::ThreadLocal
        };
        let (locals, others): (Wanted, Wanted) =
            std::mem::take(&mut self.wanted).into_iter().partition(|(_, users)| users.iter().any(is_local));
        for (name, users) in locals {
            let target = if let Some(place) = self.sources.process.thread_local(&name) {
                let dynamic = matches!(place, ThreadLocalPlace::In { .. });
                self.closure.other_tls.push(OtherTls { name, dynamic });
                Target::OtherTls(self.closure.other_tls.len() - 1)
            } else if let Some((object, symbol)) = self.archived(&name)? {
                self.define(&object, symbol)?
            } else {
                let needed_by = users.first().map(|user| user.2.clone()).unwrap_or_default();
                return Err(ResolveError::OtherThreadLocal { name: demangle(&name), needed_by });
            };
            for (object, symbol, _) in users {
                self.closure.targets.insert((ObjectKey::of(&object), symbol), target);
            }
        }
        Ok(others)
    }

    /// The definition of a name in the archives of the captured link.
    fn archived(&mut self, name: &str) -> Result<Option<(Arc<Object>, SymbolId)>, ResolveError> {
        let Some(object) = self.sources.archives.find(name)? else { return Ok(None) };
        let mut all = object.definitions();
        let found = all.find(|&s| object.image.name(s) == name && object.scope(s).is_none());
        drop(all);
        Ok(found.map(|symbol| (object, symbol)))
    }

    /// Resolves the wanted names: first in the process, then in the archives.
    fn ask_process(&mut self) -> Result<(), ResolveError> {
        let wanted = self.take_thread_locals()?;
        if wanted.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = wanted.keys().cloned().collect();
        let addresses = self.sources.process.addresses(&names)?;
        if addresses.len() != names.len() {
            return Err(LookupError(format!("{} answers to {} names", addresses.len(), names.len())).into());
        }
        let mut unresolved = Vec::new();
        for ((name, users), address) in wanted.into_iter().zip(addresses) {
            let weak = users.iter().all(|(o, s, _)| o.image.symbol(*s).binding == Binding::Weak);
            let target = if address.is_some() {
                self.closure.process_names.push(name);
                Target::Process(self.closure.process_names.len() - 1)
            } else if let Some(object) = self.sources.archives.find(&name)? {
                let mut all = object.definitions();
                let Some(symbol) = all.find(|&s| object.image.name(s) == name && object.scope(s).is_none())
                else {
                    continue;
                };
                self.define(&object, symbol)?
            } else if weak {
                Target::Absolute(0)
            } else {
                let needed_by = users.first().map(|user| user.2.clone()).unwrap_or_default();
                unresolved.push(Unresolved { name: demangle(&name), needed_by });
                continue;
            };
            for (object, symbol, _) in users {
                self.closure.targets.insert((ObjectKey::of(&object), symbol), target);
            }
        }
        if unresolved.is_empty() { Ok(()) } else { Err(ResolveError::Unresolved(unresolved)) }
    }
}

/// Refuses functions that take the start of the host's thread-locals, and count from there to one that is
/// in the reserve (local-dynamic accesses).
fn refuse_mixed_thread_locals(closure: &Closure) -> Result<(), ResolveError> {
    for part in &closure.parts {
        let image = &part.object.image;
        let mut in_host = None;
        for relocation in image.relocations(part.section) {
            let formula = howto(relocation.kind).map(|howto| howto.formula);
            if !matches!(formula, Ok(Formula::ThreadModule | Formula::ThreadBlockOffset)) {
                continue;
            }
            let key = (ObjectKey::of(&part.object), relocation.symbol);
            let here = matches!(closure.targets.get(&key), Some(Target::HostTls(_)));
            if *in_host.get_or_insert(here) != here {
                let name = demangle(image.name(relocation.symbol));
                let why = "is used by a function that uses one of its library's as well";
                return Err(ResolveError::ThreadLocal { name, why });
            }
        }
    }
    Ok(())
}

/// What a symbol means in what is live already.
enum Existing {
    Target(Target),
    Ambiguous,
    Missing,
}

fn in_host(symbol: &HostSymbol) -> Target {
    match symbol.kind {
        SymbolKind::ThreadLocal => Target::HostTls(symbol.address.0),
        _ if symbol.absolute => Target::Absolute(symbol.address.0.cast_signed()),
        _ => Target::Live(Location { module: Module::Host, position: symbol.address.0 }),
    }
}

/// Who refers to something: the function or constant whose section it is.
fn needed_by(object: &Object, section: SectionId) -> String {
    let mut symbols = object.image.symbols_in(section).map(|symbol| object.image.name(symbol));
    demangle(symbols.next().unwrap_or_else(|| object.image.section_name(section)))
}
