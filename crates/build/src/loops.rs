//! Loops that machine code alone does not show: a jump table whose target is the function's first byte.
//!
//! A redirected function must not loop to its entry, where its callers' new body begins. Branches are
//! seen in the code (`livepatch_object::entry`); the targets of jump tables are in the object.

use crate::live::Entity;
use livepatch_object::compare::{Referent, referent};
use livepatch_object::relocatable::{Place, Relocatable, SectionId, SectionKind};
use livepatch_object::relocation::pc_bias;

/// Whether a jump table of a function may lead to its first byte.
pub fn enters_by_table(function: &Entity) -> bool {
    let image = &function.object.image;
    let symbol = image.symbol(function.symbol);
    let Place::Section(text) = symbol.place else { return false };
    let entry = symbol.offset.0.cast_signed();
    tables(image, text).into_iter().any(|(table, start)| leads_to(image, table, start, text, entry))
}

/// Constants that a function's code refers to, and where in their sections: what a table's entries count
/// from, if it is a table.
fn tables(image: &Relocatable, text: SectionId) -> Vec<(SectionId, i64)> {
    let references = image.relocations(text).iter();
    let constants = references.filter_map(|relocation| match referent(image, text, relocation) {
        Referent::Content { section, offset } => Some((section, offset.wrapping_add(pc_bias(relocation)))),
        _ => None,
    });
    constants.filter(|(section, _)| image.section(*section).kind == SectionKind::ReadOnly).collect()
}

fn leads_to(image: &Relocatable, table: SectionId, start: i64, text: SectionId, entry: i64) -> bool {
    image.relocations(table).iter().any(|relocation| match referent(image, table, relocation) {
        // A distance from the table's start, written as one from its own field.
        Referent::Interior { section, offset } if section == text => {
            offset.wrapping_sub(relocation.offset.0.cast_signed().wrapping_sub(start)) == entry
        }
        // An address: of a label at the entry, or of the function, which cannot be told apart.
        Referent::Named { symbol, offset: 0 } => {
            image.symbol(symbol).place == Place::Section(text)
                && image.symbol(symbol).offset.0.cast_signed() == entry
        }
        _ => false,
    })
}
