//! From entries to facts: references become type ids, parts become hashes, lists become compact.

use super::entries::{Entries, EntryOffset, FunctionEntry, Part, PartKind, VariableEntry};
use super::ids::Ids;
use super::names::{environment_kind, numbered, without_arguments};
use super::sections::Target;
use super::{
    Closure, FunctionFacts, Layouts, PathId, StaticFacts, TypeId, TypeKind, VtableFacts, VtableSlot, hash,
    types,
};
use crate::compare::referent;
use crate::relocatable::{Place, Relocatable, SymbolId};
use crate::unwind::relocations_within;
use rustc_hash::FxHashMap;
use std::ops::Range;

pub(super) fn layouts(image: &Relocatable, entries: &Entries<'_>) -> Layouts {
    let ids = Ids::of(entries);
    let mut out = Layouts::default();
    types::add(&mut out, &ids);
    add_functions(&mut out, &ids, image);
    add_variables(&mut out, &ids, image);
    add_closures(&mut out, &ids);
    out.shrink();
    out
}

/// The entries that describe one function, the most abstract first.
fn origins<'e, 's>(
    entries: &'e Entries<'s>,
    function: &'e FunctionEntry<'s>,
) -> Vec<(usize, &'e FunctionEntry<'s>)> {
    let position =
        |offset: EntryOffset| entries.functions.binary_search_by_key(&offset, |entry| entry.offset).ok();
    let mut chain = Vec::with_capacity(3);
    let mut next = position(function.offset);
    // Out of line → abstract → declaration.
    while let Some(index) = next.filter(|_| chain.len() < 4) {
        let entry = &entries.functions[index];
        chain.push((index, entry));
        next = if entry.origin == 0 { None } else { position(entry.origin) };
    }
    chain.reverse();
    chain
}

fn add_functions(out: &mut Layouts, ids: &Ids<'_, '_>, image: &Relocatable) {
    let entries = ids.entries;
    let mut by_name = None;
    for function in entries.functions.iter().filter(|entry| entry.code.is_some() || entry.scattered) {
        let chain = origins(entries, function);
        let linkage_name = first_text(chain.iter().map(|(_, entry)| entry.linkage_name));
        let symbol = match function.code {
            Some(place) => symbol_at(image, place, linkage_name),
            None => named(image, &mut by_name, linkage_name),
        };
        let Some(symbol) = symbol else { continue };
        let Some(&(_, root)) = chain.first() else { continue };
        let name = first_text(chain.iter().map(|(_, entry)| entry.name));
        let scope = entries.scopes[root.scope as usize].path;
        let part_lists = chain.iter().map(|&(index, _)| {
            &entries.function_parts[Entries::parts(&entries.function_parts, index as u32)]
        });
        let list = |kind| {
            let mut lists = part_lists.clone().map(|parts| {
                parts.iter().filter(|part| part.kind == kind && part.target != 0).collect::<Vec<_>>()
            });
            lists.find(|list| !list.is_empty()).unwrap_or_default()
        };
        let result = chain.iter().map(|(_, entry)| entry.result).find(|&result| result != 0);
        let result = result.and_then(|offset| ids.at(offset));
        let parameters = list(PartKind::Parameter);
        let convention = chain.iter().map(|(_, entry)| entry.convention).max().unwrap_or(0);
        let id = |part: &&Part<'_>| ids.at(part.target);
        let signature = parameters.iter().map(|part| id(part).map_or(0, |id| id.0));
        let signature = hash::sequence(
            [u64::from(convention), result.map_or(0, |id| id.0), parameters.len() as u64]
                .into_iter()
                .chain(signature),
        );
        let generics: Vec<TypeId> = list(PartKind::Generic).iter().filter_map(id).collect();
        let start = out.lists.len() as u32;
        out.lists.extend(parameters.iter().filter_map(id).chain(result));
        let middle = out.lists.len() as u32;
        let drops = name.starts_with(b"drop_in_place<").then(|| generics.first().copied()).flatten();
        out.lists.extend(generics);
        let environment = numbered(name).and_then(|it| it.environment());
        out.functions.push(FunctionFacts {
            symbol,
            path: PathId(hash::path(scope, without_arguments(name))),
            owner: PathId(scope),
            signature,
            irregular: convention == gimli::constants::DW_CC_nocall.0,
            drops,
            environment: environment.map(|name| TypeId(hash::path(scope, &name))),
            lists: [start, middle, out.lists.len() as u32],
            number: numbered(name).map_or(0, |it| it.index),
        });
    }
    out.functions.sort_by_key(|function| function.symbol);
    out.functions.dedup_by_key(|function| function.symbol);
}

fn first_text<'s>(mut texts: impl Iterator<Item = &'s [u8]>) -> &'s [u8] {
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

/// The symbol of what is at a place; where there are several, the one with the name.
fn symbol_at(image: &Relocatable, place: Target, name: &[u8]) -> Option<SymbolId> {
    let mut all = image.symbols_at(place.section, place.offset).take(MAX_ALIASES);
    let first = all.next()?;
    if image.name(first).as_bytes() == name {
        return Some(first);
    }
    Some(all.find(|&symbol| image.name(symbol).as_bytes() == name).unwrap_or(first))
}

/// How many names of one place are looked at.
const MAX_ALIASES: usize = 64;

/// The symbol with a name. All names are listed when the first is wanted: few functions need it.
fn named<'o>(
    image: &'o Relocatable,
    names: &mut Option<FxHashMap<&'o [u8], SymbolId>>,
    name: &[u8],
) -> Option<SymbolId> {
    let names = names.get_or_insert_with(|| {
        let defined = image.symbols().filter(|(_, symbol)| matches!(symbol.place, Place::Section(_)));
        defined.map(|(id, _)| (image.name(id).as_bytes(), id)).collect()
    });
    names.get(name).copied().filter(|_| !name.is_empty())
}

fn add_variables(out: &mut Layouts, ids: &Ids<'_, '_>, image: &Relocatable) {
    for variable in &ids.entries.variables {
        if variable.name.ends_with(b"{vtable}") {
            add_vtable(out, ids, image, variable);
        } else if let Some(ty) = ids.at(variable.target)
            && let Some(symbol) = symbol_at(image, variable.place, variable.linkage_name)
        {
            out.statics.push(StaticFacts { symbol, ty });
        }
    }
    out.statics.sort_by_key(|it| it.symbol);
    out.statics.dedup_by_key(|it| it.symbol);
    out.vtables.sort_by_key(|it| (it.name, it.section, it.offset));
}

fn add_vtable(out: &mut Layouts, ids: &Ids<'_, '_>, image: &Relocatable, variable: &VariableEntry<'_>) {
    let entries = ids.entries;
    let Some(ty) = ids.index(variable.target).map(|index| &entries.types[index]) else { return };
    let Target { section, offset } = variable.place;
    let field = |at: u64| usize::try_from(at).ok();
    let Some((start, end)) = field(offset.0).zip(offset.checked_add(ty.size).and_then(|end| field(end.0)))
    else {
        return;
    };
    let first = out.slots.len() as u32;
    for relocation in relocations_within(image, section, &Range { start, end }) {
        let Some(offset) = relocation.offset.checked_since(offset) else { continue };
        out.slots.push(VtableSlot { offset, referent: referent(image, section, relocation) });
    }
    out.vtables.push(VtableFacts {
        name: PathId(hash::segments(entries.scopes[variable.scope as usize].path, variable.name)),
        section,
        offset,
        size: ty.size,
        concrete: ids.at(ty.containing),
        slots: [first, out.slots.len() as u32],
    });
}

/// Closures and coroutines: those with code here, and those of which only the environment is described.
fn add_closures(out: &mut Layouts, ids: &Ids<'_, '_>) {
    let entries = ids.entries;
    for function in &out.functions {
        if let Some(environment) = function.environment {
            out.closures.push((
                function.owner,
                Closure { index: function.number, environment, symbol: Some(function.symbol) },
            ));
        }
    }
    for (index, entry) in entries.types.iter().enumerate() {
        if let Some(environment) = ids.get(index)
            && matches!(entry.kind, TypeKind::Closure | TypeKind::Coroutine)
            && environment_kind(entry.name).is_some()
            && let Some(name) = numbered(entry.name)
        {
            let owner = PathId(entries.scopes[entry.scope as usize].path);
            out.closures.push((owner, Closure { index: name.index, environment, symbol: None }));
        }
    }
    // A closure with code comes before its bare environment.
    out.closures
        .sort_by_key(|(owner, it)| (*owner, it.index, it.environment, it.symbol.is_none(), it.symbol));
    out.closures.dedup_by(|later, kept| {
        later.0 == kept.0
            && later.1.environment == kept.1.environment
            && (later.1.symbol.is_none() || later.1.symbol == kept.1.symbol)
    });
}
