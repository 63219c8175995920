//! The debug sections of an object, relocated as far as reading types needs it.
//!
//! In a relocatable object every string reference and every address in the debug information is a
//! relocation over zeros. Sections start at 0 here: what a relocation adds up to is an offset in the
//! section it refers to.

use crate::ObjectError;
use crate::address::SectionOffset;
use crate::relocatable::{Place, Relocatable, Relocation, SectionId, SectionKind};
use crate::relocation::{Formula, howto};
use gimli::{AttributeValue, EndianSlice, LittleEndian, Reader as _};
use std::borrow::Cow;
use std::ffi::CStr;

/// How bytes are read.
pub(super) type Bytes<'s> = EndianSlice<'s, LittleEndian>;

/// A string that is looked up when it is wanted.
#[derive(Clone, Copy)]
pub(super) struct Text<'s> {
    value: AttributeValue<Bytes<'s>>,
    /// The unit's `DW_AT_str_offsets_base`.
    base: usize,
}

impl<'s> Text<'s> {
    pub(super) fn new(value: AttributeValue<Bytes<'s>>, base: usize) -> Self {
        Self { value, base }
    }
}

/// A place in a section of the object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) section: SectionId,
    pub(super) offset: SectionOffset,
}

/// The addresses in a debug section: where the field is, and what it refers to; ascending.
#[derive(Default)]
pub(super) struct Addresses(Vec<(u64, Target)>);

impl Addresses {
    /// What the address field at an offset refers to.
    pub(super) fn at(&self, field: usize) -> Option<Target> {
        let index = self.0.binary_search_by_key(&(field as u64), |entry| entry.0).ok()?;
        Some(self.0[index].1)
    }
}

/// The debug sections of one object.
pub(super) struct Sections<'o> {
    /// `.debug_info`
    pub(super) info: Cow<'o, [u8]>,
    /// Addresses in `.debug_info`.
    pub(super) addresses: Addresses,
    /// `.debug_abbrev`
    pub(super) abbreviations: &'o [u8],
    strings: &'o [u8],
    line_strings: &'o [u8],
    string_offsets: Cow<'o, [u8]>,
    /// Addresses in `.debug_addr`.
    pub(super) address_table: Addresses,
}

impl<'o> Sections<'o> {
    /// The debug sections of an object; none when it has no debug information.
    pub(super) fn of(image: &'o Relocatable) -> Result<Option<Self>, ObjectError> {
        let mut found = [None; 6];
        for (id, section) in image.sections().filter(|(_, section)| section.kind == SectionKind::Debug) {
            let slot = match image.section_name(id) {
                ".debug_info" => 0,
                ".debug_abbrev" => 1,
                ".debug_str" => 2,
                ".debug_line_str" => 3,
                ".debug_str_offsets" => 4,
                ".debug_addr" => 5,
                _ => continue,
            };
            if section.size > 0 {
                found[slot].get_or_insert(id);
            }
        }
        let data = |id: Option<SectionId>| id.map_or(&[][..], |id| image.data(id));
        let [info, abbreviations, strings, line_strings, string_offsets, addresses] = found;
        let Some(info) = info else { return Ok(None) };
        if u32::try_from(image.data(info).len()).is_err() {
            return Err(ObjectError::Inconsistent { what: "the size of .debug_info" });
        }
        let (info, in_info) = relocated(image, Some(info));
        let (_, address_table) = relocated(image, addresses);
        Ok(Some(Self {
            info,
            addresses: in_info,
            abbreviations: data(abbreviations),
            strings: data(strings),
            line_strings: data(line_strings),
            string_offsets: relocated(image, string_offsets).0,
            address_table,
        }))
    }

    /// The bytes of a string attribute.
    pub(super) fn string<'s>(&'s self, text: Text<'s>) -> Option<&'s [u8]> {
        match text.value {
            AttributeValue::String(text) => Some(text.slice()),
            AttributeValue::DebugStrRef(at) => zero_terminated(self.strings, at.0),
            AttributeValue::DebugLineStrRef(at) => zero_terminated(self.line_strings, at.0),
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let field = index.0.checked_mul(4)?.checked_add(text.base)?;
                let mut field = Bytes::new(self.string_offsets.get(field..)?, LittleEndian);
                zero_terminated(self.strings, field.read_u32().ok()? as usize)
            }
            _ => None,
        }
    }
}

fn zero_terminated(table: &[u8], at: usize) -> Option<&[u8]> {
    CStr::from_bytes_until_nul(table.get(at..)?).ok().map(CStr::to_bytes)
}

/// A section's bytes with its relocations applied, and those of its fields that are addresses.
fn relocated(image: &Relocatable, section: Option<SectionId>) -> (Cow<'_, [u8]>, Addresses) {
    let Some(section) = section else { return (Cow::Borrowed(&[]), Addresses::default()) };
    let mut data = Cow::Borrowed(image.data(section));
    let mut addresses = Vec::new();
    for relocation in image.debug_relocations(section) {
        let Some(target) = target(image, &relocation) else { continue };
        let field = relocation.offset.0;
        let (Ok(at), value) = (usize::try_from(field), target.offset.0.to_le_bytes()) else { continue };
        let Ok(howto) = howto(relocation.kind) else { continue };
        let width = match (howto.formula, howto.width) {
            (Formula::Absolute | Formula::ThreadBlockOffset, width @ (4 | 8)) => width,
            _ => continue,
        };
        if width == 8 {
            addresses.push((field, target));
        }
        if let Some(field) = at.checked_add(width).and_then(|end| data.to_mut().get_mut(at..end)) {
            field.copy_from_slice(&value[..width]);
        }
    }
    if !addresses.is_sorted_by_key(|entry| entry.0) {
        addresses.sort_by_key(|entry| entry.0);
    }
    (data, Addresses(addresses))
}

/// What a relocation refers to, when that is in this object.
fn target(image: &Relocatable, relocation: &Relocation) -> Option<Target> {
    let symbol = image.symbol(relocation.symbol);
    let Place::Section(section) = symbol.place else { return None };
    Some(Target { section, offset: symbol.offset.checked_add_signed(relocation.addend)? })
}
