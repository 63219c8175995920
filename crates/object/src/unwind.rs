//! `.eh_frame`: which unwind entry and which landing pads belong to which function.
//!
//! Specification: LSB Core 5.0, section 10.6 (exception frames); DWARF 5, section 6.4.

use crate::ObjectError;
use crate::address::SectionOffset;
use crate::relocatable::{Place, Relocatable, Relocation, SectionId, SectionKind};
use std::ops::Range;

/// A place in a section.
pub type Location = (SectionId, SectionOffset);

/// A common information entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cie {
    /// Its bytes in the section, length field included.
    pub range: Range<usize>,
    /// Pointer encoding of FDE addresses (`DW_EH_PE_*`).
    pub fde_encoding: u8,
    lsda_encoding: Option<u8>,
}

/// A frame description entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fde {
    /// Index of its CIE in [`Unwind::cies`].
    pub cie: usize,
    /// Its bytes in the section, length field included.
    pub range: Range<usize>,
    /// The first instruction it describes.
    pub function: Location,
    /// Its language-specific data: the landing-pad table.
    pub landing_pads: Option<Location>,
}

/// The unwind section of an object.
#[derive(Clone, Debug, Default)]
pub struct Unwind {
    /// The section; none when the object has no code that can be unwound.
    pub section: Option<SectionId>,
    /// Common entries, in section order.
    pub cies: Vec<Cie>,
    /// Entries of functions, ascending by [`Fde::function`].
    pub fdes: Vec<Fde>,
}

const BAD: ObjectError = ObjectError::Inconsistent { what: ".eh_frame" };

impl Unwind {
    /// Reads an object's `.eh_frame`.
    pub fn parse(object: &Relocatable) -> Result<Self, ObjectError> {
        let mut all = object.sections().filter(|(_, s)| s.kind == SectionKind::Unwind && s.size > 0);
        let Some((section, _)) = all.next() else { return Ok(Self::default()) };
        if all.next().is_some() {
            return Err(ObjectError::Inconsistent { what: "a second .eh_frame" });
        }
        let mut unwind = Self { section: Some(section), ..Self::default() };
        let data = object.data(section);
        let mut at = 0;
        while let Some(length) = u32_at(data, at) {
            if length == 0 {
                break;
            }
            let end = at.checked_add(4 + length as usize).filter(|&end| end <= data.len() && length >= 4);
            let range = at..end.ok_or(BAD)?;
            match u32_at(data, at + 4).ok_or(BAD)? {
                0 => unwind.cies.push(read_cie(data, range.clone())?),
                back => {
                    let fde = unwind.read_fde(object, section, range.clone(), back)?;
                    unwind.fdes.extend(fde);
                }
            }
            at = range.end;
        }
        unwind.fdes.sort_by_key(|fde| fde.function);
        Ok(unwind)
    }

    /// The entries of functions that start in a section, ascending by offset.
    pub fn fdes_in(&self, section: SectionId) -> &[Fde] {
        let start = self.fdes.partition_point(|fde| fde.function.0 < section);
        let end = self.fdes.partition_point(|fde| fde.function.0 <= section);
        &self.fdes[start..end]
    }

    fn read_fde(
        &self,
        object: &Relocatable,
        section: SectionId,
        range: Range<usize>,
        back: u32,
    ) -> Result<Option<Fde>, ObjectError> {
        let start = (range.start + 4).checked_sub(back as usize).ok_or(BAD)?;
        let cie = self.cies.iter().position(|cie| cie.range.start == start).ok_or(BAD)?;
        let data = object.data(section);
        let pc = range.start + 8;
        let Some(function) = target(object, section, pc) else { return Ok(None) };
        let width = pointer_width(self.cies[cie].fde_encoding).ok_or(BAD)?;
        let mut landing_pads = None;
        if self.cies[cie].lsda_encoding.is_some() {
            let mut at = pc + 2 * width;
            uleb(data, &mut at).ok_or(BAD)?;
            landing_pads = target(object, section, at);
        }
        Ok(Some(Fde { cie, range, function, landing_pads }))
    }
}

/// The relocations whose fields lie in a range of their section.
pub fn relocations_within<'o>(
    object: &'o Relocatable,
    section: SectionId,
    range: &Range<usize>,
) -> &'o [Relocation] {
    let all = object.relocations(section);
    let start = all.partition_point(|r| (r.offset.0 as usize) < range.start);
    let end = all.partition_point(|r| (r.offset.0 as usize) < range.end);
    if start <= end { &all[start..end] } else { &[] }
}

/// What the relocation at `field` points to, when that is in the same object.
fn target(object: &Relocatable, section: SectionId, field: usize) -> Option<Location> {
    let relocation = relocations_within(object, section, &(field..field + 1)).first()?;
    let symbol = object.symbol(relocation.symbol);
    let Place::Section(place) = symbol.place else { return None };
    Some((place, symbol.offset.checked_add_signed(relocation.addend)?))
}

fn read_cie(data: &[u8], range: Range<usize>) -> Result<Cie, ObjectError> {
    let body = data.get(..range.end).ok_or(BAD)?;
    let mut at = range.start + 8;
    at += 1; // version
    let augmentation = body.get(at..).and_then(|rest| rest.split(|&b| b == 0).next()).ok_or(BAD)?;
    at += augmentation.len() + 1;
    uleb(body, &mut at).ok_or(BAD)?; // code alignment
    uleb(body, &mut at).ok_or(BAD)?; // data alignment: the bytes of an SLEB128 end alike
    uleb(body, &mut at).ok_or(BAD)?; // return address register
    let mut cie = Cie { range, fde_encoding: 0, lsda_encoding: None };
    for letter in augmentation {
        match letter {
            b'z' => {
                uleb(body, &mut at).ok_or(BAD)?;
            }
            b'R' => cie.fde_encoding = byte(body, &mut at).ok_or(BAD)?,
            b'L' => cie.lsda_encoding = Some(byte(body, &mut at).ok_or(BAD)?).filter(|&e| e != 0xff),
            b'P' => {
                let encoding = byte(body, &mut at).ok_or(BAD)?;
                at += pointer_width(encoding).ok_or(BAD)?;
            }
            b'S' | b'B' => {}
            _ => return Err(BAD),
        }
    }
    Ok(cie)
}

/// Bytes of a pointer in a `DW_EH_PE_*` encoding of fixed width.
pub fn pointer_width(encoding: u8) -> Option<usize> {
    match encoding & 0x0f {
        0x00 | 0x04 | 0x0c => Some(8),
        0x02 | 0x0a => Some(2),
        0x03 | 0x0b => Some(4),
        _ => None,
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn byte(data: &[u8], at: &mut usize) -> Option<u8> {
    let value = *data.get(*at)?;
    *at += 1;
    Some(value)
}

fn uleb(data: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = byte(data, at)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
