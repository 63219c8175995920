//! Is this patch sound? New code must never run on old data that it does not understand.
//!
//! ```text
//! changed types ─► roots ─► a named type: restart
//!                       └─► an environment (what a closure captured, what a future keeps), also those of
//!                           closures that changed places
//!                              └─► whoever handles one ─► versioned, or redirected at the boundary
//! ```
//!
//! *Versioned* functions have their old code for values of before and new code for new values: nothing
//! that has the old layout in its hands arrives at code that knows the new one.
//!
//! What is compared are the changed objects with what is live of the same codegen units. That is enough:
//! an object describes every type that it uses, so where a type changed, the object did.

mod boundary;
mod families;
mod held;
mod part;
mod signatures;
mod statics;
mod types;
mod vtables;

use crate::delegate::{Delegation, delegations};
use crate::diff::{Change, Diff};
use crate::live::Live;
use crate::objects::Object;
use crate::readers::newest;
use livepatch_object::demangle;
use livepatch_object::layout::{Layouts, TypeId, TypeText, describe_several};
use rustc_hash::FxHashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use part::stands_alone;

/// An object, and what it says of types.
type Described<'l> = (&'l Arc<Object>, &'l Layouts);

/// An object, and what is live of its codegen unit.
struct Pair<'l> {
    old: Described<'l>,
    new: Described<'l>,
}

/// A type with another layout than before.
pub(crate) struct Relaid<'l> {
    pub(crate) id: TypeId,
    /// An object that describes it as it was.
    pub(crate) old: &'l Arc<Object>,
    /// One that describes it as it is.
    pub(crate) new: &'l Arc<Object>,
}

/// What the gate found out.
#[derive(Default)]
struct Findings<'l> {
    /// Why the patch is unsound, each as a sentence.
    unsound: Vec<String>,
    /// Environments of which values of before and new ones differ, or belong to different code.
    environments: FxHashSet<TypeId>,
    /// Coroutines that keep something else than before.
    coroutines: Vec<Relaid<'l>>,
    /// All types that changed.
    changed: FxHashSet<TypeId>,
    /// Functions that are called in another way than before, by symbol name.
    versioned: FxHashSet<Box<str>>,
}

/// Checks a difference: says why it is unsound, or what must be versioned for it to be sound. Where code is
/// `optimized`, futures of before go on in the code of before. `former` are the objects that a
/// [first part](stands_alone) of the same edit has replaced.
pub fn check(live: &Live, diff: &mut Diff, former: &[Arc<Object>], optimized: bool) {
    let Outcome { unsound, versioned, mut names, delegations } = outcome(live, diff, former, optimized);
    let is_versioned = |change: &Change| versioned.contains(change.new.name());
    let (apart, redirected): (Vec<_>, Vec<_>) =
        std::mem::take(&mut diff.changed).into_iter().partition(is_versioned);
    let edited = apart.iter().filter(|change| !change.lines_only);
    names.extend(edited.map(|change| demangle(change.new.name())));
    names.sort();
    names.dedup();
    diff.changed = redirected;
    diff.both_versions = names;
    diff.delegations = delegations;
    diff.unsound.extend(unsound);
    diff.versioned = versioned;
}

/// What the gate makes of a difference.
struct Outcome {
    unsound: Vec<String>,
    /// Functions, by symbol name.
    versioned: FxHashSet<Box<str>>,
    /// The closures and futures because of which they are, and functions of another signature that are held,
    /// demangled.
    names: Vec<String>,
    delegations: Vec<Delegation>,
}

fn outcome(live: &Live, diff: &Diff, former: &[Arc<Object>], optimized: bool) -> Outcome {
    read_all(diff);
    let pairs = pairs(live, diff);
    let former: Vec<_> = former.iter().filter_map(|object| Some((object, object.layouts()?))).collect();
    let mut findings = Findings::default();
    types::check(&pairs, &former, &mut findings);
    statics::check(&pairs, &mut findings);
    vtables::check(&pairs, &former, &mut findings);
    signatures::check(live, diff, &mut findings);
    families::check(&pairs, diff, &mut findings);
    let mut shims = Vec::new();
    if !findings.environments.is_empty() {
        let newest = newest(live, diff);
        let handling: Vec<_> =
            newest.iter().copied().filter(|object| has_any(object, &findings.environments)).collect();
        let layouts = handling.iter().filter_map(|object| object.layouts());
        let handled =
            types::that_reach(layouts.chain(pairs.iter().map(|pair| pair.old.1)), &findings.environments);
        boundary::version(live, &handling, &newest, &handled, &mut findings);
        if !optimized {
            shims = delegations(live, &newest, &findings.coroutines, &findings.changed);
        }
    }
    let mut names = environment_names(&pairs, &findings.environments);
    names.extend(held::names(&pairs, diff, &findings.versioned));
    Outcome { names, unsound: findings.unsound, versioned: findings.versioned, delegations: shims }
}

/// Reads what the changed objects say, on all cores: what rustc has just made, nobody has read ahead.
fn read_all(diff: &Diff) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(diff.units.len());
    if threads < 2 {
        return;
    }
    let next = AtomicUsize::new(0);
    let read = || {
        while let Some((.., object)) = diff.units.get(next.fetch_add(1, Ordering::Relaxed)) {
            object.layouts();
        }
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(read)));
        read();
    });
}

/// The changed objects that were there before, with debug information on both sides.
fn pairs<'l>(live: &'l Live, diff: &'l Diff) -> Vec<Pair<'l>> {
    let units = diff.units.iter().filter_map(|(unit, _, new)| {
        let old = live.unit(unit)?;
        Some(Pair { old: (old, old.layouts()?), new: (new, new.layouts()?) })
    });
    units.collect()
}

/// Whether an object has anything of some environments.
fn has_any(object: &Object, environments: &FxHashSet<TypeId>) -> bool {
    object.layouts().is_some_and(|layouts| layouts.environments().any(|id| environments.contains(&id)))
}

/// The closures and futures that environments belong to, as symbols spell them: `app::run::{{closure}}`.
fn environment_names(pairs: &[Pair<'_>], environments: &FxHashSet<TypeId>) -> Vec<String> {
    let mut names = Vec::new();
    let mut named = FxHashSet::default();
    for (object, layouts) in pairs.iter().flat_map(|pair| [pair.new, pair.old]) {
        for closure in layouts.closure_families().flat_map(|(_, family)| family) {
            let Some(body) = closure.symbol.filter(|_| environments.contains(&closure.environment)) else {
                continue;
            };
            if named.insert(closure.environment) {
                names.push(demangle(object.image.name(body)));
            }
        }
    }
    // Those whose bodies are nowhere among them: debug information is read again, which takes time.
    let mut left: Vec<TypeId> = environments.difference(&named).copied().collect();
    for (object, layouts) in pairs.iter().flat_map(|pair| [pair.new, pair.old]) {
        let here: Vec<TypeId> = left.extract_if(.., |id| layouts.get(*id).is_some()).collect();
        if !here.is_empty() {
            let describe = |describe: &dyn Fn(TypeId) -> Option<TypeText>| {
                here.iter().filter_map(|id| environment_name(&describe(*id)?)).collect::<Vec<_>>()
            };
            names.extend(describe_several(&object.image, describe).into_iter().flatten());
        }
    }
    names
}

fn environment_name(text: &TypeText) -> Option<String> {
    let (path, _) = text.name.split_once("_env#")?;
    Some(format!("{}::{{{{closure}}}}", path.rsplit_once("::")?.0))
}
