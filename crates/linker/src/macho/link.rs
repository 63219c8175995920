//! Link: rebase, bind, coalesce, and protect. Nothing of an image runs before all are bound.

pub(super) mod lazy;
pub(super) mod resolve;

use super::error::Error;
use super::loaded::{LazySlot, Loaded, text};
use super::{Mode, construct, read, unwind};
use crate::loaded::LibraryId;
use crate::memory::{Places, Protection};
use crate::page;
use crate::resolver;
use crate::trace::{Counts, Detail, Event, Phase, Trace};
use livepatch_object::address::LinkAddress;
use livepatch_object::macho::initializer::DESCRIPTOR;
use livepatch_object::macho::{Action, Fixup, Fixups, Format, ImportId, Table};
use resolve::{Resolver, Target};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, PoisonError};

/// Links images that were mapped; which others each is bound to by flat and weak lookups.
pub(super) fn link(
    images: &[Arc<Loaded>],
    resolver: &Resolver<'_>,
    mode: Mode,
    trace: Option<&Trace>,
) -> Result<Vec<FxHashSet<LibraryId>>, Error> {
    // What others need was found later.
    let mut all = Vec::with_capacity(images.len());
    let mut fixups_of = Vec::with_capacity(images.len());
    for image in images {
        let fixups = image.image.fixups().map_err(|problem| image.wrong(problem))?;
        let mut linker = Linker::new(image, &fixups, resolver, mode, trace)?;
        linker.rebase()?;
        linker.bind()?;
        linker.thread_locals()?;
        all.push(linker.bound_to);
        fixups_of.push(fixups);
    }
    for image in images {
        publish_thread_locals(image)?;
        protect(image, trace)?;
    }
    for (image, fixups) in images.iter().zip(&fixups_of) {
        let registered = unwind::register(image, fixups);
        *image.unwinding.lock().unwrap_or_else(PoisonError::into_inner) = registered;
    }
    // What is not code is refused before any of it runs.
    for image in images {
        construct::initializers(image)?;
        construct::terminators(image)?;
    }
    Ok(all)
}

/// One image's words.
struct Linker<'a> {
    image: &'a Arc<Loaded>,
    fixups: &'a Fixups,
    resolver: &'a Resolver<'a>,
    mode: Mode,
    /// Whether lazy slots are left to the binder.
    is_lazy: bool,
    places: Places<'a>,
    /// What each import was resolved to.
    resolved: FxHashMap<ImportId, Target>,
    counts: Counts,
    bound_to: FxHashSet<LibraryId>,
    trace: Option<&'a Trace>,
}

impl<'a> Linker<'a> {
    fn new(
        image: &'a Arc<Loaded>,
        fixups: &'a Fixups,
        resolver: &'a Resolver<'a>,
        mode: Mode,
        trace: Option<&'a Trace>,
    ) -> Result<Self, Error> {
        // Only opcodes say what a helper has pushed; who has none binds by a function of a system long gone.
        let is_lazy =
            mode != Mode::Now && fixups.format == Format::DyldInfo && self::resolver::can_keep_registers();
        let signs = |record: &&Fixup| match record.action {
            Action::Rebase { auth, .. } | Action::Bind { auth, .. } => auth.is_some(),
        };
        if fixups.records.iter().find(signs).is_some() {
            let what = "its pointers are signed (arm64e)".to_owned();
            return Err(Error::Unsupported { path: image.path.to_string(), what });
        }
        Ok(Self {
            image,
            fixups,
            resolver,
            mode,
            is_lazy,
            places: image.mapped.places(),
            resolved: FxHashMap::default(),
            counts: Counts::default(),
            bound_to: FxHashSet::default(),
            trace,
        })
    }

    fn store(&mut self, place: LinkAddress, value: u64) -> Result<(), Error> {
        let stored = self.places.store64(place, value);
        let outside = || Error::NotWritable { path: self.image.path.to_string(), address: place.0 };
        stored.then_some(()).ok_or_else(outside)
    }

    /// Everything that points into the image itself, lazy slots included: to their stub helpers.
    fn rebase(&mut self) -> Result<(), Error> {
        let slide = self.image.mapped.slide().bits();
        for record in &self.fixups.records {
            if let Action::Rebase { target, high8, .. } = record.action {
                let value = target.0.wrapping_add(slide) | u64::from(high8) << 56;
                self.store(record.slot.address, value)?;
                self.counts.relative += 1;
            }
        }
        Ok(())
    }

    fn bind(&mut self) -> Result<(), Error> {
        let mut lazy = FxHashMap::default();
        // Weak records override others of their slot; in the model's order they come after them.
        for record in &self.fixups.records {
            let Action::Bind { import, addend, .. } = record.action else { continue };
            match record.table {
                Table::LazyBind { entry } if self.is_lazy => {
                    let unbound = self.image.mapped.load(record.slot.address, 8).unwrap_or_default();
                    // The binder stores whole words, which it can do at these places only.
                    let is_slot = record.slot.address.0.is_multiple_of(8) && self.stays_writable(record);
                    let leads_to_code =
                        self.image.is_code(livepatch_object::address::RuntimeAddress(unbound));
                    if is_slot && leads_to_code && addend == 0 {
                        let expected = match self.mode {
                            Mode::PreboundCheck => Some(self.target(import)?.address()),
                            _ => None,
                        };
                        lazy.insert(entry, LazySlot { place: record.slot.address, unbound, expected });
                        self.counts.lazy += 1;
                        continue;
                    }
                    self.bind_one(record, import, addend)?;
                    self.counts.plt += 1;
                }
                table => {
                    self.bind_one(record, import, addend)?;
                    let is_function = table.is_lazy();
                    *(if is_function { &mut self.counts.plt } else { &mut self.counts.symbolic }) += 1;
                }
            }
        }
        // It is set here only, once.
        let _ = self.image.lazy.set(lazy);
        if let Some(trace) = self.trace {
            let format = match &self.fixups.format {
                Format::DyldInfo => "LC_DYLD_INFO",
                Format::Chained(_) => "LC_DYLD_CHAINED_FIXUPS",
                Format::Relocations => "relocation entries",
            };
            let (library, counts) = (self.image.path.to_string(), self.counts);
            trace.record(Phase::Link, Event::Fixups { library, format, counts });
        }
        Ok(())
    }

    fn stays_writable(&self, record: &Fixup) -> bool {
        let segment = self.image.image.segments.get(record.slot.segment);
        segment.is_some_and(|segment| segment.initial.write() && !segment.is_read_only_after_fixups())
    }

    fn target(&mut self, import: ImportId) -> Result<&Target, Error> {
        if !self.resolved.contains_key(&import) {
            let target = match self.fixups.import(import) {
                Some(import) => self.resolver.resolve(self.image, import)?,
                None => Target::Nothing,
            };
            self.counts.lookups += 1;
            self.bound_to.extend(target.bound_to(self.image));
            self.resolved.insert(import, target);
        }
        Ok(&self.resolved[&import])
    }

    fn bind_one(&mut self, record: &Fixup, import: ImportId, addend: i64) -> Result<(), Error> {
        let target = self.target(import)?.clone();
        if record.table == Table::WeakBind && matches!(target, Target::Nothing) {
            // Nobody defines it but where it was bound already.
            return Ok(());
        }
        let address = target.address().wrapping_add_signed(addend);
        self.store(record.slot.address, address)?;
        let trace = self.trace.filter(|trace| trace.detail() >= Detail::Bindings);
        if let (Some(trace), Some(import)) = (trace, self.fixups.import(import)) {
            let place = self.image.runtime(record.slot.address).map_or(0, |place| place.0);
            trace.record(
                Phase::Link,
                Event::Bind {
                    library: self.image.path.to_string(),
                    symbol: text(&import.symbol),
                    version: None,
                    place,
                    target: address,
                    definer: target.definer(),
                },
            );
        }
        Ok(())
    }

    /// Descriptors lead to the function that finds a thread's copy, by the number that the image is registered under.
    fn thread_locals(&mut self) -> Result<(), Error> {
        let locals = self.image.image.thread_locals().map_err(|problem| self.image.wrong(problem))?;
        let (Some(locals), Some(module)) = (locals, &self.image.tls) else { return Ok(()) };
        if !locals.initializers.is_empty() {
            let what = "its thread-local variables have initializers that run in each thread".to_owned();
            return Err(Error::Unsupported { path: self.image.path.to_string(), what });
        }
        debug_assert_eq!(DESCRIPTOR, 24);
        for descriptor in &locals.descriptors {
            let outside = || Error::NotWritable { path: self.image.path.to_string(), address: descriptor.0 };
            let key = descriptor.checked_add(8).ok_or_else(outside)?;
            self.store(*descriptor, lazy::thread_local_entry())?;
            self.store(key, module.id())?;
            self.counts.thread_local += 1;
        }
        Ok(())
    }
}

/// What threads' copies begin as is bound by now.
fn publish_thread_locals(image: &Loaded) -> Result<(), Error> {
    let locals = image.image.thread_locals().map_err(|problem| image.wrong(problem))?;
    let (Some(locals), Some(module)) = (locals, &image.tls) else { return Ok(()) };
    let (start, end) = (locals.template.start.0, locals.template.end.0);
    let unsupported = |what: &str| Error::Unsupported { path: image.path.to_string(), what: what.to_owned() };
    if start < end {
        let initial = image.mapped.copy(start..end);
        let initial = initial.ok_or_else(|| unsupported("its thread-local variables are in no segment"))?;
        module.publish(initial).map_err(unsupported)?;
    }
    Ok(())
}

/// Segments that are to be read-only once everything in them is bound (`SG_READ_ONLY`).
fn protect(image: &Loaded, trace: Option<&Trace>) -> Result<(), Error> {
    for segment in image.image.segments.iter().filter(|segment| segment.is_read_only_after_fixups()) {
        let protection = Protection { write: false, ..read::protection_of(segment) };
        let span = page::floor(segment.address.0)..page::ceil(segment.end().0);
        let Some(part) = image.mapped.part(span) else { continue };
        let reservation = image.mapped.reservation();
        let failed = |source| Error::Memory { action: "protect", path: image.path.to_string(), source };
        reservation.protect(part.clone(), protection).map_err(failed)?;
        if let Some(trace) = trace {
            let (start, size) = (reservation.start().0 + part.start, part.end - part.start);
            trace.record(
                Phase::Link,
                Event::Protect { library: image.path.to_string(), start, size, shared: 0 },
            );
        }
    }
    Ok(())
}
