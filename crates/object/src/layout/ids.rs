//! Which type is it? Named types are known by their qualified name, others by what they consist of.

use super::entries::{Entries, EntryOffset, Part, TypeEntry};
use super::{TypeId, TypeKind, hash};
use std::ops::Range;

/// How many unnamed types may stand within one another: only malformed input has more.
const MAX_NESTING: u32 = 64;

/// Entries that begin within so many bytes (its logarithm) share a bucket of the index.
const BUCKET: u32 = 6;

const NO_TYPE: u32 = u32::MAX;

/// The id of every type.
pub(super) struct Ids<'e, 's> {
    pub(super) entries: &'e Entries<'s>,
    /// By bucket: the first type in it or behind it.
    buckets: Vec<u32>,
    /// By index of the type: where its parts are.
    parts: Vec<Range<u32>>,
    /// By index of the part: the index of the type it refers to, or [`NO_TYPE`].
    targets: Vec<u32>,
    /// By index of the type.
    ids: Vec<Option<TypeId>>,
}

impl<'e, 's> Ids<'e, 's> {
    pub(super) fn of(entries: &'e Entries<'s>) -> Self {
        let (buckets, parts) = (buckets(&entries.types), part_ranges(entries));
        let mut this =
            Self { entries, buckets, parts, targets: Vec::new(), ids: vec![None; entries.types.len()] };
        let target = |part: &Part<'_>| this.index(part.target).map_or(NO_TYPE, |index| index as u32);
        this.targets = entries.type_parts.iter().map(target).collect();
        for index in 0..entries.types.len() {
            this.resolve(index, 0);
        }
        this
    }

    /// The index of the type at an offset.
    pub(super) fn index(&self, offset: EntryOffset) -> Option<usize> {
        let start = *self.buckets.get((offset >> BUCKET) as usize)? as usize;
        let mut types = self.entries.types[start..].iter();
        types
            .position(|entry| entry.offset >= offset)
            .map(|at| start + at)
            .filter(|&index| self.entries.types[index].offset == offset)
    }

    /// The id of the type at an offset.
    pub(super) fn at(&self, offset: EntryOffset) -> Option<TypeId> {
        self.get(self.index(offset)?)
    }

    /// The id of the type with an index.
    pub(super) fn get(&self, index: usize) -> Option<TypeId> {
        self.ids[index]
    }

    /// The parts of the type with an index.
    pub(super) fn parts(&self, index: usize) -> &'e [Part<'s>] {
        let range = &self.parts[index];
        &self.entries.type_parts[range.start as usize..range.end as usize]
    }

    /// The parts of the type with an index, and the index of the type that each refers to.
    pub(super) fn targets(&self, index: usize) -> impl Iterator<Item = (&'e Part<'s>, Option<usize>)> {
        let range = &self.parts[index];
        let targets = self.targets[range.start as usize..range.end as usize].iter();
        let targets = targets.map(|&index| (index != NO_TYPE).then_some(index as usize));
        self.parts(index).iter().zip(targets)
    }

    fn resolve(&mut self, index: usize, depth: u32) -> TypeId {
        if let Some(id) = self.ids[index] {
            return id;
        }
        let entry = &self.entries.types[index];
        // What a type is made of cannot be itself, but malformed input may say so.
        self.ids[index] = Some(TypeId(0));
        let id = if !is_structural(entry) {
            entry.path
        } else if depth > MAX_NESTING {
            0
        } else {
            self.structure(index, depth)
        };
        self.ids[index] = Some(TypeId(id));
        TypeId(id)
    }

    /// The id of a type that is known by what it consists of.
    fn structure(&mut self, index: usize, depth: u32) -> u64 {
        let entry = &self.entries.types[index];
        let own = [u64::from(entry.tag.0), entry.path, self.target(entry.target, depth)];
        let mut parts = Vec::new();
        for part in self.parts(index) {
            parts.extend([part.kind as u64, part.value, self.target(part.target, depth)]);
        }
        hash::sequence(own.into_iter().chain(parts))
    }

    fn target(&mut self, offset: EntryOffset, depth: u32) -> u64 {
        self.index(offset).map_or(0, |index| self.resolve(index, depth + 1).0)
    }
}

/// Whether a type's name does not say all of what it is.
fn is_structural(entry: &TypeEntry<'_>) -> bool {
    let by_parts = matches!(entry.kind, TypeKind::Array | TypeKind::Function | TypeKind::Alias);
    by_parts || entry.name.is_empty()
}

fn buckets(types: &[TypeEntry<'_>]) -> Vec<u32> {
    let count = types.last().map_or(0, |last| (last.offset >> BUCKET) as usize + 1);
    let mut buckets = Vec::with_capacity(count);
    for (index, entry) in (0u32..).zip(types) {
        while buckets.len() <= (entry.offset >> BUCKET) as usize {
            buckets.push(index);
        }
    }
    buckets
}

/// Where the parts of each type are: they stand together, in the order of the types.
fn part_ranges(entries: &Entries<'_>) -> Vec<Range<u32>> {
    let mut ranges = vec![0..0; entries.types.len()];
    let mut start = 0;
    for same in entries.type_parts.chunk_by(|a, b| a.owner == b.owner) {
        let end = start + same.len() as u32;
        if let Some(range) = ranges.get_mut(same[0].owner as usize) {
            *range = start..end;
        }
        start = end;
    }
    ranges
}
