//! The entries of `.debug_info` that say something about types, functions and statics, as they stand
//! there: one pass, nothing resolved. References between entries are offsets in `.debug_info`.
//!
//! Specification: DWARF 5, chapters 2 (attributes), 3 (functions) and 5 (types).

use super::TypeKind;
use super::hash;
use super::names::{environment_kind, is_environment};
use super::sections::{Bytes, Sections, Target, Text};
use crate::ObjectError;
use gimli::{
    Attribute, AttributeSpecification, AttributeValue, DebugAbbrev, DebugInfo, DwTag, EndianSlice,
    EntriesRaw, LittleEndian, constants as dw,
};

/// An offset in `.debug_info`; 0, where a unit's header stands, for nothing.
pub(super) type EntryOffset = u32;

/// Index into [`Entries::scopes`].
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
    /// Whether it stands directly within another type.
    pub(super) is_nested: bool,
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
            let Some(start) = unit.debug_info_offset() else { continue };
            let abbreviations = unit.abbreviations(&abbreviations)?;
            let raw = unit.entries_raw(&abbreviations, None)?;
            let walk = Walk {
                sections,
                unit: start.0,
                address_size: unit.address_size(),
                string_base: 0,
                address_base: 0,
                raw,
                open: Vec::new(),
                out: &mut entries,
            };
            walk.run()?;
        }
        for parts in [&mut entries.type_parts, &mut entries.function_parts] {
            if !parts.is_sorted_by_key(|part| part.owner) {
                parts.sort_by_key(|part| part.owner);
            }
        }
        Ok(entries)
    }

    /// The parts of the owner with an index.
    pub(super) fn parts(all: &[Part<'s>], owner: u32) -> std::ops::Range<usize> {
        let start = all.partition_point(|part| part.owner < owner);
        start..start + all[start..].iter().take_while(|part| part.owner == owner).count()
    }
}

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

/// The attributes of one entry that matter here.
#[derive(Default)]
struct Attributes<'s> {
    name: &'s [u8],
    name_text: Option<Text<'s>>,
    linkage_name: Option<Text<'s>>,
    target: EntryOffset,
    containing: EntryOffset,
    origin: EntryOffset,
    size: u64,
    align: u64,
    /// Offset, value, count or encoding: no entry has two of them.
    value: u64,
    discriminant: Option<u64>,
    code: Option<Target>,
    place: Option<Target>,
    scattered: bool,
    declaration: bool,
    convention: u8,
}

/// A unit being read.
struct Walk<'a, 's> {
    sections: &'s Sections<'s>,
    /// Where the unit starts in `.debug_info`.
    unit: usize,
    address_size: u8,
    string_base: usize,
    address_base: usize,
    raw: EntriesRaw<'a, Bytes<'s>>,
    open: Vec<Open>,
    out: &'a mut Entries<'s>,
}

impl<'s> Walk<'_, 's> {
    fn run(mut self) -> Result<(), ObjectError> {
        while !self.raw.is_empty() {
            let offset = self.offset();
            let depth = self.raw.next_depth();
            let Some(abbreviation) = self.raw.read_abbreviation()? else { continue };
            while self.open.last().is_some_and(|open| open.depth >= depth) {
                self.open.pop();
            }
            let specifications = abbreviation.attributes();
            let parent = self.open.last().copied();
            match abbreviation.tag() {
                dw::DW_TAG_compile_unit | dw::DW_TAG_partial_unit => {
                    self.read_bases(specifications)?;
                    self.open.push(Open { depth, scope: 0, owner: Owner::Namespace });
                }
                tag if is_type(tag) => self.read_type(specifications, depth, offset, tag)?,
                tag => match parent {
                    Some(parent) if parent.depth.checked_add(1) == Some(depth) => {
                        self.read_child(specifications, depth, offset, tag, parent)?;
                    }
                    _ => self.raw.skip_attributes(specifications)?,
                },
            }
        }
        Ok(())
    }

    /// Where the next byte is in `.debug_info`.
    fn offset(&self) -> EntryOffset {
        // The section is smaller than 4 GiB: `Sections::of` has checked it.
        (self.unit + self.raw.next_offset().0) as EntryOffset
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
                let attributes = self.read_attributes(specifications)?;
                let scope = self.enter(scope, attributes.name);
                self.open.push(Open { depth, scope, owner: Owner::Namespace });
            }
            (dw::DW_TAG_subprogram, Owner::Namespace | Owner::Type(_)) => {
                let attributes = self.read_attributes(specifications)?;
                let index = self.add_function(offset, scope, &attributes)?;
                self.open.push(children(Owner::Function(index)));
            }
            (dw::DW_TAG_variable, Owner::Namespace | Owner::Type(_)) => {
                let Attributes { name, linkage_name, place, target, .. } =
                    self.read_attributes(specifications)?;
                if let Some(place) = place {
                    self.out.variables.push(VariableEntry { scope, name, linkage_name, place, target });
                }
            }
            (dw::DW_TAG_variant_part, Owner::Type(of)) => {
                self.raw.skip_attributes(specifications)?;
                self.open.push(children(Owner::VariantPart(of)));
            }
            (dw::DW_TAG_variant, Owner::VariantPart(of)) => {
                let attributes = self.read_attributes(specifications)?;
                self.open.push(children(Owner::Variant(of, attributes.discriminant)));
            }
            (dw::DW_TAG_template_type_parameter | dw::DW_TAG_formal_parameter, Owner::Function(owner)) => {
                let mut found = Attributes::default();
                self.read_into(specifications, &mut found)?;
                let Attributes { value, target, .. } = found;
                let (kind, name, discriminant) = (part_kind(tag), &b""[..], None);
                self.out.function_parts.push(Part { owner, kind, name, value, discriminant, target });
            }
            _ => match part_of(tag, owner) {
                Some((owner, kind, discriminant)) => {
                    let part = self.read_part(specifications, owner, kind, discriminant)?;
                    self.out.type_parts.push(part);
                }
                None => self.raw.skip_attributes(specifications)?,
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
        let Attributes { name, value, target, .. } = self.read_attributes(specifications)?;
        Ok(Part { owner, kind, name, value, discriminant, target })
    }

    fn read_type(
        &mut self,
        specifications: &[AttributeSpecification],
        depth: isize,
        offset: EntryOffset,
        tag: DwTag,
    ) -> Result<(), ObjectError> {
        let attributes = self.read_attributes(specifications)?;
        let parent = self.open.last().map_or(0, |open| open.scope);
        let scope = self.enter(parent, attributes.name);
        let is_nested = matches!(self.open.last(), Some(Open { owner: Owner::Type(_), .. }));
        let kind = type_kind(tag, &attributes);
        // Pointers have no size of their own.
        let pointer_size = if kind == TypeKind::Pointer { self.address_size.into() } else { 0 };
        let index = index(self.out.types.len())?;
        self.out.types.push(TypeEntry {
            offset,
            tag,
            kind,
            is_nested,
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
        let index = index(self.out.functions.len())?;
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

    /// Where the unit's parts of the string and address tables begin.
    fn read_bases(&mut self, specifications: &[AttributeSpecification]) -> Result<(), ObjectError> {
        for &specification in specifications {
            let attribute = self.raw.read_attribute(specification)?;
            match attribute.value() {
                AttributeValue::DebugStrOffsetsBase(base) => self.string_base = base.0,
                AttributeValue::DebugAddrBase(base) => self.address_base = base.0,
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn read_attributes(
        &mut self,
        specifications: &[AttributeSpecification],
    ) -> Result<Attributes<'s>, ObjectError> {
        let mut found = Attributes::default();
        self.read_into(specifications, &mut found)?;
        found.name = self.string(found.name_text);
        Ok(found)
    }

    /// All but the name itself: most strings are names of parameters, which nobody asks for.
    fn read_into(
        &mut self,
        specifications: &[AttributeSpecification],
        found: &mut Attributes<'s>,
    ) -> Result<(), ObjectError> {
        for &specification in specifications {
            if !matters(specification.name()) {
                self.raw.skip_attributes(&[specification])?;
                continue;
            }
            let attribute = self.raw.read_attribute_inline(specification)?;
            let value = attribute.raw_value();
            match attribute.name() {
                dw::DW_AT_name => found.name_text = Some(Text::new(value, self.string_base)),
                dw::DW_AT_linkage_name => found.linkage_name = Some(Text::new(value, self.string_base)),
                dw::DW_AT_type => found.target = self.reference(value),
                dw::DW_AT_containing_type => found.containing = self.reference(value),
                dw::DW_AT_specification | dw::DW_AT_abstract_origin => found.origin = self.reference(value),
                dw::DW_AT_byte_size => found.size = number(&attribute),
                dw::DW_AT_alignment => found.align = number(&attribute),
                dw::DW_AT_discr_value => found.discriminant = Some(number(&attribute)),
                dw::DW_AT_low_pc => found.code = self.address(value),
                dw::DW_AT_ranges => found.scattered = true,
                dw::DW_AT_location => found.place = self.place(value),
                dw::DW_AT_declaration => found.declaration = true,
                dw::DW_AT_calling_convention => found.convention = number(&attribute) as u8,
                _ => found.value = number(&attribute),
            }
        }
        Ok(())
    }

    fn string(&self, text: Option<Text<'s>>) -> &'s [u8] {
        text.and_then(|text| self.sections.string(text)).unwrap_or_default()
    }

    fn reference(&self, value: AttributeValue<Bytes<'s>>) -> EntryOffset {
        let offset = match value {
            AttributeValue::UnitRef(at) => self.unit.checked_add(at.0),
            AttributeValue::DebugInfoRef(at) => Some(at.0),
            _ => None,
        };
        offset.and_then(|at| EntryOffset::try_from(at).ok()).unwrap_or(0)
    }

    /// What the address that was read last refers to.
    fn address(&self, value: AttributeValue<Bytes<'s>>) -> Option<Target> {
        match value {
            AttributeValue::Addr(_) => {
                let size = usize::from(self.address_size);
                self.sections.addresses.at((self.offset() as usize).checked_sub(size)?)
            }
            AttributeValue::DebugAddrIndex(index) => self.indexed_address(index.0),
            _ => None,
        }
    }

    fn indexed_address(&self, index: usize) -> Option<Target> {
        let field = index.checked_mul(8)?.checked_add(self.address_base)?;
        self.sections.address_table.at(field)
    }

    /// Where a variable is, when its location is one address: its own, or its offset in the
    /// thread-local block.
    fn place(&self, value: AttributeValue<Bytes<'s>>) -> Option<Target> {
        let (AttributeValue::Exprloc(gimli::Expression(bytes)) | AttributeValue::Block(bytes)) = value else {
            return None;
        };
        let (&operation, operand) = bytes.slice().split_first()?;
        match gimli::DwOp(operation) {
            dw::DW_OP_addr | dw::DW_OP_const8u => {
                let end = self.offset() as usize;
                self.sections.addresses.at(end.checked_sub(operand.len())?)
            }
            dw::DW_OP_addrx | dw::DW_OP_constx | dw::DW_OP_GNU_addr_index => {
                let mut operand = EndianSlice::new(operand, LittleEndian);
                let index = gimli::Reader::read_uleb128(&mut operand).ok()?;
                self.indexed_address(usize::try_from(index).ok()?)
            }
            _ => None,
        }
    }
}

fn index(length: usize) -> Result<u32, ObjectError> {
    u32::try_from(length).map_err(|_| ObjectError::Inconsistent { what: "the size of .debug_info" })
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

fn matters(name: gimli::DwAt) -> bool {
    matches!(
        name,
        dw::DW_AT_name
            | dw::DW_AT_linkage_name
            | dw::DW_AT_type
            | dw::DW_AT_containing_type
            | dw::DW_AT_specification
            | dw::DW_AT_abstract_origin
            | dw::DW_AT_byte_size
            | dw::DW_AT_alignment
            | dw::DW_AT_discr_value
            | dw::DW_AT_low_pc
            | dw::DW_AT_ranges
            | dw::DW_AT_location
            | dw::DW_AT_declaration
            | dw::DW_AT_calling_convention
            | dw::DW_AT_data_member_location
            | dw::DW_AT_const_value
            | dw::DW_AT_count
            | dw::DW_AT_encoding
    )
}

/// A constant as it stands there; of one that is wider than 64 bits, a hash.
fn number(attribute: &Attribute<Bytes<'_>>) -> u64 {
    match attribute.raw_value() {
        AttributeValue::Sdata(value) => value.cast_unsigned(),
        AttributeValue::Data16(value) => wide(value),
        AttributeValue::Block(bytes) => match <[u8; 16]>::try_from(bytes.slice()) {
            Ok(value) => wide(u128::from_le_bytes(value)),
            Err(_) => hash::text(bytes.slice()),
        },
        value => value.udata_value().unwrap_or_else(|| match value {
            AttributeValue::Exprloc(gimli::Expression(bytes)) => hash::text(bytes.slice()),
            _ => 0,
        }),
    }
}

fn wide(value: u128) -> u64 {
    u64::try_from(value).unwrap_or_else(|_| hash::text(&value.to_le_bytes()))
}
