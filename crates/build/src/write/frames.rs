//! `.eh_frame` and its search header.
//!
//! Specification: LSB Core 5.0, sections 10.6.1 and 10.6.2.

use super::content::{offset, write_reference};
use super::{Bind, WriteError};
use crate::place::Layout;
use crate::resolve::{Closure, Part};
use livepatch_object::address::SectionOffset;
use livepatch_object::relocatable::Relocation;
use livepatch_object::unwind::relocations_within;
use std::ops::Range;

/// Version, pointer encodings: frame pointer pc-relative 4, count unsigned 4, table header-relative 4.
const HEADER: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// Writes both sections into the image.
pub(super) fn write(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
    image: &mut [u8],
) -> Result<(), WriteError> {
    let mut table = Vec::new();
    for group in &layout.frames {
        let part = &closure.parts[group.part.0];
        let cie = &part.object.unwind.cies[group.cie];
        record(closure, layout, bind, part, &cie.range, group.at, image)?;
        for (id, fde, at) in &group.fdes {
            let part = &closure.parts[id.0];
            record(closure, layout, bind, part, &fde.range, *at, image)?;
            // The distance from this field back to the common entry.
            let back = u32::try_from(at + 4 - group.at).map_err(|_| TOO_LARGE)?;
            image[offset(at + 4)..][..4].copy_from_slice(&back.to_le_bytes());
            table.push((layout.parts[id.0] + fde.function.1.0, *at));
        }
    }
    table.sort_unstable();
    let header = layout.eh_frame_hdr.start;
    let mut out = HEADER.to_vec();
    out.extend(distance(layout.eh_frame.start, header + 4)?);
    out.extend(u32::try_from(table.len()).map_err(|_| TOO_LARGE)?.to_le_bytes());
    for (function, fde) in table {
        out.extend(distance(function, header)?);
        out.extend(distance(fde, header)?);
    }
    image[offset(header)..][..out.len()].copy_from_slice(&out);
    Ok(())
}

const TOO_LARGE: WriteError = WriteError::Inconsistent("unwind entries further apart than 4 GiB");

fn distance(to: u64, from: u64) -> Result<[u8; 4], WriteError> {
    let distance = to.wrapping_sub(from).cast_signed();
    Ok(i32::try_from(distance).map_err(|_| TOO_LARGE)?.to_le_bytes())
}

/// Copies one record and makes its references final.
fn record(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
    part: &Part,
    range: &Range<usize>,
    at: u64,
    image: &mut [u8],
) -> Result<(), WriteError> {
    let Some(section) = part.object.unwind.section else { return Ok(()) };
    let part = &Part { object: part.object.clone(), section };
    let bytes = image
        .get_mut(offset(at)..offset(at).saturating_add(range.len()))
        .ok_or(WriteError::Inconsistent("an unwind entry outside the image"))?;
    bytes.copy_from_slice(&part.object.image.data(section)[range.clone()]);
    for relocation in relocations_within(&part.object.image, section, range) {
        // Seen from the record, not from its section.
        let moved =
            Relocation { offset: SectionOffset(relocation.offset.0 - range.start as u64), ..*relocation };
        write_reference(closure, layout, bind, part, &moved, at, bytes)
            .map_err(|error| error.at(part, relocation))?;
    }
    Ok(())
}
