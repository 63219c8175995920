//! One pass over the entries of a unit: which entry belongs to which.

use super::TypeKind;
use super::attributes::{Attributes, UnitReader};
use super::entries::{
    self, Entries, EntryOffset, FunctionEntry, Part, PartKind, Scope, ScopeIndex, TypeEntry, VariableEntry,
};
use super::hash;
use super::names::{environment_kind, is_environment};
use crate::ObjectError;
use gimli::{AttributeSpecification, DwTag, constants as dw};

/// What the children of an entry belong to.
#[derive(Clone, Copy)]
enum Owner {
    Namespace,
    Type(u32),
    VariantPart(u32),
    Variant(u32, Option<u64>),
    Function(u32),
}

/// An entry whose children are being read.
#[derive(Clone, Copy)]
struct Open {
    depth: isize,
    scope: ScopeIndex,
    owner: Owner,
}

/// A unit being read.
pub(super) struct Walk<'a, 's> {
    unit: UnitReader<'a, 's>,
    open: Vec<Open>,
    out: &'a mut Entries<'s>,
}

impl<'a, 's> Walk<'a, 's> {
    pub(super) fn new(unit: UnitReader<'a, 's>, out: &'a mut Entries<'s>) -> Self {
        Self { unit, open: Vec::new(), out }
    }

    pub(super) fn run(mut self) -> Result<(), ObjectError> {
        while !self.unit.raw.is_empty() {
            let offset = self.unit.offset();
            let depth = self.unit.raw.next_depth();
            let Some(abbreviation) = self.unit.raw.read_abbreviation()? else { continue };
            while self.open.last().is_some_and(|open| open.depth >= depth) {
                self.open.pop();
            }
            let specifications = abbreviation.attributes();
            let parent = self.open.last().copied();
            match abbreviation.tag() {
                dw::DW_TAG_compile_unit | dw::DW_TAG_partial_unit => {
                    self.unit.read_bases(specifications)?;
                    self.open.push(Open { depth, scope: 0, owner: Owner::Namespace });
                }
                tag if is_type(tag) => self.read_type(specifications, depth, offset, tag)?,
                tag => match parent {
                    Some(parent) if parent.depth.checked_add(1) == Some(depth) => {
                        self.read_child(specifications, depth, offset, tag, parent)?;
                    }
                    _ => self.unit.raw.skip_attributes(specifications)?,
                },
            }
        }
        Ok(())
    }

    /// An entry that is neither a unit nor a type, directly under `parent`.
    fn read_child(
        &mut self,
        specifications: &[AttributeSpecification],
        depth: isize,
        offset: EntryOffset,
        tag: DwTag,
        parent: Open,
    ) -> Result<(), ObjectError> {
        let Open { scope, owner, .. } = parent;
        let children = |owner| Open { depth, scope, owner };
        match (tag, owner) {
            (dw::DW_TAG_namespace | dw::DW_TAG_module, Owner::Namespace) => {
                let attributes = self.unit.read(specifications)?;
                let scope = self.enter(scope, attributes.name);
                self.open.push(Open { depth, scope, owner: Owner::Namespace });
            }
            (dw::DW_TAG_subprogram, Owner::Namespace | Owner::Type(_)) => {
                let attributes = self.unit.read(specifications)?;
                let index = self.add_function(offset, scope, &attributes)?;
                self.open.push(children(Owner::Function(index)));
            }
            (dw::DW_TAG_variable, Owner::Namespace | Owner::Type(_)) => {
                let Attributes { name, linkage_name, place, target, .. } = self.unit.read(specifications)?;
                if let Some(place) = place {
                    self.out.variables.push(VariableEntry { scope, name, linkage_name, place, target });
                }
            }
            (dw::DW_TAG_variant_part, Owner::Type(of)) => {
                self.unit.raw.skip_attributes(specifications)?;
                self.open.push(children(Owner::VariantPart(of)));
            }
            (dw::DW_TAG_variant, Owner::VariantPart(of)) => {
                let attributes = self.unit.read(specifications)?;
                self.open.push(children(Owner::Variant(of, attributes.discriminant)));
            }
            (dw::DW_TAG_template_type_parameter | dw::DW_TAG_formal_parameter, Owner::Function(owner)) => {
                let mut found = Attributes::default();
                self.unit.read_into(specifications, &mut found)?;
                let Attributes { value, target, .. } = found;
                let (kind, name, align, discriminant) = (part_kind(tag), &b""[..], 0, None);
                self.out.function_parts.push(Part { owner, kind, name, value, align, discriminant, target });
            }
            _ => match part_of(tag, owner) {
                Some((owner, kind, discriminant)) => {
                    let part = self.read_part(specifications, owner, kind, discriminant)?;
                    self.out.type_parts.push(part);
                }
                None => self.unit.raw.skip_attributes(specifications)?,
            },
        }
        Ok(())
    }

    fn read_part(
        &mut self,
        specifications: &[AttributeSpecification],
        owner: u32,
        kind: PartKind,
        discriminant: Option<u64>,
    ) -> Result<Part<'s>, ObjectError> {
        let Attributes { name, value, align, target, .. } = self.unit.read(specifications)?;
        Ok(Part { owner, kind, name, value, align, discriminant, target })
    }

    fn read_type(
        &mut self,
        specifications: &[AttributeSpecification],
        depth: isize,
        offset: EntryOffset,
        tag: DwTag,
    ) -> Result<(), ObjectError> {
        let attributes = self.unit.read(specifications)?;
        let parent = self.open.last().map_or(0, |open| open.scope);
        let scope = self.enter(parent, attributes.name);
        let outer = self.open.last().and_then(|open| match open.owner {
            Owner::Type(outer) => Some(outer),
            _ => None,
        });
        let kind = type_kind(tag, &attributes);
        // Pointers have no size of their own.
        let pointer_size = if kind == TypeKind::Pointer { self.unit.address_size().into() } else { 0 };
        let index = entries::index(self.out.types.len())?;
        self.out.types.push(TypeEntry {
            offset,
            tag,
            kind,
            outer,
            name: attributes.name,
            scope: parent,
            path: self.out.scopes[scope as usize].path,
            size: if attributes.size == 0 { pointer_size } else { attributes.size },
            align: attributes.align,
            encoding: attributes.value,
            target: attributes.target,
            containing: attributes.containing,
        });
        self.open.push(Open { depth, scope, owner: Owner::Type(index) });
        Ok(())
    }

    fn enter(&mut self, parent: ScopeIndex, name: &'s [u8]) -> ScopeIndex {
        let path = hash::entry(self.out.scopes[parent as usize].path, name);
        self.out.scopes.push(Scope { parent, name, path });
        // There are fewer scopes than bytes in the section.
        (self.out.scopes.len() - 1) as ScopeIndex
    }

    fn add_function(
        &mut self,
        offset: EntryOffset,
        scope: ScopeIndex,
        attributes: &Attributes<'s>,
    ) -> Result<u32, ObjectError> {
        let index = entries::index(self.out.functions.len())?;
        self.out.functions.push(FunctionEntry {
            offset,
            scope,
            name: attributes.name,
            linkage_name: attributes.linkage_name,
            code: attributes.code,
            scattered: attributes.scattered,
            result: attributes.target,
            origin: attributes.origin,
            convention: attributes.convention,
        });
        Ok(index)
    }
}

fn is_type(tag: DwTag) -> bool {
    matches!(
        tag,
        dw::DW_TAG_structure_type
            | dw::DW_TAG_class_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
            | dw::DW_TAG_base_type
            | dw::DW_TAG_pointer_type
            | dw::DW_TAG_reference_type
            | dw::DW_TAG_array_type
            | dw::DW_TAG_subroutine_type
            | dw::DW_TAG_unspecified_type
            | dw::DW_TAG_typedef
            | dw::DW_TAG_const_type
            | dw::DW_TAG_volatile_type
            | dw::DW_TAG_restrict_type
            | dw::DW_TAG_atomic_type
    )
}

fn type_kind(tag: DwTag, attributes: &Attributes<'_>) -> TypeKind {
    match tag {
        _ if attributes.declaration => TypeKind::Opaque,
        dw::DW_TAG_structure_type if environment_kind(attributes.name) == Some(b"closure") => {
            TypeKind::Closure
        }
        dw::DW_TAG_structure_type if is_environment(attributes.name) => TypeKind::Coroutine,
        dw::DW_TAG_structure_type | dw::DW_TAG_class_type => TypeKind::Struct,
        dw::DW_TAG_union_type => TypeKind::Union,
        dw::DW_TAG_enumeration_type => TypeKind::Enum,
        dw::DW_TAG_pointer_type | dw::DW_TAG_reference_type => TypeKind::Pointer,
        dw::DW_TAG_array_type => TypeKind::Array,
        dw::DW_TAG_subroutine_type => TypeKind::Function,
        dw::DW_TAG_base_type | dw::DW_TAG_unspecified_type => TypeKind::Primitive,
        _ => TypeKind::Alias,
    }
}

fn part_kind(tag: DwTag) -> PartKind {
    if tag == dw::DW_TAG_formal_parameter { PartKind::Parameter } else { PartKind::Generic }
}

/// Which part of which type an entry is, and the discriminant that selects it.
fn part_of(tag: DwTag, owner: Owner) -> Option<(u32, PartKind, Option<u64>)> {
    Some(match (tag, owner) {
        (dw::DW_TAG_member, Owner::Type(of)) => (of, PartKind::Member, None),
        (dw::DW_TAG_member, Owner::VariantPart(of)) => (of, PartKind::Discriminant, None),
        (dw::DW_TAG_member, Owner::Variant(of, discriminant)) => (of, PartKind::Variant, discriminant),
        (dw::DW_TAG_enumerator, Owner::Type(of)) => (of, PartKind::Enumerator, None),
        (dw::DW_TAG_subrange_type, Owner::Type(of)) => (of, PartKind::Count, None),
        (dw::DW_TAG_template_type_parameter | dw::DW_TAG_formal_parameter, Owner::Type(of)) => {
            (of, part_kind(tag), None)
        }
        _ => return None,
    })
}
