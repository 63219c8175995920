//! The table of types: one row per id, what it reaches as indices of other rows.

use super::entries::{Entries, Part, PartKind, TypeEntry};
use super::ids::Ids;
use super::{Layouts, TypeFacts, TypeId, TypeKind, hash};
use std::ops::Range;

/// A description of a type: its id, the hash of its layout, the index of its entry.
type Description = (TypeId, u64, usize);

pub(super) fn add(out: &mut Layouts, ids: &Ids<'_, '_>) {
    let entries = ids.entries;
    let parts = part_ranges(entries);
    let mut all: Vec<Description> = Vec::with_capacity(entries.types.len());
    for (index, entry) in entries.types.iter().enumerate() {
        if let Some(id) = ids.get(index) {
            all.push((id, layout(ids, entry, &entries.type_parts[parts[index].clone()]), index));
        }
    }
    all.sort_unstable();
    // A type that several units of the object describe is one type.
    all.dedup_by_key(|(id, layout, _)| (*id, *layout));
    let mut rows: Vec<TypeId> = all.iter().map(|(id, ..)| *id).collect();
    rows.dedup();
    let table = Table { ids, parts, rows };
    out.types.reserve_exact(table.rows.len());
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        let Some((&(id, layout, index), others)) = same.split_first() else { continue };
        out.other_layouts.extend(others.iter().map(|(id, layout, _)| (*id, *layout)));
        let entry = &entries.types[index];
        let mut edges = [out.edges.len() as u32; 4];
        for (list, kind) in [Edge::Embedded, Edge::PointedTo, Edge::Generic].into_iter().enumerate() {
            table.edges(same, kind, &mut out.edges);
            edges[list + 1] = out.edges.len() as u32;
        }
        out.types.push(TypeFacts {
            id,
            layout,
            size: entry.size,
            align: u32::try_from(entry.align).unwrap_or(u32::MAX),
            kind: entry.kind,
            ambiguous: !others.is_empty(),
            edges,
        });
    }
}

/// Where the parts of each type are: they stand together, in the order of the types.
fn part_ranges(entries: &Entries<'_>) -> Vec<Range<usize>> {
    let mut at = 0;
    let mut next = |index: usize| {
        let rest = &entries.type_parts[at..];
        let start = at;
        at += rest.iter().take_while(|part| part.owner as usize == index).count();
        start..at
    };
    (0..entries.types.len()).map(&mut next).collect()
}

/// The hash of a type's own layout: what it embeds counts by name.
fn layout(ids: &Ids<'_, '_>, entry: &TypeEntry<'_>, parts: &[Part<'_>]) -> u64 {
    let id = |offset| ids.at(offset).map_or(0, |id| id.0);
    let mut sum = 0u64;
    for part in parts.iter().filter(|part| part.kind != PartKind::Generic) {
        let (selected, discriminant) = part.discriminant.map_or((0, 0), |value| (1, value));
        let [kind, name] = [part.kind as u64, hash::text(part.name)];
        let part = hash::sequence([kind, name, part.value, id(part.target), selected, discriminant]);
        sum = sum.wrapping_add(part);
    }
    let own = [u64::from(entry.tag.0), entry.size, entry.align, entry.encoding, id(entry.target), sum];
    hash::sequence(own)
}

/// How a type reaches another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Embedded,
    PointedTo,
    Generic,
}

/// How a type reaches its own target.
fn edge_of_type(kind: TypeKind) -> Option<Edge> {
    match kind {
        TypeKind::Array | TypeKind::Alias => Some(Edge::Embedded),
        TypeKind::Pointer | TypeKind::Function => Some(Edge::PointedTo),
        _ => None,
    }
}

/// How a type reaches the target of a part of it.
fn edge_of_part(kind: PartKind) -> Option<Edge> {
    match kind {
        PartKind::Member | PartKind::Variant | PartKind::Discriminant => Some(Edge::Embedded),
        PartKind::Parameter => Some(Edge::PointedTo),
        PartKind::Generic => Some(Edge::Generic),
        PartKind::Enumerator | PartKind::Count => None,
    }
}

struct Table<'i, 'e, 's> {
    ids: &'i Ids<'e, 's>,
    parts: Vec<Range<usize>>,
    /// All ids, ascending.
    rows: Vec<TypeId>,
}

impl Table<'_, '_, '_> {
    /// Adds the rows that the descriptions of one type reach in one way, each once.
    fn edges(&self, descriptions: &[Description], kind: Edge, out: &mut Vec<u32>) {
        let entries = self.ids.entries;
        let start = out.len();
        for &(_, _, index) in descriptions {
            let entry = &entries.types[index];
            let own = (edge_of_type(entry.kind) == Some(kind)).then_some(entry.target);
            let parts = entries.type_parts[self.parts[index].clone()].iter();
            let parts = parts.filter(|part| edge_of_part(part.kind) == Some(kind)).map(|part| part.target);
            let targets = own.into_iter().chain(parts).filter_map(|offset| self.ids.at(offset));
            let rows = targets.filter_map(|id| self.rows.binary_search(&id).ok());
            out.extend(rows.map(|row| row as u32));
        }
        out[start..].sort_unstable();
        let mut kept = start;
        for at in start..out.len() {
            if kept == start || out[kept - 1] != out[at] {
                out[kept] = out[at];
                kept += 1;
            }
        }
        out.truncate(kept);
    }
}
