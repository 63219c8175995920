//! The entries of `.debug_info` that say something about types, functions and statics, as they stand
//! there: one pass, nothing resolved. References between entries are offsets in `.debug_info`.
//!
//! Specification: DWARF 5, chapters 2 (attributes), 3 (functions) and 5 (types).

use super::TypeKind;
use super::attributes::UnitReader;
use super::hash;
use super::sections::{Sections, Target, Text};
use super::walk::Walk;
use crate::ObjectError;
use gimli::{DebugAbbrev, DebugInfo, DwTag, LittleEndian};
use std::ops::Range;

/// An offset in `.debug_info`; 0, where a unit's header stands, for nothing.
pub(super) type EntryOffset = u32;

/// Index into [`Entries::scopes`]. Such indices fit: there are fewer entries than bytes in the section.
pub(super) type ScopeIndex = u32;

/// A namespace, or a type as a namespace.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) parent: ScopeIndex,
    pub(super) name: &'s [u8],
    /// See [`hash::path`].
    pub(super) path: u64,
}

/// A type, without what it consists of.
pub(super) struct TypeEntry<'s> {
    pub(super) offset: EntryOffset,
    pub(super) tag: DwTag,
    pub(super) kind: TypeKind,
    /// The type that it stands directly within.
    pub(super) outer: Option<u32>,
    pub(super) name: &'s [u8],
    /// What it is declared in, and the scope that it is.
    pub(super) scope: ScopeIndex,
    pub(super) path: u64,
    pub(super) size: u64,
    pub(super) align: u64,
    pub(super) encoding: u64,
    /// What it points to, has elements of, or returns.
    pub(super) target: EntryOffset,
    /// For the type of a vtable: the type that implements the trait.
    pub(super) containing: EntryOffset,
}

/// What a [`Part`] is to its owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    /// A field at an offset.
    Member,
    /// What says which variant is there, at an offset.
    Discriminant,
    /// A variant's content at an offset.
    Variant,
    /// A named value.
    Enumerator,
    /// An array's number of elements.
    Count,
    /// A parameter of a function or function type.
    Parameter,
    /// A generic argument.
    Generic,
}

/// A part of a type or of a function.
pub(super) struct Part<'s> {
    /// Index of the type or function.
    pub(super) owner: u32,
    pub(super) kind: PartKind,
    pub(super) name: &'s [u8],
    /// The offset, value or count.
    pub(super) value: u64,
    /// The alignment of a member's type in bytes; 0 where it is not said.
    pub(super) align: u64,
    /// The discriminant that selects a variant; none for the one that all others select.
    pub(super) discriminant: Option<u64>,
    pub(super) target: EntryOffset,
}

/// A function: declared, abstract, or with code.
pub(super) struct FunctionEntry<'s> {
    pub(super) offset: EntryOffset,
    pub(super) scope: ScopeIndex,
    pub(super) name: &'s [u8],
    pub(super) linkage_name: Option<Text<'s>>,
    pub(super) code: Option<Target>,
    /// Whether it has code in several places.
    pub(super) scattered: bool,
    pub(super) result: EntryOffset,
    /// The declaration or abstract instance that says the rest.
    pub(super) origin: EntryOffset,
    pub(super) convention: u8,
}

/// A variable with a place of its own.
pub(super) struct VariableEntry<'s> {
    pub(super) scope: ScopeIndex,
    pub(super) name: &'s [u8],
    pub(super) linkage_name: Option<Text<'s>>,
    pub(super) place: Target,
    pub(super) target: EntryOffset,
}

/// All of it. Types, functions and parts ascend by offset and owner.
pub(super) struct Entries<'s> {
    pub(super) sections: &'s Sections<'s>,
    /// The first is the root.
    pub(super) scopes: Vec<Scope<'s>>,
    pub(super) types: Vec<TypeEntry<'s>>,
    pub(super) type_parts: Vec<Part<'s>>,
    pub(super) functions: Vec<FunctionEntry<'s>>,
    pub(super) function_parts: Vec<Part<'s>>,
    pub(super) variables: Vec<VariableEntry<'s>>,
}

impl<'s> Entries<'s> {
    pub(super) fn read(sections: &'s Sections<'s>) -> Result<Self, ObjectError> {
        let mut entries = Self {
            sections,
            scopes: vec![Scope { parent: 0, name: b"", path: hash::ROOT }],
            types: Vec::new(),
            type_parts: Vec::new(),
            functions: Vec::new(),
            function_parts: Vec::new(),
            variables: Vec::new(),
        };
        // About what rustc writes.
        let size = sections.info.len();
        entries.scopes.reserve(size / 64);
        entries.types.reserve(size / 64);
        entries.type_parts.reserve(size / 32);
        let mut units = DebugInfo::new(&sections.info, LittleEndian).units();
        let abbreviations = DebugAbbrev::new(sections.abbreviations, LittleEndian);
        while let Some(unit) = units.next()? {
            let abbreviations = unit.abbreviations(&abbreviations)?;
            let unit = UnitReader::new(sections, &unit, &abbreviations)?;
            Walk::new(unit, &mut entries).run()?;
        }
        for parts in [&mut entries.type_parts, &mut entries.function_parts] {
            if !parts.is_sorted_by_key(|part| part.owner) {
                parts.sort_by_key(|part| part.owner);
            }
        }
        Ok(entries)
    }

    /// The parts of the owner with an index.
    pub(super) fn parts(all: &[Part<'s>], owner: u32) -> Range<usize> {
        let start = all.partition_point(|part| part.owner < owner);
        start..start + all[start..].iter().take_while(|part| part.owner == owner).count()
    }
}

/// A length as an index.
pub(super) fn index(length: usize) -> Result<u32, ObjectError> {
    u32::try_from(length).map_err(|_| ObjectError::Inconsistent { what: "the size of .debug_info" })
}
