//! Which type is it? Named types are known by their qualified name, others by what they consist of.

use super::entries::{Entries, EntryOffset, TypeEntry};
use super::{TypeId, TypeKind, hash};

/// How many unnamed types may stand within one another: only malformed input has more.
const MAX_NESTING: u32 = 64;

/// The id and the entry of every type.
pub(super) struct Ids<'e, 's> {
    pub(super) entries: &'e Entries<'s>,
    ids: Vec<Option<TypeId>>,
}

impl<'e, 's> Ids<'e, 's> {
    pub(super) fn of(entries: &'e Entries<'s>) -> Self {
        let mut this = Self { entries, ids: vec![None; entries.types.len()] };
        for index in 0..entries.types.len() {
            this.resolve(index, 0);
        }
        this
    }

    /// The entry at an offset.
    pub(super) fn index(&self, offset: EntryOffset) -> Option<usize> {
        self.entries.types.binary_search_by_key(&offset, |entry| entry.offset).ok()
    }

    /// The id of the type at an offset.
    pub(super) fn at(&self, offset: EntryOffset) -> Option<TypeId> {
        self.get(self.index(offset)?)
    }

    /// The id of the type with an index.
    pub(super) fn get(&self, index: usize) -> Option<TypeId> {
        self.ids[index]
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
        let entries = self.entries;
        let entry = &entries.types[index];
        let own = [u64::from(entry.tag.0), entry.path, self.target(entry.target, depth)];
        let mut parts = Vec::new();
        for part in &entries.type_parts[Entries::parts(&entries.type_parts, index as u32)] {
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
    let by_parts =
        matches!(entry.kind, TypeKind::Pointer | TypeKind::Array | TypeKind::Function | TypeKind::Alias);
    by_parts || entry.name.is_empty()
}
