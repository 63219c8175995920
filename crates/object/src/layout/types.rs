//! The table of types: one row per id, what it reaches as indices of other rows.
//!
//! Variants of enums and states of coroutines have no rows: their fields are the enum's.

use super::entries::{Part, PartKind};
use super::ids::Ids;
use super::{Layouts, TypeFacts, TypeId, TypeKind, hash};

/// A description of a type: its id, the hash of its layout, the index of its entry.
type Description = (TypeId, u64, usize);

pub(super) fn add(out: &mut Layouts, ids: &Ids<'_, '_>) {
    let mut table = Table::of(ids);
    let mut all: Vec<Description> = Vec::with_capacity(ids.entries.types.len());
    for index in (0..ids.entries.types.len()).filter(|&index| table.rows[index] != VARIANT) {
        if let Some(id) = ids.get(index) {
            all.push((id, table.layout(index), index));
        }
    }
    all.sort_unstable();
    for (row, same) in (0u32..).zip(all.chunk_by(|a, b| a.0 == b.0)) {
        same.iter().for_each(|&(_, _, index)| table.rows[index] = row);
    }
    // A type that several units of the object describe is one type.
    all.dedup_by_key(|(id, layout, _)| (*id, *layout));
    let mut lists = Lists::default();
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        let Some((&(id, layout, index), others)) = same.split_first() else { continue };
        out.other_layouts.extend(others.iter().map(|(id, layout, _)| (*id, *layout)));
        for &(_, _, index) in same {
            table.collect(index, &mut lists);
        }
        let mut edges = [out.edges.len() as u32; 4];
        for (list, end) in lists.iter_mut().zip(&mut edges[1..]) {
            list.sort_unstable();
            list.dedup();
            out.edges.append(list);
            *end = out.edges.len() as u32;
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

/// The rows that a type reaches: those within it, behind it, and its generic arguments.
type Lists = [Vec<u32>; 3];
const EMBEDDED: usize = 0;
const POINTED_TO: usize = 1;
const GENERIC: usize = 2;

/// How a type reaches the target of its own.
fn list_of_type(kind: TypeKind) -> Option<usize> {
    match kind {
        TypeKind::Array | TypeKind::Alias => Some(EMBEDDED),
        TypeKind::Pointer | TypeKind::Function => Some(POINTED_TO),
        _ => None,
    }
}

/// How a type reaches the target of a part of it.
fn list_of_part(kind: PartKind) -> Option<usize> {
    match kind {
        PartKind::Member | PartKind::Discriminant => Some(EMBEDDED),
        PartKind::Parameter => Some(POINTED_TO),
        PartKind::Generic => Some(GENERIC),
        PartKind::Variant | PartKind::Enumerator | PartKind::Count => None,
    }
}

/// In [`Table::rows`]: has no row, is part of an enum.
const VARIANT: u32 = u32::MAX;

struct Table<'i, 'e, 's> {
    ids: &'i Ids<'e, 's>,
    /// By index of the type.
    rows: Vec<u32>,
    /// By index of the type: the hash of a variant's fields.
    fields: Vec<u64>,
}

impl<'i, 'e, 's> Table<'i, 'e, 's> {
    fn of(ids: &'i Ids<'e, 's>) -> Self {
        let mut rows = vec![0; ids.entries.types.len()];
        for part in ids.entries.type_parts.iter().filter(|part| part.kind == PartKind::Variant) {
            if let Some(index) = variant(ids, part) {
                rows[index] = VARIANT;
            }
        }
        let mut table = Self { ids, rows, fields: vec![0; ids.entries.types.len()] };
        for index in (0..table.rows.len()).filter(|&index| table.rows[index] == VARIANT) {
            table.fields[index] = table.fields(index);
        }
        table
    }

    /// The hash of a type's own layout: what it embeds counts by name, variants by their fields.
    fn layout(&self, index: usize) -> u64 {
        let entry = &self.ids.entries.types[index];
        let mut sum = 0u64;
        for (part, target) in self.ids.targets(index).filter(|(part, _)| part.kind != PartKind::Generic) {
            let fields = self.variant(part, target).map_or(0, |variant| self.fields[variant]);
            sum = sum.wrapping_add(self.part(part, target, fields));
        }
        let target = self.id(self.ids.index(entry.target));
        hash::sequence([u64::from(entry.tag.0), entry.size, entry.align, entry.encoding, target, sum])
    }

    /// The hash of a variant's fields. Its size is the enum's.
    fn fields(&self, index: usize) -> u64 {
        let fields = self.ids.targets(index).filter(|(part, _)| part.kind == PartKind::Member);
        fields.fold(0, |sum, (part, target)| sum.wrapping_add(self.part(part, target, 0)))
    }

    fn part(&self, part: &Part<'_>, target: Option<usize>, fields: u64) -> u64 {
        let (selected, discriminant) = part.discriminant.map_or((0, 0), |value| (1, value));
        let kind = part.kind as u64 * 2 + selected;
        hash::sequence([kind, hash::text(part.name), part.value, self.id(target), discriminant, fields])
    }

    fn id(&self, index: Option<usize>) -> u64 {
        index.and_then(|index| self.ids.get(index)).map_or(0, |id| id.0)
    }

    fn variant(&self, part: &Part<'_>, target: Option<usize>) -> Option<usize> {
        target.filter(|&index| part.kind == PartKind::Variant && is_variant(self.ids, part, index))
    }

    /// Adds the rows that a type reaches.
    fn collect(&self, index: usize, lists: &mut Lists) {
        let entry = &self.ids.entries.types[index];
        if let Some(list) = list_of_type(entry.kind)
            && let Some(target) = self.ids.index(entry.target)
        {
            self.push(target, &mut lists[list]);
        }
        let mut variants = Vec::new();
        for (part, target) in self.ids.targets(index) {
            variants.extend(self.variant(part, target));
            self.collect_part(part, target, lists);
        }
        variants.sort_unstable();
        variants.dedup();
        for variant in variants {
            self.ids.targets(variant).for_each(|(part, target)| self.collect_part(part, target, lists));
        }
    }

    fn collect_part(&self, part: &Part<'_>, target: Option<usize>, lists: &mut Lists) {
        if let (Some(list), Some(target)) = (list_of_part(part.kind), target) {
            self.push(target, &mut lists[list]);
        }
    }

    fn push(&self, target: usize, list: &mut Vec<u32>) {
        list.extend(Some(self.rows[target]).filter(|&row| row != VARIANT));
    }
}

/// The entry of a variant's fields: a struct within the enum.
pub(super) fn variant(ids: &Ids<'_, '_>, part: &Part<'_>) -> Option<usize> {
    ids.index(part.target).filter(|&index| is_variant(ids, part, index))
}

fn is_variant(ids: &Ids<'_, '_>, part: &Part<'_>, index: usize) -> bool {
    let entry = &ids.entries.types[index];
    entry.outer == Some(part.owner) && entry.kind == TypeKind::Struct
}
