//! A relocatable Mach-O object.
//!
//! Specification: `mach-o/loader.h`, `mach-o/nlist.h`. Names are written as they came: the underscore that C names
//! begin with is part of them already.

use super::{align, field};
use crate::stubs::StubError;
use crate::stubs::cache::Facts;
use crate::stubs::layout::{Layout, Place, StubSymbol};
use crate::stubs::target::InstructionSet;
use object::macho;

const HEADER: usize = 32;
const SEGMENT: usize = 72 + 2 * 80;
const BUILD_VERSION: usize = 24;
const SYMTAB: usize = 24;
const DYSYMTAB: usize = 80;

/// Writes a stub object.
pub(super) fn write(layout: &Layout<'_>, host: &Facts) -> Result<Vec<u8>, StubError> {
    let platform_size = if host.platform.is_some() { BUILD_VERSION } else { 0 };
    let commands = SEGMENT + platform_size + SYMTAB + DYSYMTAB;
    let text = HEADER + commands;
    // The section's address; in the file it is as far from the code.
    let cells = layout.text.len().next_multiple_of(8);
    let symbols_at = (text + cells + layout.cells.len()).next_multiple_of(8);
    let mut strings = vec![0];
    let symbols = symbols(layout, cells as u64, &mut strings)?;

    let mut out = Vec::with_capacity(symbols_at + symbols.len() + strings.len());
    let (cpu, subtype) = match layout.target.instructions {
        InstructionSet::X86_64 => (macho::CPU_TYPE_X86_64, macho::CPU_SUBTYPE_X86_64_ALL),
        _ => (macho::CPU_TYPE_ARM64, macho::CPU_SUBTYPE_ARM64_ALL),
    };
    let count = if host.platform.is_some() { 4 } else { 3 };
    words(
        &mut out,
        &[
            macho::MH_MAGIC_64,
            cpu,
            subtype,
            macho::MH_OBJECT,
            count,
            commands as u32,
            macho::MH_SUBSECTIONS_VIA_SYMBOLS,
            0,
        ],
    );
    segment(&mut out, layout, text, cells)?;
    if let Some([platform, oldest, sdk]) = host.platform {
        words(&mut out, &[macho::LC_BUILD_VERSION, BUILD_VERSION as u32, platform, oldest, sdk, 0]);
    }
    let (strings_at, count) = (field(symbols_at + symbols.len())?, layout.symbols.len() as u32);
    let tables = [field(symbols_at)?, count, strings_at, field(strings.len())?];
    words(&mut out, &[macho::LC_SYMTAB, SYMTAB as u32]);
    words(&mut out, &tables);
    words(&mut out, &[macho::LC_DYSYMTAB, DYSYMTAB as u32]);
    // No local symbols; all are defined, none is undefined.
    words(&mut out, &[0, 0, 0, count, count, 0]);
    words(&mut out, &[0; 12]);

    out.extend_from_slice(&layout.text);
    out.resize(text + cells, 0);
    out.extend_from_slice(&layout.cells);
    align(&mut out, 8);
    out.extend_from_slice(&symbols);
    out.extend_from_slice(&strings);
    Ok(out)
}

fn segment(out: &mut Vec<u8>, layout: &Layout<'_>, text: usize, cells: usize) -> Result<(), StubError> {
    let length = (cells + layout.cells.len()) as u64;
    let all = macho::VM_PROT_READ | macho::VM_PROT_WRITE | macho::VM_PROT_EXECUTE;
    words(out, &[macho::LC_SEGMENT_64, SEGMENT as u32]);
    out.extend_from_slice(&[0; 16]);
    for long in [0, length, text as u64, length] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    words(out, &[all, all, 2, 0]);
    let code = macho::S_ATTR_PURE_INSTRUCTIONS | macho::S_ATTR_SOME_INSTRUCTIONS;
    section(out, "__text", 0, layout.text.len(), field(text)?, code);
    section(out, "__const", cells as u64, layout.cells.len(), field(text + cells)?, 0);
    Ok(())
}

fn section(out: &mut Vec<u8>, name: &str, address: u64, size: usize, offset: u32, flags: u32) {
    for name in [name, "__TEXT"] {
        let mut field = [0; 16];
        field[..name.len()].copy_from_slice(name.as_bytes());
        out.extend_from_slice(&field);
    }
    out.extend_from_slice(&address.to_le_bytes());
    out.extend_from_slice(&(size as u64).to_le_bytes());
    // Aligned to 2^3.
    words(out, &[offset, 3, 0, 0, flags, 0, 0, 0]);
}

fn symbols(layout: &Layout<'_>, cells: u64, strings: &mut Vec<u8>) -> Result<Vec<u8>, StubError> {
    let mut out = Vec::with_capacity(layout.symbols.len() * 16);
    strings.reserve(layout.names);
    for StubSymbol { name, place, .. } in &layout.symbols {
        out.extend_from_slice(&field(strings.len())?.to_le_bytes());
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
        let (kind, section, value) = match *place {
            Place::Text(at) => (macho::N_SECT, 1, at as u64),
            Place::Cells(at) => (macho::N_SECT, 2, cells + at as u64),
            Place::Absolute(value) => (macho::N_ABS, 0, value),
        };
        out.extend_from_slice(&[macho::N_EXT | macho::N_PEXT | kind, section]);
        out.extend_from_slice(&macho::N_WEAK_DEF.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
    }
    Ok(out)
}

fn words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}
