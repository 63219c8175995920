//! Functions that are bound when they are first called.

use super::relocate;
use super::resolve::{Definition, Filters, Reference, Scope, Target};
use crate::LinkerError;
use crate::call;
use crate::loaded::Loaded;
use crate::module::Module;
use crate::rebinder::word;
use crate::resolver;
use crate::trace::{Phase, Trace};
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::loadable::Problem;
use object::elf;
use std::sync::Arc;

/// What a library's second word of `DT_PLTGOT` points to, as long as it is loaded.
pub(crate) struct Context {
    library: Arc<Loaded>,
    scope: Scope,
    trace: Option<Trace>,
    /// What each slot holds until it is bound.
    unbound: Box<[u64]>,
}

/// Whether a library's functions can be bound lazily at all: it has a procedure linkage table that asks for
/// it, and does not forbid it.
pub(crate) fn is_possible(library: &Loaded) -> bool {
    let dynamic = &library.definitions.tables.dynamic;
    !dynamic.bind_now()
        && dynamic.plt_got.is_some()
        && library.definitions.tables.relocations.plt.is_some()
        && resolver::can_keep_registers()
}

/// Whether a word stays writable, and can be stored to while others read it.
pub(crate) fn can_be_slot(library: &Loaded, place: LinkAddress) -> bool {
    let read_only = library.headers.first(elf::PT_GNU_RELRO).is_some_and(|relro| {
        let span = relro.span();
        place.0 < span.end && span.start < place.0.saturating_add(8)
    });
    let segment = library.headers.load_of(place, 8);
    !read_only
        && segment.is_some_and(|segment| segment.writable())
        && library.runtime(place).is_some_and(|at| at.0.is_multiple_of(8))
}

/// Has a library's first calls come here. Whoever gets the context keeps it as long as the library is loaded.
pub(crate) fn prepare(
    library: &Arc<Loaded>,
    scope: &Scope,
    trace: Option<&Trace>,
) -> Result<Box<Context>, LinkerError> {
    let table = library.definitions.tables.relocations.plt.iter().flat_map(|table| table.iter());
    let unbound = table.map(|entry| library.mapped.load(entry.place, 8).unwrap_or_default()).collect();
    let (own, scope, trace) = (Arc::clone(library), scope.clone(), trace.cloned());
    let context = Box::new(Context { library: own, scope, trace, unbound });
    let got = library.definitions.tables.dynamic.plt_got.unwrap_or_default();
    let mut places = library.mapped.places();
    let mut store = |index: u64, value: u64| {
        let place = got.checked_add(index * 8).filter(|&place| places.store64(place, value));
        let problem = || Problem::RelocationOutside { address: got.0 }.of(&library.path);
        place.map(|_| ()).ok_or_else(problem)
    };
    store(1, std::ptr::from_ref(&*context) as u64)?;
    store(2, resolver::entry())?;
    Ok(context)
}

/// Binds the function of a relocation of `DT_JMPREL`; where it is. If there is none, the process ends: its
/// caller can be told nothing.
///
/// # Safety
/// To be called by the machine code of [`resolver`] only, with what [`prepare`] has stored.
pub(crate) unsafe extern "C" fn bind(context: *const Context, index: u64) -> u64 {
    // SAFETY: the caller's promise: the context lives as long as its library, whose code is running.
    let context = unsafe { &*context };
    match context.bind(index) {
        Ok(address) => address.0,
        Err(error) => {
            eprintln!("livepatch: symbol lookup error: {error}");
            std::process::abort();
        }
    }
}

/// Whose function a reference means, and where it is.
pub(crate) struct Resolved<'a> {
    reference: Reference<'a>,
    definition: Definition,
    /// Where the function is.
    pub(crate) address: RuntimeAddress,
}

/// Looks up the function of a symbol of a library's table.
pub(crate) fn resolve<'a>(
    library: &'a Arc<Loaded>,
    scope: &Scope,
    symbol: u32,
) -> Result<Resolved<'a>, LinkerError> {
    let reference = Reference::new(library, symbol).map_err(LinkerError::Load)?;
    let own = Module::Library(Arc::clone(library));
    let definition = reference.definition(scope, &Filters::none(), &own)?;
    let address = match (definition.target(), &definition) {
        (Target::Address(address), _) => address,
        (Target::Indirect(resolver), Definition::Symbol(Module::Library(definer), _))
            if definer.is_code(resolver) =>
        {
            // SAFETY: code of a library that is relocated, as all are when code of one runs, and the symbol says
            // that it is such a function.
            unsafe { call::resolver(resolver) }
        }
        (Target::Indirect(resolver), _) => resolver,
    };
    Ok(Resolved { reference, definition, address })
}

impl Context {
    fn bind(&self, index: u64) -> Result<RuntimeAddress, LinkerError> {
        let library = &self.library;
        let table = library.definitions.tables.relocations.plt.as_ref();
        let position = usize::try_from(index).ok();
        let entry = position.and_then(|index| table?.get(index));
        let entry =
            entry.ok_or_else(|| Problem::Invalid { what: "PLT index", value: index }.of(&library.path))?;
        let resolved = resolve(library, &self.scope, entry.symbol)?;
        let address = RuntimeAddress(resolved.address.0.wrapping_add_signed(entry.addend));
        // SAFETY: a place that `plt_lazily` saw to be mapped, in a library that is loaded.
        let slot = library.runtime(entry.place).and_then(|place| unsafe { word(place) });
        let unbound = position.and_then(|index| self.unbound.get(index));
        let (Some(slot), Some(&unbound)) = (slot, unbound) else { return Ok(address) };
        // SAFETY: `plt_lazily` saw that the slot is writable and stays so, and the function is what it stands for.
        match unsafe { slot.exchange(unbound as usize, address.0 as usize) } {
            Ok(()) => {
                if let Some(trace) = &self.trace {
                    let (at, reference) = (slot.address() as u64, &resolved.reference);
                    relocate::record(trace, Phase::Bind, reference, at, &resolved.definition);
                }
                Ok(address)
            }
            // Another thread was first, or the slot was led somewhere else: which this call is for, too.
            Err(now) => Ok(RuntimeAddress(now as u64)),
        }
    }
}
