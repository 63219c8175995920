//! `LC_DYLD_CHAINED_FIXUPS`: pointers that say themselves what they are and where the next one is
//! (`<mach-o/fixup-chains.h>`).

mod pointer;

pub use pointer::{Pointer, PointerFormat};

use super::cursor::Cursor;
use super::fixup::{Action, At, Builder, Fixup, Import, ImportId, Ordinal, Table};
use super::{Image, Problem, SegmentId};
use crate::address::LinkAddress;
use bytes::Bytes;

const TABLE: &str = "chained fixups";
/// `DYLD_CHAINED_PTR_START_NONE`: a page without pointers.
const NO_START: u16 = 0xffff;
/// `DYLD_CHAINED_PTR_START_MULTI`: several chains in a page, of 32-bit images only.
const SEVERAL_STARTS: u16 = 0x8000;

/// Reads imports and chains; returns which pointer formats there are.
pub(super) fn read(image: &Image, builder: &mut Builder<'_>) -> Result<Vec<PointerFormat>, Problem> {
    let table = image.table(&image.tables.chained_fixups);
    // A linker writes the command without a table where there is nothing to say.
    if table.is_empty() {
        return Ok(Vec::new());
    }
    let header = Header::read(&table)?;
    let addends = imports(image, &table, &header, builder)?;
    let mut formats = Vec::new();
    let mut cursor = Cursor::new(TABLE, &table, header.starts);
    let segments = cursor.u32()? as usize;
    if segments > image.segments.iter().len() {
        return Err(cursor.bad(header.starts, "more segments than the image has"));
    }
    for segment in 0..segments {
        let offset = cursor.u32()? as usize;
        if offset == 0 {
            continue;
        }
        let at = header.starts.checked_add(offset);
        let at = at.ok_or(Problem::EndsEarly { table: TABLE, at: header.starts })?;
        let pages = Pages::read(image, &table, at, segment)?;
        if !formats.contains(&pages.format) {
            formats.push(pages.format);
        }
        for (page, start) in pages.starts(&table)? {
            chain(image, &pages, page, start, &addends, builder)?;
        }
    }
    Ok(formats)
}

/// `dyld_chained_fixups_header`.
struct Header {
    starts: usize,
    imports: usize,
    symbols: usize,
    import_count: usize,
    import_format: u32,
}

impl Header {
    fn read(table: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(TABLE, table, 0);
        let version = cursor.u32()?;
        if version != 0 {
            return Err(Problem::Unsupported { what: "version of chained fixups", value: version.into() });
        }
        let header = Self {
            starts: cursor.u32()? as usize,
            imports: cursor.u32()? as usize,
            symbols: cursor.u32()? as usize,
            import_count: cursor.u32()? as usize,
            import_format: cursor.u32()?,
        };
        let symbols = cursor.u32()?;
        if symbols != 0 {
            return Err(Problem::Unsupported { what: "compression of symbols", value: symbols.into() });
        }
        Ok(header)
    }
}

/// Reads the imports, and returns the addend of each.
fn imports(
    image: &Image,
    table: &Bytes,
    header: &Header,
    builder: &mut Builder<'_>,
) -> Result<Vec<i64>, Problem> {
    let mut cursor = Cursor::new(TABLE, table, header.imports);
    let size = match header.import_format {
        1 => 4,
        2 => 8,
        3 => 16,
        other => return Err(Problem::Unsupported { what: "format of imports", value: other.into() }),
    };
    if header.import_count > table.len() / size {
        return Err(Problem::TooMany { what: "imports" });
    }
    let mut addends = Vec::with_capacity(header.import_count);
    for _ in 0..header.import_count {
        let at = cursor.at;
        let (ordinal, weak, name, addend) = match header.import_format {
            3 => {
                let bits = cursor.u64()?;
                let ordinal = bits as u16;
                // The last sixteen numbers are negative ones.
                let ordinal =
                    if ordinal > 0xfff0 { ordinal.cast_signed().into() } else { i64::from(ordinal) };
                (ordinal, bits >> 16 & 1, bits >> 32, cursor.u64()?.cast_signed())
            }
            format => {
                let bits = cursor.u32()?;
                let ordinal = bits as u8;
                let ordinal = if ordinal > 0xf0 { ordinal.cast_signed().into() } else { i64::from(ordinal) };
                let addend = if format == 2 { cursor.u32()?.cast_signed().into() } else { 0 };
                (ordinal, u64::from(bits >> 8 & 1), u64::from(bits >> 9), addend)
            }
        };
        let name = usize::try_from(name).ok().and_then(|name| header.symbols.checked_add(name));
        let name = name.ok_or_else(|| cursor.bad(at, "a name that is elsewhere"))?;
        let symbol = table.slice_ref(Cursor::new(TABLE, table, name).text()?);
        let ordinal = Ordinal::of(ordinal, image.libraries.len())?;
        // By their numbers, so that the same name may be there twice.
        builder.imports.push(Import { symbol, ordinal, weak_import: weak != 0 });
        addends.push(addend);
    }
    Ok(addends)
}

/// `dyld_chained_starts_in_segment`.
struct Pages {
    segment: usize,
    format: PointerFormat,
    page_size: u64,
    count: usize,
    /// Where the starts are in the table.
    starts: usize,
}

impl Pages {
    fn read(image: &Image, table: &[u8], at: usize, segment: usize) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(TABLE, table, at);
        let _size = cursor.u32()?;
        let page_size = u64::from(cursor.u16()?);
        let format = cursor.u16()?;
        let format = PointerFormat::of(format)
            .ok_or(Problem::Unsupported { what: "format of chained pointers", value: format.into() })?;
        let offset = cursor.u64()?;
        let _largest_pointer = cursor.u32()?;
        let count = usize::from(cursor.u16()?);
        if !matches!(page_size, 0x1000 | 0x4000) {
            return Err(cursor.bad(at, "a page size that no system has"));
        }
        let named = u16::try_from(segment).ok().and_then(|id| image.segments.get(SegmentId(id)));
        let address = named.map(|segment| segment.address);
        if address.is_none() || image.base().checked_add(offset) != address {
            return Err(cursor.bad(at, "the place of another segment"));
        }
        Ok(Self { segment, format, page_size, count, starts: cursor.at })
    }

    /// Pages with pointers, and where the first one is, counted from the segment's start.
    fn starts(&self, table: &[u8]) -> Result<Vec<(usize, u64)>, Problem> {
        let mut cursor = Cursor::new(TABLE, table, self.starts);
        let mut starts = Vec::new();
        for page in 0..self.count {
            let at = cursor.at;
            let start = cursor.u16()?;
            if start == NO_START {
                continue;
            }
            if start & SEVERAL_STARTS != 0 {
                return Err(cursor.bad(at, "several chains in a page, as only 32-bit images have them"));
            }
            starts.push((page, page as u64 * self.page_size + u64::from(start)));
        }
        Ok(starts)
    }
}

fn chain(
    image: &Image,
    pages: &Pages,
    page: usize,
    mut offset: u64,
    addends: &[i64],
    builder: &mut Builder<'_>,
) -> Result<(), Problem> {
    let at = At { table: TABLE, at: page };
    let end = (page as u64 + 1) * pages.page_size;
    loop {
        if offset >= end {
            return Err(at.bad("a chain that leaves its page"));
        }
        let slot = builder.slot(at, pages.segment, offset)?;
        let (pointer, next) = pages.format.decode(builder.value(&slot));
        let action = match pointer {
            Pointer::Rebase { target, high8, auth } => {
                let counts_from_base = auth.is_some() || pages.format.counts_from_header();
                let address = match pages.format {
                    PointerFormat::Arm64eSegmented => segmented(image, target),
                    _ if counts_from_base => image.base().checked_add(target),
                    _ => Some(LinkAddress(target)),
                };
                let target = address.ok_or_else(|| at.bad("a pointer to no address"))?;
                Action::Rebase { target, high8, auth }
            }
            Pointer::Bind { import, addend, auth } => {
                let of_import = addends.get(import as usize);
                let of_import = of_import.ok_or_else(|| at.bad("an import that is not in the table"))?;
                Action::Bind { import: ImportId(import), addend: addend.wrapping_add(*of_import), auth }
            }
        };
        builder.push(Fixup { slot, table: Table::Chained, at: at.number(), action })?;
        if next == 0 {
            return Ok(());
        }
        // At least one further: this ends.
        offset = offset.checked_add(next).ok_or_else(|| at.bad("a chain that leads nowhere"))?;
    }
}

/// A target as a segment's number and an offset in it.
fn segmented(image: &Image, target: u64) -> Option<LinkAddress> {
    let id = u16::try_from(target >> 28).ok().map(SegmentId)?;
    image.segments.get(id)?.address.checked_add(target & 0xfff_ffff)
}
