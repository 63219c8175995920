//! Names and layouts as text. Made from the object again, and only when a difference was found.

use super::entries::{Entries, EntryOffset, Part, PartKind, ScopeIndex};
use super::ids::Ids;
use super::names::without_arguments;
use super::sections::Sections;
use super::types::variant;
use super::{TypeId, TypeKind};
use crate::relocatable::Relocatable;

/// How deep names are spelled out: unnamed types within one another, scopes within one another.
const MAX_DEPTH: usize = 64;

/// A type in full: what an object says about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeText {
    /// Its qualified name.
    pub name: String,
    /// Its kind.
    pub kind: TypeKind,
    /// Its layouts; several when the object has several types of this name.
    pub layouts: Vec<LayoutText>,
}

/// A type's own layout. Types within it stand there by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LayoutText {
    /// Bytes.
    pub size: u64,
    /// Bytes; 0 when not said.
    pub align: u64,
    /// Fields, by offset.
    pub fields: Vec<FieldText>,
    /// What says which variant is there: its offset and type.
    pub tag: Option<FieldText>,
    /// Variants in the order of the source; those of an enum without data too.
    pub variants: Vec<VariantText>,
    /// What an array consists of, a pointer points to, or a function type returns; how a number is encoded.
    pub what: String,
}

/// A field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FieldText {
    /// Bytes into the type.
    pub offset: u64,
    /// Its name; `__0` in tuples.
    pub name: String,
    /// Its type's qualified name.
    pub ty: String,
    /// Its type's alignment in bytes; 0 where it is not said. It tells a function item, which has no bytes,
    /// from a function pointer: both have one name and one description.
    pub align: u64,
}

/// A variant of an enum.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct VariantText {
    /// Its name; `Suspend0` and the like in coroutines.
    pub name: String,
    /// The value that selects it; none for the variant that every other value selects.
    pub discriminant: Option<u64>,
    /// Its fields, by offset.
    pub fields: Vec<FieldText>,
}

/// What an object says about a type; none when it says nothing, or cannot be read.
///
/// This reads the object's debug information again: it is for the few types that a person is told about.
pub fn describe(image: &Relocatable, ty: TypeId) -> Option<TypeText> {
    describe_several(image, |describe| describe(ty))?
}

/// The same for several types: the debug information is read once. None where it cannot be.
pub fn describe_several<R>(
    image: &Relocatable,
    ask: impl FnOnce(&dyn Fn(TypeId) -> Option<TypeText>) -> R,
) -> Option<R> {
    let sections = Sections::of(image).ok()??;
    let entries = Entries::read(&sections).ok()?;
    let names = Names { entries: &entries, ids: Ids::of(&entries) };
    Some(ask(&|ty| names.describe(ty)))
}

struct Names<'e, 's> {
    entries: &'e Entries<'s>,
    ids: Ids<'e, 's>,
}

impl<'s> Names<'_, 's> {
    fn describe(&self, id: TypeId) -> Option<TypeText> {
        let of_id = |index: &usize| self.ids.get(*index) == Some(id);
        let indices: Vec<usize> = (0..self.entries.types.len()).filter(of_id).collect();
        let entry = &self.entries.types[*indices.first()?];
        let mut layouts: Vec<LayoutText> = indices.iter().map(|&index| self.layout(index)).collect();
        layouts.sort();
        layouts.dedup();
        Some(TypeText { name: self.type_name(entry.offset, 0), kind: entry.kind, layouts })
    }

    fn layout(&self, index: usize) -> LayoutText {
        let entry = &self.entries.types[index];
        let parts = self.ids.parts(index);
        let of = |kind| parts.iter().filter(move |part| part.kind == kind);
        let variants = of(PartKind::Variant).chain(of(PartKind::Enumerator));
        let what = match entry.kind {
            TypeKind::Primitive => format!("encoding {}", entry.encoding),
            TypeKind::Pointer | TypeKind::Array | TypeKind::Function => self.type_name(entry.offset, 0),
            TypeKind::Enum | TypeKind::Alias => self.type_name(entry.target, 0),
            _ => String::new(),
        };
        LayoutText {
            size: entry.size,
            align: entry.align,
            fields: self.fields(index),
            tag: of(PartKind::Discriminant).next().map(|part| self.field(part)),
            variants: variants.map(|part| self.variant(part)).collect(),
            what,
        }
    }

    fn fields(&self, index: usize) -> Vec<FieldText> {
        let members = self.ids.parts(index).iter().filter(|part| part.kind == PartKind::Member);
        let mut fields: Vec<_> = members.map(|part| self.field(part)).collect();
        fields.sort();
        // A coroutine's state lists what it keeps once for each place that uses it.
        fields.dedup();
        fields
    }

    fn variant(&self, part: &Part<'_>) -> VariantText {
        if part.kind == PartKind::Enumerator {
            return VariantText {
                name: lossy(part.name),
                discriminant: Some(part.value),
                fields: Vec::new(),
            };
        }
        let index = variant(&self.ids, part);
        // The states of a coroutine have numbers here, and names there.
        let name = index.map_or(part.name, |index| self.entries.types[index].name);
        VariantText {
            name: lossy(without_arguments(name)),
            discriminant: part.discriminant,
            fields: index.map(|index| self.fields(index)).unwrap_or_default(),
        }
    }

    fn field(&self, part: &Part<'_>) -> FieldText {
        FieldText {
            offset: part.value,
            name: lossy(part.name),
            ty: self.type_name(part.target, 0),
            align: part.align,
        }
    }

    /// The qualified name of the type at an offset.
    fn type_name(&self, offset: EntryOffset, depth: usize) -> String {
        let Some(index) = self.ids.index(offset).filter(|_| depth < MAX_DEPTH) else { return "()".into() };
        let entry = &self.entries.types[index];
        if !entry.name.is_empty() {
            return self.qualified(entry.scope, entry.name);
        }
        let parts = self.ids.parts(index);
        let target = |offset| self.type_name(offset, depth + 1);
        match entry.kind {
            TypeKind::Array => {
                let count =
                    parts.iter().find(|part| part.kind == PartKind::Count).map_or(0, |part| part.value);
                format!("[{}; {count}]", target(entry.target))
            }
            TypeKind::Pointer => format!("*{}", target(entry.target)),
            TypeKind::Function => {
                let parameters = parts.iter().filter(|part| part.kind == PartKind::Parameter);
                // What is deep and wide at once is not from a compiler.
                let names: Vec<_> = parameters.take(MAX_DEPTH).map(|part| target(part.target)).collect();
                format!("fn({}) -> {}", names.join(", "), target(entry.target))
            }
            _ => "{unnamed}".into(),
        }
    }

    fn qualified(&self, scope: ScopeIndex, name: &[u8]) -> String {
        let mut names = vec![lossy(name)];
        let mut at = scope;
        while at != 0 && names.len() < MAX_DEPTH {
            let scope = &self.entries.scopes[at as usize];
            names.push(lossy(scope.name));
            at = scope.parent;
        }
        names.reverse();
        names.join("::")
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
