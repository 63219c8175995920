//! The attributes of entries, one unit at a time.
//!
//! Specification: DWARF 5, sections 2.2 and 7.5.

use super::entries::EntryOffset;
use super::hash;
use super::sections::{Bytes, Sections, Target, Text};
use crate::ObjectError;
use gimli::{
    Abbreviations, Attribute, AttributeSpecification, AttributeValue, EndianSlice, EntriesRaw, LittleEndian,
    UnitHeader, constants as dw,
};

/// The attributes of one entry that matter here.
#[derive(Default)]
pub(super) struct Attributes<'s> {
    pub(super) name: &'s [u8],
    name_text: Option<Text<'s>>,
    pub(super) linkage_name: Option<Text<'s>>,
    pub(super) target: EntryOffset,
    pub(super) containing: EntryOffset,
    pub(super) origin: EntryOffset,
    pub(super) size: u64,
    pub(super) align: u64,
    /// Offset, value, count or encoding: no entry has two of them.
    pub(super) value: u64,
    pub(super) discriminant: Option<u64>,
    pub(super) code: Option<Target>,
    pub(super) place: Option<Target>,
    pub(super) scattered: bool,
    pub(super) declaration: bool,
    pub(super) convention: u8,
}

/// Reads the entries of a unit.
pub(super) struct UnitReader<'a, 's> {
    sections: &'s Sections<'s>,
    /// Where the unit starts in `.debug_info`.
    start: usize,
    address_size: u8,
    string_base: usize,
    address_base: usize,
    pub(super) raw: EntriesRaw<'a, Bytes<'s>>,
}

impl<'a, 's> UnitReader<'a, 's> {
    pub(super) fn new(
        sections: &'s Sections<'s>,
        unit: &UnitHeader<Bytes<'s>>,
        abbreviations: &'a Abbreviations,
    ) -> Result<Self, ObjectError> {
        Ok(Self {
            sections,
            start: unit.debug_info_offset().map_or(0, |start| start.0),
            address_size: unit.address_size(),
            string_base: 0,
            address_base: 0,
            raw: unit.entries_raw(abbreviations, None)?,
        })
    }

    /// Bytes of an address.
    pub(super) fn address_size(&self) -> u8 {
        self.address_size
    }

    /// Where the next byte is in `.debug_info`.
    pub(super) fn offset(&self) -> EntryOffset {
        // The section is smaller than 4 GiB: `Sections::of` has checked it.
        (self.start + self.raw.next_offset().0) as EntryOffset
    }

    /// Where the unit's parts of the string and address tables begin.
    pub(super) fn read_bases(
        &mut self,
        specifications: &[AttributeSpecification],
    ) -> Result<(), ObjectError> {
        for &specification in specifications {
            match self.raw.read_attribute(specification)?.value() {
                AttributeValue::DebugStrOffsetsBase(base) => self.string_base = base.0,
                AttributeValue::DebugAddrBase(base) => self.address_base = base.0,
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn read(
        &mut self,
        specifications: &[AttributeSpecification],
    ) -> Result<Attributes<'s>, ObjectError> {
        let mut found = Attributes::default();
        self.read_into(specifications, &mut found)?;
        found.name = self.string(found.name_text);
        Ok(found)
    }

    /// All but the name itself: most strings are names of parameters, which nobody asks for.
    pub(super) fn read_into(
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
            AttributeValue::UnitRef(at) => self.start.checked_add(at.0),
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
