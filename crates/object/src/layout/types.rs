//! The table of types: one row per id, what it reaches as indices of other rows.
//!
//! Variants of enums and states of coroutines have no rows: their fields are the enum's.

use super::entries::{Entries, EntryOffset, Part, PartKind, TypeEntry};
use super::ids::Ids;
use super::{Layouts, TypeFacts, TypeId, TypeKind, hash};
use std::ops::Range;

/// A description of a type: its id, the hash of its layout, the index of its entry.
type Description = (TypeId, u64, usize);

pub(super) fn add(out: &mut Layouts, ids: &Ids<'_, '_>) {
    let table = Table::of(ids);
    let mut all: Vec<Description> = Vec::with_capacity(ids.entries.types.len());
    for index in (0..ids.entries.types.len()).filter(|&index| !table.is_variant[index]) {
        if let Some(id) = ids.get(index) {
            all.push((id, table.layout(index), index));
        }
    }
    all.sort_unstable();
    // A type that several units of the object describe is one type.
    all.dedup_by_key(|(id, layout, _)| (*id, *layout));
    let mut rows: Vec<TypeId> = all.iter().map(|(id, ..)| *id).collect();
    rows.dedup();
    out.types.reserve_exact(rows.len());
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        let Some((&(id, layout, index), others)) = same.split_first() else { continue };
        out.other_layouts.extend(others.iter().map(|(id, layout, _)| (*id, *layout)));
        let mut edges = [out.edges.len() as u32; 4];
        for (list, kind) in [Edge::Embedded, Edge::PointedTo, Edge::Generic].into_iter().enumerate() {
            let start = out.edges.len();
            for &(_, _, index) in same {
                table.add_edges(index, kind, &rows, &mut out.edges);
            }
            sort_and_dedup(&mut out.edges, start);
            edges[list + 1] = out.edges.len() as u32;
        }
        let entry = &ids.entries.types[index];
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
        PartKind::Member | PartKind::Discriminant => Some(Edge::Embedded),
        PartKind::Parameter => Some(Edge::PointedTo),
        PartKind::Generic => Some(Edge::Generic),
        PartKind::Variant | PartKind::Enumerator | PartKind::Count => None,
    }
}

struct Table<'i, 'e, 's> {
    ids: &'i Ids<'e, 's>,
    /// By index of the type: where its parts are.
    parts: Vec<Range<usize>>,
    /// By index of the type.
    is_variant: Vec<bool>,
}

impl<'i, 'e, 's> Table<'i, 'e, 's> {
    fn of(ids: &'i Ids<'e, 's>) -> Self {
        let types = &ids.entries.types;
        let mut is_variant = vec![false; types.len()];
        for part in ids.entries.type_parts.iter().filter(|part| part.kind == PartKind::Variant) {
            if let Some(index) = variant(ids, part.target) {
                is_variant[index] = true;
            }
        }
        Self { ids, parts: part_ranges(ids.entries), is_variant }
    }

    fn parts(&self, index: usize) -> &'e [Part<'s>] {
        &self.ids.entries.type_parts[self.parts[index].clone()]
    }

    /// The hash of a type's own layout: what it embeds counts by name, variants by their fields.
    fn layout(&self, index: usize) -> u64 {
        let entry = &self.ids.entries.types[index];
        let mut sum = 0u64;
        for part in self.parts(index).iter().filter(|part| part.kind != PartKind::Generic) {
            let fields = match part.kind {
                PartKind::Variant => variant(self.ids, part.target).map_or(0, |index| self.fields(index)),
                _ => 0,
            };
            sum = sum.wrapping_add(self.part(part, fields));
        }
        let target = self.id(entry.target);
        hash::sequence([u64::from(entry.tag.0), entry.size, entry.align, entry.encoding, target, sum])
    }

    /// The hash of a variant's fields. Its size is the enum's.
    fn fields(&self, index: usize) -> u64 {
        let fields = self.parts(index).iter().filter(|part| part.kind == PartKind::Member);
        fields.fold(0, |sum, part| sum.wrapping_add(self.part(part, 0)))
    }

    fn part(&self, part: &Part<'_>, fields: u64) -> u64 {
        let (selected, discriminant) = part.discriminant.map_or((0, 0), |value| (1, value));
        let [kind, name] = [part.kind as u64, hash::text(part.name)];
        hash::sequence([kind, name, part.value, self.id(part.target), selected, discriminant, fields])
    }

    fn id(&self, offset: EntryOffset) -> u64 {
        self.ids.at(offset).map_or(0, |id| id.0)
    }

    /// Adds the rows that a type reaches in one way.
    fn add_edges(&self, index: usize, kind: Edge, rows: &[TypeId], out: &mut Vec<u32>) {
        let entry = &self.ids.entries.types[index];
        let own = (edge_of_type(entry.kind) == Some(kind)).then_some(entry.target);
        let of = |parts: &'e [Part<'s>]| {
            parts.iter().filter(move |part| edge_of_part(part.kind) == Some(kind)).map(|part| part.target)
        };
        let variants = self.parts(index).iter().filter(|part| part.kind == PartKind::Variant);
        let variants = variants.filter_map(|part| variant(self.ids, part.target));
        let targets = of(self.parts(index)).chain(variants.flat_map(|variant| of(self.parts(variant))));
        let ids = own.into_iter().chain(targets).filter_map(|offset| self.ids.at(offset));
        out.extend(ids.filter_map(|id| rows.binary_search(&id).ok()).map(|row| row as u32));
    }
}

/// The entry of a variant's fields: a struct within the enum.
pub(super) fn variant(ids: &Ids<'_, '_>, target: EntryOffset) -> Option<usize> {
    ids.index(target).filter(|&index| is_within_type(&ids.entries.types[index]))
}

fn is_within_type(entry: &TypeEntry<'_>) -> bool {
    entry.is_nested && entry.kind == TypeKind::Struct
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

fn sort_and_dedup(list: &mut Vec<u32>, start: usize) {
    list[start..].sort_unstable();
    let mut kept = start;
    for at in start..list.len() {
        if kept == start || list[kept - 1] != list[at] {
            list[kept] = list[at];
            kept += 1;
        }
    }
    list.truncate(kept);
}
