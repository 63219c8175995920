//! All words of one library that depend on where it and others are.

use super::lazy;
use super::resolve::{Definition, Filters, OwnFirst, Reference, Scope, Target};
use crate::LinkerError;
use crate::loaded::Loaded;
use crate::memory::Places;
use crate::module::Module;
use crate::tls;
use crate::trace::{Counts, Detail, Event, Phase, Trace};
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::loadable::Problem;
use livepatch_object::loadable::dynamic::Form;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::packed;
use livepatch_object::loadable::relocation::{
    Entry, Formula, Howto, Inputs, Plain, Rela64, Width, dtv_offset, howto,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A word that depends on what a function returns, which can be asked when everything else is done.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) library: Arc<Loaded>,
    pub(crate) place: LinkAddress,
    pub(crate) width: Width,
    pub(crate) resolver: RuntimeAddress,
    pub(crate) addend: i64,
}

/// What relocation leaves behind.
#[derive(Default)]
pub(crate) struct Relocated {
    pub(crate) counts: Counts,
    pub(crate) deferred: Vec<Deferred>,
    /// What TLS descriptors point to.
    #[expect(clippy::vec_box, reason = "machine code points to each")]
    pub(crate) indexes: Vec<Box<tls::Index>>,
    /// Libraries that are bound to, by name of nothing else: each once.
    pub(crate) bound_to: Vec<Arc<Loaded>>,
}

/// Changes all words of a library. `lazy` says whether slots of functions may be left for the first call.
pub(crate) fn relocate(
    library: &Arc<Loaded>,
    scope: &Scope,
    machine: Machine,
    lazy: bool,
    trace: Option<&Trace>,
) -> Result<Relocated, LinkerError> {
    let mut relocator = Relocator::new(library, scope, machine, trace);
    relocator.relr()?;
    let relocations = &library.definitions.tables.relocations;
    for (form, entries) in &relocations.packed {
        entries.iter().try_for_each(|entry| relocator.one(entry, *form))?;
    }
    for table in &relocations.plain {
        relocator.plain(table)?;
    }
    if let Some(table) = &relocations.plt {
        match lazy {
            true => relocator.plt_lazily(table)?,
            false => relocator.plain(table)?,
        }
    }
    Ok(relocator.done)
}

struct Relocator<'a> {
    library: &'a Arc<Loaded>,
    own: Module,
    scope: &'a Scope,
    machine: Machine,
    /// The kind that adds the slide and nothing else.
    relative: u32,
    slide: u64,
    places: Places<'a>,
    /// The kinds that store a symbol's address and the addend, in eight bytes.
    symbolic: [u32; 3],
    own_first: Option<OwnFirst<'a>>,
    filters: Filters<'a>,
    recent: Recent,
    trace: Option<&'a Trace>,
    done: Relocated,
}

impl<'a> Relocator<'a> {
    fn new(library: &'a Arc<Loaded>, scope: &'a Scope, machine: Machine, trace: Option<&'a Trace>) -> Self {
        use livepatch_object::loadable::relocation::table;
        let number = |formula| {
            let mut all = table(machine).iter();
            let found = all.find(|howto| howto.formula == formula && howto.width == Width::Word64);
            found.map_or(u32::MAX, |howto| howto.number)
        };
        Self {
            library,
            own: Module::Library(Arc::clone(library)),
            scope,
            machine,
            relative: number(Formula::Base),
            symbolic: [Formula::Symbol, Formula::Import, Formula::LazyImport].map(number),
            own_first: OwnFirst::new(library, scope),
            filters: Filters::new(scope),
            slide: library.definitions.slide.bits(),
            places: library.mapped.places(),
            recent: Recent::default(),
            trace: trace.filter(|trace| trace.detail() >= Detail::Bindings),
            done: Relocated::default(),
        }
    }

    fn problem(&self, problem: Problem) -> LinkerError {
        problem.of(&self.library.path).into()
    }

    #[cold]
    fn outside(&self, place: LinkAddress) -> LinkerError {
        self.problem(Problem::RelocationOutside { address: place.0 })
    }

    fn relr(&mut self) -> Result<(), LinkerError> {
        let class = self.machine.class();
        let table = &self.library.definitions.tables.relocations.relr;
        for place in packed::relr(table, class) {
            let changed = match class.word() {
                8 => self.places.add64(place, self.slide),
                _ => match self.library.mapped.load(place, 4) {
                    Some(word) => self.places.store32(place, word.wrapping_add(self.slide) as u32),
                    None => false,
                },
            };
            if !changed {
                return Err(self.outside(place));
            }
            self.done.counts.relative += 1;
        }
        Ok(())
    }

    fn plain(&mut self, table: &Plain) -> Result<(), LinkerError> {
        let form = table.form();
        let Some(entries) = table.rela64() else {
            return table.iter().try_for_each(|entry| self.one(&entry, form));
        };
        let mut rest = entries;
        loop {
            let done = self.run(rest);
            let Some((entry, behind)) = rest.get(done..).and_then(|rest| rest.split_first()) else { break };
            let entry = Entry::from(entry);
            if !self.fast(&entry) {
                self.one(&entry, form)?;
            }
            rest = behind;
        }
        Ok(())
    }

    /// Does what needs no search: what adds the slide, and what adds the address of a symbol that was looked up just
    /// before. Returns how many entries were done.
    fn run(&mut self, entries: &[Rela64]) -> usize {
        let (relative, symbolic, slide, recent) = (self.relative, self.symbolic[0], self.slide, &self.recent);
        let mut by_symbol = 0u64;
        let words = entries.iter().map(Entry::from).map_while(|entry| {
            let base = match entry.kind {
                kind if kind == relative => slide,
                kind if kind == symbolic => {
                    let known = recent.get(&entry)?;
                    by_symbol += 1;
                    known
                }
                _ => return None,
            };
            Some((entry.place, base.wrapping_add_signed(entry.addend)))
        });
        let done = self.places.store_run(words);
        // One whose place is elsewhere was asked for, and is not done.
        let next = entries.get(done).map(Entry::from);
        let is_known = |entry: &Entry| entry.kind == symbolic && self.recent.get(entry).is_some();
        by_symbol = by_symbol.saturating_sub(u64::from(next.as_ref().is_some_and(is_known)));
        self.done.counts.symbolic += by_symbol;
        self.done.counts.relative += done as u64 - by_symbol;
        done
    }

    /// Does a relocation by a symbol whose address is known, or known without a search.
    #[inline]
    fn fast(&mut self, entry: &Entry) -> bool {
        if !self.symbolic.contains(&entry.kind) {
            return false;
        }
        let mut known = self.recent.get(entry);
        if known.is_none() {
            let definitions = &self.library.definitions;
            let (Some(own_first), Some(symbol)) =
                (&self.own_first, definitions.tables.symbols.get(entry.symbol))
            else {
                return false;
            };
            // Bindings are written down where they are looked up; what is indirect comes later.
            let is_plain = !symbol.is_indirect() && !symbol.is_thread_local() && self.trace.is_none();
            if !is_plain || !own_first.is_own(entry.symbol, &symbol) {
                return false;
            }
            let address = definitions.address(&symbol).0;
            self.recent.keep(entry, address);
            self.done.counts.lookups += 1;
            known = Some(address);
        }
        let Some(known) = known else { return false };
        let value = known.wrapping_add_signed(entry.addend);
        match entry.kind == self.symbolic[2] {
            true => self.done.counts.plt += 1,
            false => self.done.counts.symbolic += 1,
        }
        // A place that is wrong is found to be so again, and said.
        self.places.store64(entry.place, value)
    }

    /// Slots of functions: each leads to where it is bound at the first call, if it can be.
    fn plt_lazily(&mut self, table: &Plain) -> Result<(), LinkerError> {
        for entry in table.iter() {
            let is_slot =
                howto(self.machine, entry.kind).is_some_and(|howto| howto.formula == Formula::LazyImport);
            let stub = self.library.mapped.load(entry.place, 8).map(|stub| stub.wrapping_add(self.slide));
            let is_code = |stub: &u64| self.library.is_code(RuntimeAddress(*stub));
            match stub.filter(is_code).filter(|_| is_slot && lazy::can_be_slot(self.library, entry.place)) {
                Some(stub) if self.places.store64(entry.place, stub) => self.done.counts.lazy += 1,
                _ => self.one(&entry, table.form())?,
            }
        }
        Ok(())
    }

    fn one(&mut self, entry: &Entry, form: Form) -> Result<(), LinkerError> {
        let unknown = Problem::UnknownRelocation { kind: entry.kind, address: entry.place.0 };
        let howto = howto(self.machine, entry.kind).ok_or_else(|| self.problem(unknown))?;
        let addend = match form {
            Form::Rel if howto.has_addend_in_place() => self.addend_in_place(howto, entry.place)?,
            _ => entry.addend,
        };
        let entry = Entry { addend, ..*entry };
        match howto.formula {
            Formula::None => Ok(()),
            Formula::Copy => Err(self.problem(Problem::CopyRelocation)),
            Formula::Base => self.base(howto, &entry),
            Formula::Indirect => self.indirect(howto, &entry),
            Formula::Symbol | Formula::Import | Formula::LazyImport | Formula::Relative => {
                self.symbolic(howto, &entry)
            }
            Formula::Size => self.size(howto, &entry),
            Formula::TlsModule
            | Formula::TlsOffset
            | Formula::TlsThread
            | Formula::TlsThreadNegated
            | Formula::TlsDescriptor => self.thread_local(howto, &entry),
        }
    }

    fn addend_in_place(&self, howto: &Howto, place: LinkAddress) -> Result<i64, LinkerError> {
        // A descriptor's addend is in its second word.
        let at = match howto.formula {
            Formula::TlsDescriptor => place.checked_add(howto.width.bytes()),
            _ => Some(place),
        };
        let word = at.and_then(|at| self.library.mapped.load(at, howto.width.bytes()));
        let word = word.ok_or_else(|| self.outside(place))?;
        howto.width.load(&word.to_le_bytes()).ok_or_else(|| self.outside(place))
    }

    fn store(&mut self, howto: &Howto, place: LinkAddress, value: u64) -> Result<(), LinkerError> {
        if !howto.width.fits(value) {
            let kind = howto.number;
            return Err(self.problem(Problem::RelocationOverflow { kind, address: place.0 }));
        }
        let stored = match howto.width.bytes() {
            8 => self.places.store64(place, value),
            _ => self.places.store32(place, value as u32),
        };
        stored.then_some(()).ok_or_else(|| self.outside(place))
    }

    fn base(&mut self, howto: &Howto, entry: &Entry) -> Result<(), LinkerError> {
        self.done.counts.relative += 1;
        self.store(howto, entry.place, self.slide.wrapping_add_signed(entry.addend))
    }

    fn indirect(&mut self, howto: &Howto, entry: &Entry) -> Result<(), LinkerError> {
        let resolver = RuntimeAddress(self.slide.wrapping_add_signed(entry.addend));
        self.defer(self.library, howto, entry.place, resolver, 0)
    }

    fn defer(
        &mut self,
        definer: &Loaded,
        howto: &Howto,
        place: LinkAddress,
        resolver: RuntimeAddress,
        addend: i64,
    ) -> Result<(), LinkerError> {
        if !definer.is_code(resolver) {
            let address = definer.definitions.slide.link(resolver).map_or(resolver.0, |link| link.0);
            let problem = Problem::NotCode { what: "an IFUNC resolver", address };
            return Err(problem.of(&definer.path).into());
        }
        self.done.counts.indirect += 1;
        let (library, width) = (Arc::clone(self.library), howto.width);
        self.done.deferred.push(Deferred { library, place, width, resolver, addend });
        Ok(())
    }

    fn symbolic(&mut self, howto: &Howto, entry: &Entry) -> Result<(), LinkerError> {
        match howto.formula {
            Formula::LazyImport => self.done.counts.plt += 1,
            _ => self.done.counts.symbolic += 1,
        }
        let symbol = match self.recent.get(entry) {
            Some(address) => address,
            None => match self.look_up(howto, entry)? {
                Some(address) => address.0,
                None => return Ok(()),
            },
        };
        let place = self.slide.wrapping_add(entry.place.0);
        let inputs = Inputs { symbol, addend: entry.addend, place, ..Inputs::default() };
        let value = howto.value(&inputs).unwrap_or(symbol);
        self.store(howto, entry.place, value)
    }

    /// None if the answer is to come later.
    fn look_up(&mut self, howto: &Howto, entry: &Entry) -> Result<Option<RuntimeAddress>, LinkerError> {
        let reference = Reference::new(self.library, entry.symbol).map_err(LinkerError::Load)?;
        let definition = reference.definition(self.scope, &self.filters, &self.own)?;
        self.done.counts.lookups += 1;
        self.note_binding(&definition);
        let target = definition.target();
        if let Some(trace) = self.trace {
            record(trace, Phase::Link, &reference, self.slide.wrapping_add(entry.place.0), &definition);
        }
        match (target, &definition) {
            (Target::Address(address), _) => {
                self.recent.keep(entry, address.0);
                Ok(Some(address))
            }
            (Target::Indirect(resolver), Definition::Symbol(Module::Library(definer), _)) => {
                let definer = Arc::clone(definer);
                self.defer(&definer, howto, entry.place, resolver, entry.addend)?;
                Ok(None)
            }
            (Target::Indirect(resolver), _) => Ok(Some(resolver)),
        }
    }

    fn note_binding(&mut self, definition: &Definition) {
        if let Definition::Symbol(Module::Library(definer), _) = definition
            && definer.id != self.library.id
            && !self.done.bound_to.iter().any(|known| known.id == definer.id)
        {
            self.done.bound_to.push(Arc::clone(definer));
        }
    }

    fn size(&mut self, howto: &Howto, entry: &Entry) -> Result<(), LinkerError> {
        let reference = Reference::new(self.library, entry.symbol).map_err(LinkerError::Load)?;
        let size = match reference.definition(self.scope, &self.filters, &self.own)? {
            Definition::Symbol(_, symbol) => symbol.size,
            _ => reference.symbol.size,
        };
        self.done.counts.symbolic += 1;
        self.store(howto, entry.place, size.wrapping_add_signed(entry.addend))
    }

    fn thread_local(&mut self, howto: &Howto, entry: &Entry) -> Result<(), LinkerError> {
        self.done.counts.thread_local += 1;
        let reference = Reference::new(self.library, entry.symbol).map_err(LinkerError::Load)?;
        let (definition, value) = match entry.symbol {
            0 => (Definition::Symbol(self.own.clone(), reference.symbol), 0),
            _ => match reference.definition(self.scope, &self.filters, &self.own)? {
                Definition::Symbol(module, symbol) => {
                    let value = symbol.value.0;
                    (Definition::Symbol(module, symbol), value)
                }
                other => (other, 0),
            },
        };
        self.note_binding(&definition);
        let inside = value.wrapping_add_signed(entry.addend);
        match howto.formula {
            Formula::TlsModule => {
                let id = self.module_id(&definition, &reference)?;
                self.store(howto, entry.place, id)
            }
            Formula::TlsOffset => {
                self.store(howto, entry.place, inside.wrapping_sub(dtv_offset(self.machine)))
            }
            Formula::TlsDescriptor => self.descriptor(howto, entry.place, &definition, &reference, inside),
            formula => {
                let offset = self.thread_offset(&definition, &reference)?.wrapping_add(inside);
                let value = if formula == Formula::TlsThread { offset } else { offset.wrapping_neg() };
                self.store(howto, entry.place, value)
            }
        }
    }

    /// The number that `__tls_get_addr` knows a module by.
    fn module_id(&self, definition: &Definition, reference: &Reference<'_>) -> Result<u64, LinkerError> {
        let id = match definition {
            Definition::Symbol(Module::Library(library), _) => library.tls.as_ref().map(tls::Module::id),
            Definition::Symbol(Module::Host(host), _) => Some(host.tls_module).filter(|&id| id != 0),
            _ => None,
        };
        id.ok_or_else(|| self.no_thread_local(reference))
    }

    fn no_thread_local(&self, reference: &Reference<'_>) -> LinkerError {
        self.problem(Problem::NoThreadLocal { symbol: reference.display_name() })
    }

    /// Where a module's block is from the thread pointer, in every thread.
    fn thread_offset(&self, definition: &Definition, reference: &Reference<'_>) -> Result<u64, LinkerError> {
        let offset = match definition {
            Definition::Symbol(Module::Library(library), _) => {
                let module = library.tls.as_ref().ok_or_else(|| self.no_thread_local(reference))?;
                match (module.offset(), library.started.load(Ordering::Acquire)) {
                    (Some(offset), _) => Ok(offset),
                    (None, true) => Err("threads have blocks of it elsewhere already"),
                    (None, false) => module.make_static(),
                }
            }
            Definition::Symbol(Module::Host(host), _) => {
                host.tls_offset().ok_or("it was loaded after the program began")
            }
            _ => return Err(self.no_thread_local(reference)),
        };
        offset.map(i64::cast_unsigned).map_err(|why| LinkerError::StaticTls {
            symbol: reference.display_name(),
            definer: definition.definer().unwrap_or_default().to_owned(),
            library: self.library.path.clone(),
            why,
        })
    }

    fn descriptor(
        &mut self,
        howto: &Howto,
        place: LinkAddress,
        definition: &Definition,
        reference: &Reference<'_>,
        inside: u64,
    ) -> Result<(), LinkerError> {
        let fixed = match definition {
            Definition::Symbol(Module::Library(library), _) => {
                library.tls.as_ref().and_then(tls::Module::offset)
            }
            Definition::Symbol(Module::Host(host), _) => host.tls_offset(),
            _ => None,
        };
        let kind = match (definition, fixed) {
            (Definition::Nothing, _) => tls::DescriptorKind::Undefined(inside),
            (_, Some(offset)) => tls::DescriptorKind::Static(offset.wrapping_add_unsigned(inside)),
            (_, None) => {
                let module = self.module_id(definition, reference)?;
                tls::DescriptorKind::Dynamic(tls::Index { module, offset: inside })
            }
        };
        let unsupported = Problem::Unsupported { tag: "TLSDESC on this processor" };
        let descriptor = tls::Descriptor::new(kind).ok_or_else(|| self.problem(unsupported))?;
        self.store(howto, place, descriptor.function)?;
        let second = place.checked_add(howto.width.bytes()).ok_or_else(|| self.outside(place))?;
        self.store(howto, second, descriptor.argument)?;
        self.done.indexes.extend(descriptor.keep);
        Ok(())
    }
}

/// Addresses of symbols that were looked up last, by the lowest bits of their numbers. A symbol that vtables or
/// tables of types name is named often, and in many places that are near each other.
struct Recent([(u32, u64); Self::SIZE]);

impl Recent {
    const SIZE: usize = 256;

    #[inline]
    fn get(&self, entry: &Entry) -> Option<u64> {
        let (symbol, address) = self.0[entry.symbol as usize % Self::SIZE];
        (symbol == entry.symbol && address != 0).then_some(address)
    }

    #[inline]
    fn keep(&mut self, entry: &Entry, address: u64) {
        self.0[entry.symbol as usize % Self::SIZE] = (entry.symbol, address);
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self([(0, 0); Self::SIZE])
    }
}

/// Writes a binding down.
pub(crate) fn record(
    trace: &Trace,
    phase: Phase,
    reference: &Reference<'_>,
    place: u64,
    definition: &Definition,
) {
    let target = match definition.target() {
        Target::Address(address) | Target::Indirect(address) => address.0,
    };
    let version = reference.version().map(|version| String::from_utf8_lossy(&version.name).into_owned());
    trace.record(
        phase,
        Event::Bind {
            library: reference.library.path.clone(),
            symbol: reference.display_name(),
            version,
            place,
            target,
            definer: definition.definer().map(str::to_owned),
        },
    );
}
