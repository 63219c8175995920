//! What a rebuild changed: by function and static, not by codegen unit.

use crate::delegate::Delegation;
use crate::live::{Entity, Live};
use crate::objects::{CodegenUnit, Identity, LoadError, Object, ObjectKey, Store};
use crate::renamed;
use crate::session::CrateObjects;
use livepatch_object::compare::{Comparer, Strictness, is_named};
use livepatch_object::demangle;
use livepatch_object::relocatable::{Place, SectionId, SectionKind, SymbolId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// A function whose code is to be replaced.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its new version.
    pub new: Entity,
    /// Whether only line numbers in panic locations differ.
    pub lines_only: bool,
}

/// What a rebuild changed.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// Functions that exist in the process and have new code.
    pub changed: Vec<Change>,
    /// Functions that nothing live has.
    pub fresh: Vec<Entity>,
    /// Read-only statics with a new value, by symbol name.
    pub replaced: FxHashSet<Box<str>>,
    /// Functions of which the old code stays for its callers of before, by symbol name: code that this
    /// patch makes live calls the new one.
    pub versioned: FxHashSet<Box<str>>,
    /// Objects that become live with the patch.
    pub units: Vec<(CodegenUnit, Identity, Arc<Object>)>,
    /// Definitions that other hosts need and that are not in this one yet.
    pub wanted: Vec<Entity>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Shims at the entries of versioned futures.
    pub delegations: Vec<Delegation>,
    /// Functions with an edit that values and callers of before do not get, demangled.
    pub both_versions: Vec<String>,
    /// Why new code would misunderstand old data: sentences without full stops.
    pub unsound: Vec<String>,
    /// Why the program must be restarted for this edit to be sound.
    pub restart: Option<String>,
}

impl Diff {
    /// Whether the process needs no change.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.wanted.is_empty() && self.restart.is_none()
    }

    /// Names that mean something else to the code of this patch than to the code of before.
    pub fn renewed(&self) -> impl Iterator<Item = &Box<str>> {
        self.replaced.iter().chain(&self.versioned)
    }

    /// Whether a name is one of [`Diff::renewed`].
    pub fn is_renewed(&self, name: &str) -> bool {
        self.replaced.contains(name) || self.versioned.contains(name)
    }
}

/// Compares rebuilt crates with what is live.
pub fn diff(live: &Live, rebuilt: &[CrateObjects], store: &Store) -> Result<Diff, LoadError> {
    let units = changed_units(live, rebuilt, store)?;
    let unsure = renamed::keep_names(live, rebuilt, &units);
    let mut diff = compare(live, units);
    diff.notes.extend(unsure);
    Ok(diff)
}

/// Compares objects with what is live of their codegen units.
pub fn compare(live: &Live, units: Vec<(CodegenUnit, Identity, Arc<Object>)>) -> Diff {
    let mut diff = Diff::default();
    // New statics and thread-locals: demangled name and size in bytes.
    let mut new_storage = FxHashMap::default();
    for (_, _, object) in &units {
        compare_object(live, object, &mut diff, &mut new_storage);
    }
    diff.units = units;
    if !new_storage.is_empty() {
        refuse_new_types(live, &new_storage, &mut diff);
    }
    diff
}

/// Says so when what runs already is what changed.
pub fn note_main(diff: &mut Diff, rebuilt: &[CrateObjects]) {
    let main_of = |name: &str| rebuilt.iter().any(|c| name == format!("{}::main", c.crate_name));
    if diff.changed.iter().any(|c| !c.lines_only && main_of(&demangle(c.new.name()))) {
        diff.notes.push(
            "`main` is running and is entered only once: its new body takes effect at the next start".into(),
        );
    }
}

/// The objects that are not what is live.
fn changed_units(
    live: &Live,
    rebuilt: &[CrateObjects],
    store: &Store,
) -> Result<Vec<(CodegenUnit, Identity, Arc<Object>)>, LoadError> {
    let mut changed = Vec::new();
    for krate in rebuilt {
        let units: Vec<CodegenUnit> =
            krate.objects.iter().map(|path| CodegenUnit::of(&krate.unit, path)).collect();
        let names: FxHashSet<&CodegenUnit> = units.iter().collect();
        let mut gone: Vec<&CodegenUnit> =
            live.units_of(&krate.unit).filter(|unit| !names.contains(unit)).collect();
        drop(names);
        for (mut unit, path) in units.into_iter().zip(&krate.objects) {
            // Objects are kept: what is at a name once is there for as long as the name is.
            if live.unit(&unit).is_some_and(|object| object.origin.as_os_str() == path.as_os_str()) {
                continue;
            }
            let identity = store.identity(path)?;
            if live.is_live(&unit, &identity) || gone.iter().any(|gone| live.is_live(gone, &identity)) {
                continue;
            }
            let (identity, object) = store.load(path)?;
            if live.unit(&unit).is_none()
                && let Some((at, old)) = predecessor(live, &gone, &krate.crate_name, &object)
            {
                object.succeed(old);
                unit = gone.swap_remove(at).clone();
            }
            changed.push((unit, identity, object));
        }
    }
    Ok(changed)
}

/// What an object of a new name was before. A unit that is merged from several is named after them all, so
/// that it gets another name when one of them comes or goes: it is the one that has most in common with it
/// of what is the crate's own. Copies of library code say nothing.
fn predecessor<'l>(
    live: &'l Live,
    gone: &[&CodegenUnit],
    krate: &str,
    object: &Arc<Object>,
) -> Option<(usize, &'l Arc<Object>)> {
    let own = format!("{krate}::");
    let names = |object: &Object| -> FxHashSet<Box<str>> {
        let names = object.definitions().map(|symbol| object.image.name(symbol));
        names.filter(|name| demangle(name).contains(&own)).map(Into::into).collect()
    };
    let new = if gone.is_empty() { FxHashSet::default() } else { names(object) };
    let olds = gone.iter().enumerate().filter_map(|(at, unit)| Some((at, live.unit(unit)?)));
    let common = olds.map(|(at, old)| (names(old).intersection(&new).count(), at, old));
    let (_, at, old) = common.filter(|(count, ..)| *count > 0).max_by_key(|(count, ..)| *count)?;
    Some((at, old))
}

/// One comparer per pair of objects: what it found out about private constants is used again.
struct Comparers<'o> {
    new: &'o Arc<Object>,
    exact: FxHashMap<ObjectKey, Comparer<'o>>,
    loose: FxHashMap<ObjectKey, Comparer<'o>>,
}

impl<'o> Comparers<'o> {
    fn same(&mut self, old: &'o Entity, old_section: SectionId, section: SectionId, loose: bool) -> bool {
        let (map, strictness) = if loose {
            (&mut self.loose, Strictness::IgnoreLocations)
        } else {
            (&mut self.exact, Strictness::Exact)
        };
        map.entry(ObjectKey::of(&old.object))
            .or_insert_with(|| Comparer::new(&old.object.image, &self.new.image, strictness))
            .same_function((old_section, &old.object.unwind), (section, &self.new.unwind))
    }
}

fn compare_object(
    live: &Live,
    object: &Arc<Object>,
    diff: &mut Diff,
    new_storage: &mut FxHashMap<String, u64>,
) {
    let image = &object.image;
    let mut comparers = Comparers { new: object, exact: FxHashMap::default(), loose: FxHashMap::default() };
    for symbol in object.definitions() {
        let Place::Section(section) = image.symbol(symbol).place else { continue };
        let name = image.name(symbol);
        let Some(old) = live.entity(name, object.scope(symbol)) else {
            match image.section(section).kind {
                SectionKind::Text => diff.fresh.push(Entity { object: object.clone(), symbol }),
                kind if is_storage(kind) => {
                    new_storage.insert(demangle(name), image.symbol(symbol).size);
                }
                _ => {}
            }
            continue;
        };
        let Place::Section(old_section) = old.object.image.symbol(old.symbol).place else { continue };
        let kind = image.section(section).kind;
        let same = comparers.same(old, old_section, section, false);
        match kind {
            _ if same => {}
            SectionKind::Text => {
                if let Some(other) = parted(old, object, symbol) {
                    let (this, other) = (demangle(name), demangle(&other));
                    let what = format!("the optimiser had made `{this}` and `{other}` one function");
                    diff.unsound.extend((!diff.unsound.contains(&what)).then_some(what));
                }
                let lines_only = comparers.same(old, old_section, section, true);
                let new = Entity { object: object.clone(), symbol };
                diff.changed.push(Change { new, lines_only });
            }
            SectionKind::ReadOnly => {
                diff.replaced.insert(name.into());
            }
            SectionKind::Constructors => {
                diff.notes.push(format!("`{}` has run already and is not run again", demangle(name)));
            }
            _ => compare_storage(old, object, symbol, diff),
        }
    }
}

/// Another function that was in the same place as a changed one, and is not any more. An optimising
/// compiler merges functions with the same code: who arrives there may mean either.
fn parted(old: &Entity, object: &Object, symbol: SymbolId) -> Option<String> {
    let (before, section) = (&old.object.image, old.section()?);
    let new = object.image.symbol(symbol);
    let is_beside = |other: &SymbolId| {
        object.definitions().any(|id| {
            let it = object.image.symbol(id);
            object.image.name(id) == before.name(*other) && (it.place, it.offset) == (new.place, new.offset)
        })
    };
    let there = before.symbols_at(section, before.symbol(old.symbol).offset);
    let mut others = there.filter(|&other| other != old.symbol && is_named(before, other));
    others.find(|other| !is_beside(other)).map(|other| before.name(other).to_owned())
}

fn is_storage(kind: SectionKind) -> bool {
    use SectionKind::{Bss, Data, TlsBss, TlsData};
    matches!(kind, Data | Bss | TlsData | TlsBss)
}

/// A new static whose path is that of a live one is the same static with another type: the hash in its
/// name covers the type. Its live value cannot be kept.
fn refuse_new_types(live: &Live, new: &FxHashMap<String, u64>, diff: &mut Diff) {
    for (_, object) in live.objects() {
        for symbol in object.definitions() {
            let known = object.image.symbol(symbol);
            let Place::Section(section) = known.place else { continue };
            if !is_storage(object.image.section(section).kind) {
                continue;
            }
            let path = demangle(object.image.name(symbol));
            if let Some(size) = new.get(&path) {
                diff.restart.get_or_insert_with(|| {
                    format!("`{}` changed its type: {} → {size} bytes", as_written(&path), known.size)
                });
            }
        }
    }
}

/// A static or thread-local that the program writes: its live value is kept.
fn compare_storage(old: &Entity, object: &Arc<Object>, symbol: SymbolId, diff: &mut Diff) {
    let (before, after) = (old.object.image.symbol(old.symbol).size, object.image.symbol(symbol).size);
    let name = demangle(object.image.name(symbol));
    let shown = as_written(&name);
    if before != after {
        diff.restart.get_or_insert(format!("`{shown}`: {before} → {after} bytes"));
    } else if !name.starts_with("DW.ref.") {
        let note = format!("`{shown}` has a new initial value; its live value is kept");
        // Codegen units may each have it.
        if !diff.notes.contains(&note) {
            diff.notes.push(note);
        }
    }
}

/// A static's name as its author knows it: thread-locals are inside of what their macro makes.
fn as_written(name: &str) -> &str {
    name.find("::{").map_or(name, |end| &name[..end])
}
