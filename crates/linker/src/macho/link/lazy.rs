//! `dyld_stub_binder`: functions that are bound when they are first called.

use super::super::error::Error;
use super::super::linker::Linker;
use super::super::loaded::{LazySlot, Loaded, text};
use super::super::registry;
use super::resolve::{Resolver, Target, two_level};
use crate::rebinder::word;
use crate::resolver;
use crate::trace::{Event, Phase};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::macho::opcodes::LazyEntry;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What `dyld_stub_binder` is bound to.
pub(in crate::macho) fn entry() -> u64 {
    resolver::macho_binder()
}

/// What descriptors of thread-local variables begin with.
pub(in crate::macho) fn thread_local_entry() -> u64 {
    resolver::macho_thread_local()
}

/// Binds what a stub helper has pushed; where the function is. If there is none, the process ends: its caller can be
/// told nothing.
///
/// # Safety
/// To be called by the machine code of [`resolver`] only: `cache` is an address that the image's helpers push, `entry`
/// the offset that one of them does, `from` where the call of the stub returns to.
pub(crate) unsafe extern "C" fn bind(cache: u64, entry: u64, from: u64) -> u64 {
    // Images of some linkers push an address that no symbol is at: in the image it is, all the same.
    let image = registry::at(RuntimeAddress(cache)).or_else(|| registry::at(RuntimeAddress(from)));
    let bound = match &image {
        Some(image) => bind_entry(image, entry, from),
        None => {
            eprintln!("livepatch: dyld_stub_binder: no image is at {cache:#x} or {from:#x}");
            std::process::abort();
        }
    };
    match bound {
        Ok(address) => address,
        Err(error) => {
            eprintln!("livepatch: lazy symbol binding failed: {error}");
            std::process::abort();
        }
    }
}

pub(in crate::macho) fn bind_entry(image: &Arc<Loaded>, entry: u64, from: u64) -> Result<u64, Error> {
    image.binder_calls.fetch_add(1, Ordering::Relaxed);
    // Helpers push a word, of which 32 bits are the offset.
    let entry = entry as u32;
    // Nothing is made for a trace that nobody wants.
    let record = |event: &dyn Fn() -> Event| {
        if let Some(trace) = &image.trace {
            trace.record(Phase::Bind, event());
        }
    };
    let library = || image.path.to_string();
    record(&|| Event::StubHit { library: library(), entry: entry.into(), caller: from });
    let decoded = image.image.lazy_bind_at(entry).map_err(|problem| image.wrong(problem))?;
    record(&|| decode_event(image, entry, &decoded));
    let target = resolve(image, &decoded)?;
    let address = target.address();
    let symbol = || text(&decoded.import.symbol);
    record(&|| {
        let definer = target.definer();
        Event::Resolve { library: library(), symbol: symbol(), target: address, definer }
    });
    let known = image.lazy.get().and_then(|lazy| lazy.get(&entry)).copied();
    let Some(slot) = known else { return Ok(address) };
    check(image, &decoded, slot, address);
    let (old, new) = store(image, slot, address);
    record(&|| {
        let place = image.runtime(slot.place).map_or(0, |place| place.0);
        Event::Store { library: library(), place, old, new }
    });
    Ok(new)
}

fn decode_event(image: &Loaded, entry: u32, decoded: &LazyEntry) -> Event {
    let import = &decoded.import;
    Event::Decode {
        library: image.path.to_string(),
        entry: entry.into(),
        symbol: text(&import.symbol),
        ordinal: import.ordinal.number(),
        expected: image.image.library(import.ordinal).map(|library| library.name.clone()),
        place: image.runtime(decoded.slot.address).map_or(0, |place| place.0),
    }
}

/// What a lazy entry is bound to.
pub(in crate::macho) fn resolve(image: &Arc<Loaded>, decoded: &LazyEntry) -> Result<Target, Error> {
    // Most imports name a library, which stays loaded as long as the image does.
    if let Some(target) = two_level(image, &decoded.import)? {
        return Ok(target);
    }
    let Some(shared) = image.linker.upgrade() else {
        // Code of an image whose linker is gone; that keeps what it has loaded from being unloaded.
        return Err(Error::InvalidHandle);
    };
    let linker = Linker { shared };
    let (resolver_images, providers) = linker.view();
    let resolver = Resolver { providers: &providers, ..resolver_images };
    let target = resolver.resolve(image, &decoded.import)?;
    match &target {
        Target::Found(_) => linker.note_binding(image, &target),
        Target::Nothing => {
            // A weak import may be 0, but nobody can call that.
            return Err(Error::SymbolNotFound {
                symbol: text(&decoded.import.symbol),
                by: image.path.to_string(),
                expected: "a library that is needed weakly".to_owned(),
            });
        }
    }
    Ok(target)
}

/// Stores to the slot, unless something else was stored there before; what it held, and what it leads to now.
fn store(image: &Loaded, slot: LazySlot, address: u64) -> (u64, u64) {
    // SAFETY: a place that `Linker::bind` has seen to be mapped, in an image that stays so while its code runs.
    let word = image.runtime(slot.place).and_then(|place| unsafe { word(place) });
    let Some(word) = word else { return (slot.unbound, address) };
    // SAFETY: lazy slots are in segments that are writable and stay so: those that become read-only are bound when
    // the image is loaded. The function is what the slot stands for.
    match unsafe { word.exchange(slot.unbound as usize, address as usize) } {
        Ok(()) => (slot.unbound, address),
        // Another thread was first, or the slot was led somewhere else: which this call is for, too.
        Err(now) => (now as u64, now as u64),
    }
}

/// In [`Mode::PreboundCheck`](super::super::Mode), what is bound has to be what was found when the image was loaded.
fn check(image: &Loaded, decoded: &LazyEntry, slot: LazySlot, address: u64) {
    let differs =
        slot.expected.is_some_and(|expected| expected != address) || slot.place != decoded.slot.address;
    if let (true, Some(trace)) = (differs, &image.trace) {
        let symbol = text(&decoded.import.symbol);
        let expected = slot.expected.unwrap_or_default();
        let text = format!("{symbol} is bound to {address:#x}, and was found at {expected:#x} before");
        trace.record(Phase::Bind, Event::Warning { library: image.path.to_string(), text });
    }
}
