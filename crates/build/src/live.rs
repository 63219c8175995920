//! What is live: the code that runs now, by name, and where each name is for ever.

mod journal;

use crate::objects::{CodegenUnit, Identity, Object};
use crate::session::UnitId;
use journal::{Journal, Undo};
use livepatch_object::compare::{Comparer, Strictness};
use livepatch_object::relocatable::{Place, SectionId, SectionKind, SymbolId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// An image of the process, or storage in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Module {
    /// The host; positions are link-time addresses.
    Host,
    /// The image of a patch; positions are offsets from its first byte.
    Patch(u32),
    /// The agent's thread-local reserve; positions are offsets in it.
    TlsReserve,
}

/// Where something is, in every process of the session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Location {
    /// The image.
    pub module: Module,
    /// The position in it.
    pub position: u64,
}

/// A name, and the codegen unit that scopes it unless it is known everywhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Name {
    /// As in the symbol table.
    pub symbol: Box<str>,
    /// The codegen unit, for local symbols.
    pub scope: Option<Box<str>>,
}

impl Name {
    /// The name of a symbol.
    pub fn of(object: &Object, id: SymbolId) -> Self {
        Self { symbol: object.image.name(id).into(), scope: object.scope(id).map(Into::into) }
    }
}

/// A function or static as it is in an object.
#[derive(Clone, Debug)]
pub struct Entity {
    /// The object.
    pub object: Arc<Object>,
    /// Its symbol there.
    pub symbol: SymbolId,
}

impl Entity {
    /// Its mangled name.
    pub fn name(&self) -> &str {
        self.object.image.name(self.symbol)
    }

    /// The codegen unit that scopes its name, unless it is known everywhere.
    pub fn scope(&self) -> Option<&str> {
        self.object.scope(self.symbol)
    }

    /// Whether it is a function.
    fn is_code(&self) -> bool {
        self.section().is_some_and(|section| self.object.image.section(section).kind == SectionKind::Text)
    }

    /// The section that holds it; none for what has no bytes.
    pub fn section(&self) -> Option<SectionId> {
        match self.object.image.symbol(self.symbol).place {
            Place::Section(section) => Some(section),
            _ => None,
        }
    }
}

/// The live version of every codegen unit, function and static of the captured crates.
#[derive(Clone, Debug, Default)]
pub struct Live {
    units: FxHashMap<CodegenUnit, (Identity, Arc<Object>)>,
    /// By symbol name: one entry per scope. Names that an edit removed stay: their code still runs for
    /// those who call it.
    entities: FxHashMap<Box<str>, Vec<Entity>>,
    /// Where names are that patches brought.
    brought: FxHashMap<Name, (Location, Entity)>,
    /// The bodies of redirected functions, by where their callers arrive.
    bodies: FxHashMap<Location, Bodies>,
    /// How many shims of earlier sessions are at an entry for ever.
    inherited: FxHashMap<Location, usize>,
    /// Names that mean something else to new code, which no patch had to bring so far.
    stale: FxHashSet<Box<str>>,
    /// Whether a patch ever gave a name another meaning for new code: bodies of before have the old one.
    renewed: bool,
    /// How to take patches back.
    journal: Journal,
}

/// A place that a slot can point to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Body {
    /// The code that was there first.
    Original,
    /// A place in a patch.
    At(Location),
}

/// What the callers of a redirected function got so far.
#[derive(Clone, Debug)]
struct Bodies {
    /// The function's mangled name.
    name: Box<str>,
    /// The code that was there first, if it is of a captured crate.
    original: Option<Entity>,
    /// Ascending by the patch's number.
    later: Vec<LaterBody>,
    /// Patch number, and what callers get when that patch was taken back, instead of what was there before:
    /// ascending by number.
    kept: Vec<(u32, Body)>,
}

/// What callers got with a patch.
#[derive(Clone, Debug)]
struct LaterBody {
    patch: u32,
    body: Body,
    /// The function as it was in the object; of the newest few only, since it keeps the whole object.
    entity: Option<Entity>,
}

impl Bodies {
    /// What callers get at a patch that is not taken back.
    fn at(&self, patch: u32) -> Body {
        match self.kept.last() {
            Some(&(shim, kept)) if !self.is_live(shim, patch) => kept,
            _ => self.without_shims_after(patch),
        }
    }

    /// What a shim goes on to at a patch: every shim there ever was has futures to serve.
    fn behind(&self, shim: u32, patch: u32) -> Body {
        match self.kept.iter().rev().find(|(number, _)| *number < shim) {
            Some(&(earlier, kept)) if !self.is_live(earlier, patch) => kept,
            _ => self.without_shims_after(patch.min(shim.saturating_sub(1))),
        }
    }

    fn without_shims_after(&self, patch: u32) -> Body {
        self.later.iter().rev().find(|later| later.patch <= patch).map_or(Body::Original, |later| later.body)
    }

    /// Whether a patch that brought a shim was not taken back, and is not by going to another.
    fn is_live(&self, shim: u32, patch: u32) -> bool {
        shim <= patch && self.later.iter().any(|later| later.patch == shim)
    }

    fn push(&mut self, patch: u32, body: Body, entity: Entity) {
        self.later.push(LaterBody { patch, body, entity: Some(entity) });
        if let Some(old) = self.later.len().checked_sub(REMEMBERED + 1) {
            self.later[old].entity = None;
        }
    }
}

/// How many earlier bodies a new one is compared with.
const REMEMBERED: usize = 8;

/// A function that a patch redirects.
#[derive(Clone, Debug)]
pub struct NewBody {
    /// Where callers arrive.
    pub entry: Location,
    /// What they get.
    pub body: Body,
    /// That, as it is in the object.
    pub entity: Entity,
    /// What they get when the patch was taken back, if that is not what they got before.
    pub kept: Option<Body>,
}

/// What a patch changes of what is live.
#[derive(Debug)]
pub struct Commit {
    /// The patch.
    pub patch: u32,
    /// Objects that are the live version of their codegen units from now on.
    pub units: Vec<(CodegenUnit, Identity, Arc<Object>)>,
    /// Names that the patch brought, where, and as what.
    pub brought: Vec<(Name, Location, Entity)>,
    /// The functions that it redirects.
    pub bodies: Vec<NewBody>,
    /// Names that mean something else to new code than to old code.
    pub renewed: FxHashSet<Box<str>>,
}

impl Live {
    /// Makes an object of the base build the live version of its codegen unit.
    pub fn insert_base(&mut self, unit: CodegenUnit, identity: Identity, object: Arc<Object>) {
        self.insert_unit(unit, identity, object, None);
    }

    /// Makes a patch live: its objects, the names it brought, the bodies that callers get.
    pub fn commit(&mut self, change: Commit) {
        let mut undo = Vec::new();
        self.renewed |= !change.renewed.is_empty();
        for NewBody { entry, body, entity, kept } in change.bodies {
            let original = self.entity(entity.name(), entity.scope()).cloned();
            let name = entity.name().into();
            let bodies = self.bodies.entry(entry).or_insert_with(|| Bodies {
                name,
                original,
                later: Vec::new(),
                kept: Vec::new(),
            });
            bodies.kept.extend(kept.map(|kept| (change.patch, kept)));
            bodies.push(change.patch, body, entity);
        }
        for (unit, identity, object) in change.units {
            self.insert_unit(unit, identity, object, Some(&mut undo));
        }
        let mut fresh = FxHashSet::default();
        for (name, location, entity) in change.brought {
            fresh.insert(name.symbol.clone());
            let old = self.brought.insert(name.clone(), (location, entity));
            undo.push(match old {
                None if change.renewed.contains(&name.symbol) || self.stale.contains(&name.symbol) => {
                    Undo::Renewed(name)
                }
                old => Undo::Brought(name, old),
            });
        }
        for name in change.renewed {
            let stale = !fresh.remove(&name);
            undo.push(Undo::Stale(name.clone(), self.set_stale(name, stale)));
        }
        for name in fresh.into_iter().filter(|name| self.stale.remove(name)).collect::<Vec<_>>() {
            undo.push(Undo::Stale(name, true));
        }
        self.journal.push(change.patch, undo);
    }

    /// Nobody goes back to a patch before this one any more, but to the beginning: what only that would need
    /// is let go of.
    pub fn forget_before(&mut self, patch: u32) {
        self.journal.fold_until(patch);
    }

    /// Returns what it was before.
    fn set_stale(&mut self, name: Box<str>, stale: bool) -> bool {
        if stale { !self.stale.insert(name) } else { self.stale.remove(&name) }
    }

    /// Whether new code needs its own version of a name, and no patch has brought one.
    pub fn is_stale(&self, name: &str) -> bool {
        self.stale.contains(name)
    }

    /// Goes back to what was live at an earlier patch.
    ///
    /// What later patches brought stays where it is: the next patch that needs such a name finds it there,
    /// as it was when it was brought.
    pub fn revert_to(&mut self, patch: u32) {
        while let Some(undo) = self.journal.pop_after(patch) {
            let mut kept = Vec::new();
            for step in undo.into_iter().rev() {
                self.undo(step, &mut kept);
            }
            for entity in kept {
                self.insert_entity(entity, None);
            }
        }
        for bodies in self.bodies.values_mut() {
            bodies.later.retain(|later| later.patch <= patch);
        }
    }

    fn undo(&mut self, step: Undo, kept: &mut Vec<Entity>) {
        match step {
            Undo::Unit(unit, Some(old)) => {
                self.units.insert(unit, old);
            }
            Undo::Unit(unit, None) => {
                self.units.remove(&unit);
            }
            Undo::Entities(name, old) => {
                self.entities.insert(name, old);
            }
            Undo::Brought(name, Some(old)) => {
                self.brought.insert(name, old);
            }
            Undo::Stale(name, stale) => {
                self.set_stale(name, stale);
            }
            Undo::Renewed(name) => {
                self.brought.remove(&name);
            }
            Undo::Brought(name, None) => {
                // Its place is for ever. The code there is what the patch brought, so that is its live
                // version again; steps are undone in reverse, entities after names, so it is set later.
                if let Some((_, entity)) = self.brought.get(&name).cloned() {
                    kept.push(entity);
                }
            }
        }
    }

    /// Makes an object live; how to take that back goes into `undo`. Nothing takes the base build back.
    fn insert_unit(
        &mut self,
        unit: CodegenUnit,
        identity: Identity,
        object: Arc<Object>,
        mut undo: Option<&mut Vec<Undo>>,
    ) {
        for symbol in object.definitions() {
            let entity = Entity { object: object.clone(), symbol };
            self.insert_entity(entity, undo.as_deref_mut());
        }
        let old = self.units.insert(unit.clone(), (identity, object));
        if let Some(undo) = undo {
            undo.push(Undo::Unit(unit, old));
        }
    }

    fn insert_entity(&mut self, entity: Entity, undo: Option<&mut Vec<Undo>>) {
        let (name, scope) = (entity.name(), entity.scope());
        let all = self.entities.entry(name.into()).or_default();
        if let Some(undo) = undo {
            undo.push(Undo::Entities(name.into(), all.clone()));
        }
        match all.iter_mut().find(|other| other.scope() == scope) {
            Some(other) => *other = entity,
            None => all.push(entity),
        }
    }

    /// Whether an object file is the live version of its codegen unit.
    pub fn is_live(&self, unit: &CodegenUnit, identity: &Identity) -> bool {
        self.units.get(unit).is_some_and(|(live, _)| live == identity)
    }

    /// The live version of a codegen unit.
    pub fn unit(&self, unit: &CodegenUnit) -> Option<&Arc<Object>> {
        self.units.get(unit).map(|(_, object)| object)
    }

    /// The live codegen units of a crate.
    pub fn units_of(&self, krate: &UnitId) -> impl Iterator<Item = &CodegenUnit> {
        self.units.keys().filter(move |unit| unit.unit == *krate)
    }

    /// All live objects.
    pub fn objects(&self) -> impl Iterator<Item = (&CodegenUnit, &Arc<Object>)> {
        self.units.iter().map(|(unit, (_, object))| (unit, object))
    }

    /// The live version of a name, seen from an object: the object's own local one, else one known
    /// everywhere, else the only one there is. But a local function of another object is another function:
    /// an optimising compiler may have given each its own way to be called.
    pub fn entity(&self, name: &str, scope: Option<&str>) -> Option<&Entity> {
        let all = self.entities.get(name)?;
        let scoped = |wanted: Option<&str>| all.iter().find(|e| e.scope() == wanted);
        scoped(scope).or_else(|| scoped(None)).or(match all.as_slice() {
            [only] if scope.is_none() || !only.is_code() => Some(only),
            _ => None,
        })
    }

    /// Where a name is that a patch brought.
    pub fn brought(&self, name: &Name) -> Option<Location> {
        self.brought.get(name).map(|(location, _)| *location)
    }

    /// Every entry that was ever redirected, and the body that its callers get at a patch.
    pub fn bodies_at(&self, patch: u32) -> impl Iterator<Item = (Location, Body)> {
        self.bodies.iter().map(move |(&entry, bodies)| (entry, bodies.at(patch)))
    }

    /// The body that callers of `entry` get at a patch.
    pub fn body_at(&self, entry: Location, patch: u32) -> Body {
        self.bodies.get(&entry).map_or(Body::Original, |bodies| bodies.at(patch))
    }

    /// Every shim, by its entry and its patch, and what it goes on to at a patch.
    pub fn shims_at(&self, patch: u32) -> impl Iterator<Item = (Location, u32, Body)> {
        self.bodies.iter().flat_map(move |(&entry, bodies)| {
            bodies.kept.iter().map(move |&(shim, _)| (entry, shim, bodies.behind(shim, patch)))
        })
    }

    /// Takes note of shims that earlier sessions have left.
    pub fn inherit(&mut self, shims: FxHashMap<Location, usize>) {
        self.inherited = shims;
    }

    /// How many shims were made for functions of a name, or more: none of the marks that are left after so
    /// many is in use.
    pub fn shims_of(&self, name: &str) -> usize {
        let bodies = self.bodies.values();
        let of_name = bodies.filter(|bodies| &*bodies.name == name);
        let own: usize = of_name.map(|bodies| bodies.kept.len()).sum();
        // Of those it is not known whose they are.
        own + self.inherited.values().max().unwrap_or(&0)
    }

    /// How many shims are at an entry for ever.
    pub fn shims(&self, entry: Location) -> usize {
        let own = self.bodies.get(&entry).map_or(0, |bodies| bodies.kept.len());
        own + self.inherited.get(&entry).unwrap_or(&0)
    }

    /// A body that callers of `entry` got before and that is the same as `new`: an edit taken back.
    pub fn same_body(&self, entry: Location, new: &Entity) -> Option<Body> {
        let bodies = self.bodies.get(&entry).filter(|_| !self.renewed)?;
        let original = bodies.original.iter().map(|entity| (Body::Original, entity));
        let later = bodies.later.iter().rev().map_while(|later| Some((later.body, later.entity.as_ref()?)));
        original.chain(later).find(|(_, old)| same(old, new)).map(|(body, _)| body)
    }
}

fn same(old: &Entity, new: &Entity) -> bool {
    let Some((a, b)) = old.section().zip(new.section()) else { return false };
    Comparer::new(&old.object.image, &new.object.image, Strictness::Exact)
        .same_function((a, &old.object.unwind), (b, &new.object.unwind))
}
