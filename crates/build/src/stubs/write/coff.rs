//! A COFF object.
//!
//! Specification: "PE Format", COFF file header, section table, symbol table, auxiliary format 3.

use super::field;
use crate::stubs::StubError;
use crate::stubs::layout::{Kind, Layout, Place, StubSymbol};
use crate::stubs::target::InstructionSet;
use object::pe;

const HEADER: usize = 20;
const SECTION: usize = 40;
const SYMBOL: usize = 18;

/// Writes a stub object.
pub(super) fn write(layout: &Layout<'_>) -> Result<Vec<u8>, StubError> {
    let text = HEADER + 2 * SECTION;
    let cells = text + layout.text.len();
    let symbols_at = cells + layout.cells.len();
    // The first word is the string table's own length.
    let mut strings = vec![0; 4];
    let symbols = symbols(layout, &mut strings)?;
    let length = field(strings.len())?;
    strings[..4].copy_from_slice(&length.to_le_bytes());

    let mut out = Vec::with_capacity(symbols_at + symbols.len() + strings.len());
    let machine = match layout.target.instructions {
        InstructionSet::X86_64 => pe::IMAGE_FILE_MACHINE_AMD64,
        _ => pe::IMAGE_FILE_MACHINE_ARM64,
    };
    out.extend_from_slice(&machine.to_le_bytes());
    out.extend_from_slice(&2_u16.to_le_bytes());
    let count = field(symbols.len() / SYMBOL)?;
    for word in [0, field(symbols_at)?, count, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let code = pe::IMAGE_SCN_CNT_CODE | pe::IMAGE_SCN_MEM_EXECUTE | pe::IMAGE_SCN_MEM_READ;
    let data = pe::IMAGE_SCN_CNT_INITIALIZED_DATA | pe::IMAGE_SCN_MEM_READ;
    section(&mut out, *b".text\0\0\0", text, layout.text.len(), code | pe::IMAGE_SCN_ALIGN_16BYTES)?;
    section(&mut out, *b".rdata\0\0", cells, layout.cells.len(), data | pe::IMAGE_SCN_ALIGN_8BYTES)?;
    out.extend_from_slice(&layout.text);
    out.extend_from_slice(&layout.cells);
    out.extend_from_slice(&symbols);
    out.extend_from_slice(&strings);
    Ok(out)
}

fn section(out: &mut Vec<u8>, name: [u8; 8], start: usize, size: usize, flags: u32) -> Result<(), StubError> {
    out.extend_from_slice(&name);
    for word in [0, 0, field(size)?, field(start)?, 0, 0, 0, flags] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    Ok(())
}

/// Each stub is a weak external, so that what the patch or an archive defines comes first; the default that it
/// falls back to has a name of its own.
fn symbols(layout: &Layout<'_>, strings: &mut Vec<u8>) -> Result<Vec<u8>, StubError> {
    let mut out = Vec::with_capacity(layout.symbols.len() * 3 * SYMBOL);
    strings.reserve(2 * layout.names + layout.symbols.len() * 20);
    let mut put =
        |out: &mut Vec<u8>, parts: [&str; 3], value: u32, section: u16, kind: u16, class: u8, aux: u8| {
            // Long names stand in the string table; all are long enough for it not to matter.
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&field(strings.len())?.to_le_bytes());
            parts.iter().for_each(|part| strings.extend_from_slice(part.as_bytes()));
            strings.push(0);
            out.extend_from_slice(&value.to_le_bytes());
            out.extend_from_slice(&section.to_le_bytes());
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&[class, aux]);
            Ok::<(), StubError>(())
        };
    for StubSymbol { name, place, kind, .. } in &layout.symbols {
        let (value, section) = match *place {
            Place::Text(at) => (field(at)?, 1),
            Place::Cells(at) => (field(at)?, 2),
            Place::Absolute(_) => return Err(StubError::Inconsistent { what: "an absolute COFF symbol" }),
        };
        let kind = if *kind == Kind::Function { pe::IMAGE_SYM_DTYPE_FUNCTION << 4 } else { 0 };
        let default = field(out.len() / SYMBOL)?;
        let class = pe::IMAGE_SYM_CLASS_EXTERNAL;
        put(&mut out, [".weak.", name, ".livepatch"], value, section, kind, class, 0)?;
        put(&mut out, [name, "", ""], 0, 0, kind, pe::IMAGE_SYM_CLASS_WEAK_EXTERNAL, 1)?;
        out.extend_from_slice(&default.to_le_bytes());
        out.extend_from_slice(&pe::IMAGE_WEAK_EXTERN_SEARCH_ALIAS.to_le_bytes());
        out.extend_from_slice(&[0; 10]);
    }
    Ok(out)
}
