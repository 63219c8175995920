//! What a thread runs from its beginning to its end: a closure given to `std::thread::spawn`, say. Threads
//! that are in it do not enter it again, so a new body is for threads to come.

use crate::diff::Diff;
use crate::live::Live;
use crate::objects::Object;
use crate::readers::newest;
use livepatch_object::compare::{Referent, referent};
use livepatch_object::demangle;
use livepatch_object::relocatable::{Place, SymbolId};
use rustc_hash::FxHashSet;

/// Std calls what a thread is for through an instance of this function, so that a backtrace can end there.
/// Either mangling has the name in it as it is.
const CALLER: &str = "__rust_begin_short_backtrace";

/// The functions that an object has threads run. An optimized build may have none: they are inlined.
pub(crate) fn mains(object: &Object) -> Vec<SymbolId> {
    let image = &object.image;
    let callers = object.definitions().filter(|caller| image.name(*caller).contains(CALLER));
    let sections = callers.filter_map(|caller| match image.symbol(caller).place {
        Place::Section(section) => Some(section),
        _ => None,
    });
    let referents = sections.flat_map(|section| {
        image.relocations(section).iter().map(move |relocation| referent(image, section, relocation))
    });
    let functions = referents.filter_map(|referent| match referent {
        Referent::Named { symbol, .. } => Some(symbol),
        _ => None,
    });
    functions.collect()
}

/// Says so of such functions when their bodies changed.
pub fn note(live: &Live, diff: &mut Diff) {
    let changed: FxHashSet<&str> =
        diff.changed.iter().filter(|change| !change.lines_only).map(|change| change.new.name()).collect();
    if changed.is_empty() {
        return;
    }
    let mut mains = Vec::new();
    for object in newest(live, diff) {
        let names = object.thread_mains().iter().map(|main| object.image.name(*main));
        mains.extend(names.filter(|name| changed.contains(name)).map(demangle));
    }
    mains.sort();
    mains.dedup();
    diff.notes.extend(mains.into_iter().map(|main| {
        format!("threads that run `{main}` go on with its old body: its new body is for threads to come")
    }));
}
