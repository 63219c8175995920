//! Functions with code: how they are called, and what they are instances of.

use super::entries::{self, Entries, EntryOffset, FunctionEntry, Part, PartKind};
use super::ids::Ids;
use super::names::{numbered, without_arguments};
use super::sections::Target;
use super::{Closure, FunctionFacts, Layouts, PathId, TypeId, TypeKind, hash};
use crate::ObjectError;
use crate::relocatable::{Place, Relocatable, SymbolId};
use gimli::constants::DW_CC_nocall;
use rustc_hash::{FxHashMap, FxHashSet};

/// Out of line → abstract → declaration: no chain is longer.
const MAX_ORIGINS: usize = 4;

/// How many parameters and generic arguments are looked at: only malformed input has more.
const MAX_PARTS: usize = 1024;

/// How many names of one place are looked at.
const MAX_ALIASES: usize = 64;

/// All defined names of an object, listed when the first is wanted: few functions need them.
type NameTable<'o> = Option<FxHashMap<&'o [u8], SymbolId>>;

/// What the entries of one function say together.
struct Form<'e, 's> {
    name: &'s [u8],
    /// The path of what it is declared in.
    scope: u64,
    parameters: Vec<&'e Part<'s>>,
    generics: Vec<&'e Part<'s>>,
    result: EntryOffset,
    convention: u8,
}

impl<'e, 's> Form<'e, 's> {
    fn of(entries: &'e Entries<'s>, function: &'e FunctionEntry<'s>) -> Self {
        let mut form = Self {
            name: b"",
            scope: hash::ROOT,
            parameters: Vec::new(),
            generics: Vec::new(),
            result: 0,
            convention: 0,
        };
        // The declaration comes last, and knows most: an instance may lack parameters that are not used,
        // and the result stands at the declaration only.
        for entry in origins(entries, function) {
            let index = entries.functions.partition_point(|other| other.offset < entry.offset);
            let parts = &entries.function_parts[Entries::parts(&entries.function_parts, index as u32)];
            let of = |kind| {
                let parts = parts.iter().filter(move |part| part.kind == kind && part.target != 0);
                parts.take(MAX_PARTS)
            };
            form.scope = entries.scopes[entry.scope as usize].path;
            for (list, kind) in
                [(&mut form.parameters, PartKind::Parameter), (&mut form.generics, PartKind::Generic)]
            {
                let mut found = of(kind).peekable();
                if found.peek().is_some() {
                    list.clear();
                    list.extend(found);
                }
            }
            if !entry.name.is_empty() {
                form.name = entry.name;
            }
            if entry.result != 0 {
                form.result = entry.result;
            }
            form.convention = form.convention.max(entry.convention);
        }
        form
    }

    /// A hash of how it is called.
    fn signature(&self, ids: &Ids<'_, '_>) -> u64 {
        let id = |offset| ids.at(offset).map_or(0, |id| id.0);
        let form = [u64::from(self.convention), id(self.result), self.parameters.len() as u64];
        hash::sequence(form.into_iter().chain(self.parameters.iter().map(|part| id(part.target))))
    }
}

/// The entries that describe one function, the one with code first.
fn origins<'e, 's>(
    entries: &'e Entries<'s>,
    function: &'e FunctionEntry<'s>,
) -> impl Iterator<Item = &'e FunctionEntry<'s>> {
    let origin = |entry: &&FunctionEntry<'s>| {
        let index = entries.functions.binary_search_by_key(&entry.origin, |other| other.offset).ok()?;
        Some(&entries.functions[index])
    };
    std::iter::successors(Some(function), origin).take(MAX_ORIGINS)
}

fn has_code(function: &FunctionEntry<'_>) -> bool {
    function.code.is_some() || function.scattered
}

/// The symbol of a function with code.
fn symbol<'o, 's>(
    entries: &Entries<'s>,
    function: &FunctionEntry<'s>,
    image: &'o Relocatable,
    names: &mut NameTable<'o>,
) -> Option<SymbolId> {
    match function.code {
        Some(place) => symbol_at(image, place, || linkage_name(entries, function)),
        None => named(image, names, linkage_name(entries, function)),
    }
}

fn linkage_name<'s>(entries: &Entries<'s>, function: &FunctionEntry<'s>) -> &'s [u8] {
    let text = origins(entries, function).find_map(|entry| entry.linkage_name);
    text.and_then(|text| entries.sections.string(text)).unwrap_or_default()
}

/// The symbol of what is at a place; where there are several, the one with the name.
pub(super) fn symbol_at<'s>(
    image: &Relocatable,
    place: Target,
    name: impl FnOnce() -> &'s [u8],
) -> Option<SymbolId> {
    let mut all = image.symbols_at(place.section, place.offset).take(MAX_ALIASES);
    let first = all.next()?;
    let mut others = all.peekable();
    if others.peek().is_none() {
        return Some(first);
    }
    let name = name();
    let mut all = std::iter::once(first).chain(others);
    Some(all.find(|&symbol| image.name(symbol).as_bytes() == name).unwrap_or(first))
}

fn named<'o>(image: &'o Relocatable, names: &mut NameTable<'o>, name: &[u8]) -> Option<SymbolId> {
    let names = names.get_or_insert_with(|| {
        let defined = image.symbols().filter(|(_, symbol)| matches!(symbol.place, Place::Section(_)));
        defined.map(|(id, _)| (image.name(id).as_bytes(), id)).collect()
    });
    names.get(name).copied().filter(|_| !name.is_empty())
}

pub(super) fn add(out: &mut Layouts, ids: &Ids<'_, '_>, image: &Relocatable) -> Result<(), ObjectError> {
    let entries = ids.entries;
    let mut names = None;
    let mut known = FxHashSet::default();
    for function in entries.functions.iter().filter(|it| has_code(it)) {
        let symbol = symbol(entries, function, image, &mut names);
        let Some(symbol) = symbol.filter(|symbol| known.insert(*symbol)) else { continue };
        let form = Form::of(entries, function);
        let id = |part: &&Part<'_>| ids.at(part.target);
        let mut lists = [entries::index(out.lists.len())?; 3];
        out.lists.extend(form.parameters.iter().filter_map(id).chain(ids.at(form.result)));
        lists[1] = entries::index(out.lists.len())?;
        out.lists.extend(form.generics.iter().filter_map(id));
        lists[2] = entries::index(out.lists.len())?;
        let drops = form.generics.first().filter(|_| form.name.starts_with(b"drop_in_place<"));
        let body = numbered(form.name).and_then(|name| Some((name.index, name.environment()?)));
        out.functions.push(FunctionFacts {
            symbol,
            path: PathId(hash::path(form.scope, without_arguments(form.name))),
            owner: PathId(form.scope),
            signature: form.signature(ids),
            irregular: form.convention == DW_CC_nocall.0,
            drops: drops.and_then(id),
            body: body.map(|(index, name)| (index, TypeId(hash::path(form.scope, &name)))),
            lists,
        });
    }
    out.functions.sort_by_key(|function| function.symbol);
    Ok(())
}

/// Closures and coroutines: those with code here, and those of which only the environment is described.
pub(super) fn add_closures(out: &mut Layouts, ids: &Ids<'_, '_>) {
    let entries = ids.entries;
    for function in &out.functions {
        if let Some((index, environment)) = function.body {
            let closure = Closure { index, environment, symbol: Some(function.symbol) };
            out.closures.push((function.owner, closure));
        }
    }
    for (index, entry) in entries.types.iter().enumerate() {
        if matches!(entry.kind, TypeKind::Closure | TypeKind::Coroutine)
            && let Some(environment) = ids.get(index)
            && let Some(name) = numbered(entry.name)
        {
            let owner = PathId(entries.scopes[entry.scope as usize].path);
            out.closures.push((owner, Closure { index: name.index, environment, symbol: None }));
        }
    }
    // A closure with code comes before its bare environment.
    let order =
        |(owner, it): &(PathId, Closure)| (*owner, it.index, it.environment, it.symbol.is_none(), it.symbol);
    out.closures.sort_unstable_by_key(order);
    out.closures.dedup_by(|later, kept| {
        (later.0, later.1.environment) == (kept.0, kept.1.environment)
            && (later.1.symbol.is_none() || later.1.symbol == kept.1.symbol)
    });
}
