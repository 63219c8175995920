//! Images that are older than `LC_DYLD_INFO`: relocation entries (`<mach-o/reloc.h>`) and the indirect symbol table.

use super::fixup::{Action, At, Builder, Fixup, Import, Ordinal, Table};
use super::symbol::{Indirect, Symbol};
use super::{Image, Problem};
use crate::address::LinkAddress;
use crate::loadable::fields::u32_at;
use object::macho;
use std::ops::Range;

const LOCAL: &str = "local relocations";
const EXTERNAL: &str = "external relocations";
const INDIRECT: &str = "indirect symbols";
/// A pointer of eight bytes: log₂ of its size.
const POINTER_LENGTH: u32 = 3;

/// Reads all of them: what is rebased first.
pub(super) fn read(image: &Image, builder: &mut Builder<'_>) -> Result<(), Problem> {
    relocations(image, LOCAL, &image.tables.local_relocations, builder)?;
    relocations(image, EXTERNAL, &image.tables.external_relocations, builder)?;
    pointers(image, builder)
}

/// Addresses of entries count from the first segment that may be written to.
fn origin(image: &Image) -> LinkAddress {
    let writable = image.segments.iter().find(|segment| segment.initial.write());
    writable.map_or(image.base(), |segment| segment.address)
}

fn relocations(
    image: &Image,
    table: &'static str,
    range: &Range<usize>,
    builder: &mut Builder<'_>,
) -> Result<(), Problem> {
    let bytes = image.table(range);
    let origin = origin(image);
    for (index, entry) in bytes.chunks_exact(8).enumerate() {
        let at = At { table, at: index * 8 };
        let (Some(offset), Some(bits)) = (u32_at(entry, 0), u32_at(entry, 4)) else { continue };
        let (symbol, length, is_external) = (bits & 0xff_ffff, bits >> 25 & 3, bits >> 27 & 1 == 1);
        let (is_relative, kind) = (bits >> 24 & 1 == 1, bits >> 28);
        if is_relative || length != POINTER_LENGTH || kind != u32::from(macho::X86_64_RELOC_UNSIGNED) {
            return Err(at.bad("a relocation of something else than a pointer"));
        }
        let address = origin.checked_add(offset.into()).ok_or_else(|| at.bad("a place at no address"))?;
        let slot = builder.slot_at(at, address)?;
        if !is_external {
            builder.rebase(at, slot, Table::Relocation)?;
            continue;
        }
        let symbol = image.symbols.get(symbol).ok_or_else(|| at.bad("a symbol that is not in the table"))?;
        let import = builder.import(import(image, at, &symbol)?)?;
        let addend = builder.value(&slot).cast_signed();
        let action = Action::Bind { import, addend, auth: None };
        builder.push(Fixup { slot, table: Table::Relocation, at: at.number(), action })?;
    }
    Ok(())
}

fn import(image: &Image, at: At, symbol: &Symbol) -> Result<Import, Problem> {
    let name = image.symbols.name(symbol).ok_or_else(|| at.bad("a symbol whose name is not in the file"))?;
    let ordinal = match image.header.is_two_level() {
        true if symbol.is_undefined() => Ordinal::of(symbol.ordinal().number(), image.libraries.len())?,
        true => Ordinal::ThisImage,
        false => Ordinal::FlatLookup,
    };
    let weak_import = symbol.is_undefined() && symbol.is_weak_import();
    Ok(Import { symbol: name, ordinal, weak_import })
}

/// Pointers whose sections name an indirect symbol for each.
fn pointers(image: &Image, builder: &mut Builder<'_>) -> Result<(), Problem> {
    for section in image.segments.sections() {
        let lazy = match section.kind() {
            macho::S_LAZY_SYMBOL_POINTERS => true,
            macho::S_NON_LAZY_SYMBOL_POINTERS | macho::S_THREAD_LOCAL_VARIABLE_POINTERS => false,
            _ => continue,
        };
        let count = u32::try_from(section.size / 8).map_err(|_| Problem::TooMany { what: "pointers" })?;
        for number in 0..count {
            let index = section.reserved1.checked_add(number);
            let index = index.ok_or(Problem::TooMany { what: "indirect symbols" })?;
            let at = At { table: INDIRECT, at: index as usize };
            let indirect = image.symbols.indirect(index);
            let indirect = indirect.ok_or_else(|| at.bad("an entry that is not in the table"))?;
            let address = section.address.checked_add(u64::from(number) * 8);
            let slot = builder.slot_at(at, address.ok_or_else(|| at.bad("a place at no address"))?)?;
            let table = Table::IndirectSymbol { lazy };
            // Until it is bound, a lazy pointer leads to code of this image.
            if indirect == Indirect::Local || lazy && builder.value(&slot) != 0 {
                builder.rebase(at, slot, table)?;
            }
            let Indirect::Symbol(number) = indirect else { continue };
            let symbol = image.symbols.get(number);
            let symbol = symbol.ok_or_else(|| at.bad("a symbol that is not in the table"))?;
            let import = builder.import(import(image, at, &symbol)?)?;
            let action = Action::Bind { import, addend: 0, auth: None };
            builder.push(Fixup { slot, table, at: at.number(), action })?;
        }
    }
    Ok(())
}
