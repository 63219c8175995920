//! Did this function or static change?
//!
//! Two versions of an entity are the same when their bytes are, and when every relocation means the
//! same. What a reference means does not depend on where things stand in an object: named things are
//! compared by name, private constants by their content, however deep ([`Referent`]).

use crate::relocatable::{
    Binding, Place, Relocatable, Relocation, SectionId, SectionKind, SymbolId, SymbolKind,
};
use crate::relocation::{Formula, howto, pc_bias};
use crate::unwind::Unwind;
use rustc_hash::FxHashMap;

/// What a relocation refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Referent {
    /// Something with a name, defined here or elsewhere: `symbol + offset`. The offset is the one that
    /// stands in the relocation, so PC-relative ones have their bias in it.
    Named {
        /// The symbol that names it.
        symbol: SymbolId,
        /// Bytes past it.
        offset: i64,
    },
    /// A place in a private constant: `section + offset`, the offset as above.
    Content {
        /// The constant's section.
        section: SectionId,
        /// Bytes into it.
        offset: i64,
    },
    /// A place inside a function's code, such as a jump table's target: `section + offset`, the offset as
    /// above. It means this very copy of the function, not what the function's name means.
    Interior {
        /// The function's section.
        section: SectionId,
        /// Bytes into it.
        offset: i64,
    },
    /// A fixed value.
    Absolute {
        /// The value.
        value: i64,
    },
}

/// Whether a symbol stands for something that has an identity of its own, so that references to it are
/// compared by name: functions, variables, thread-locals, and those constants that Rust names.
pub fn is_named(object: &Relocatable, id: SymbolId) -> bool {
    let symbol = object.symbol(id);
    let Place::Section(section) = symbol.place else { return true };
    if matches!(symbol.kind, SymbolKind::Section | SymbolKind::File | SymbolKind::Mapping) {
        return false;
    }
    let starts_with = |start: &[u8]| object.name_starts_with(id, start);
    match object.section(section).kind {
        SectionKind::ReadOnly => {
            symbol.binding != Binding::Local || starts_with(b"_ZN") || starts_with(b"_R")
        }
        _ => !starts_with(b"\0") && !starts_with(b".L"),
    }
}

/// What a relocation in section `holder` refers to.
pub fn referent(object: &Relocatable, holder: SectionId, relocation: &Relocation) -> Referent {
    let symbol = object.symbol(relocation.symbol);
    let section = match symbol.place {
        Place::Absolute => {
            return Referent::Absolute {
                value: symbol.offset.0.cast_signed().wrapping_add(relocation.addend),
            };
        }
        Place::Undefined | Place::Common => {
            return Referent::Named { symbol: relocation.symbol, offset: relocation.addend };
        }
        Place::Section(section) => section,
    };
    let offset = symbol.offset.0.cast_signed().wrapping_add(relocation.addend);
    if is_interior(object, holder, section, relocation, offset) {
        return Referent::Interior { section, offset };
    }
    if is_named(object, relocation.symbol) {
        return Referent::Named { symbol: relocation.symbol, offset: relocation.addend };
    }
    match covering_symbol(object, section, offset.wrapping_add(pc_bias(relocation))) {
        Some(symbol) => {
            let start = object.symbol(symbol).offset.0.cast_signed();
            Referent::Named { symbol, offset: offset.wrapping_sub(start) }
        }
        None => Referent::Content { section, offset },
    }
}

/// Whether a reference to code means a place in this copy of it: unwind entries, jump tables (which hold
/// distances), and whatever is not a function's first instruction.
fn is_interior(
    object: &Relocatable,
    holder: SectionId,
    section: SectionId,
    relocation: &Relocation,
    offset: i64,
) -> bool {
    if object.section(section).kind != SectionKind::Text {
        return false;
    }
    let formula = howto(relocation.kind).map(|howto| howto.formula);
    match object.section(holder).kind {
        SectionKind::Text => {}
        SectionKind::Unwind => return true,
        _ if formula == Ok(Formula::Relative) => return true,
        _ => {}
    }
    let target = offset.wrapping_add(pc_bias(relocation));
    !object
        .symbols_in(section)
        .any(|s| object.symbol(s).offset.0.cast_signed() == target && is_named(object, s))
}

/// The last named symbol of a section that starts at or before an offset; the first one when the offset
/// is before all (an immediate behind a PC-relative field makes its addend smaller still).
fn covering_symbol(object: &Relocatable, section: SectionId, offset: i64) -> Option<SymbolId> {
    let mut found = None;
    for symbol in object.symbols_in(section).filter(|&s| is_named(object, s)) {
        if found.is_some() && object.symbol(symbol).offset.0.cast_signed() > offset {
            break;
        }
        found = Some(symbol);
    }
    found
}

/// How strictly to compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Strictness {
    /// Everything counts.
    Exact,
    /// Line and column numbers in panic locations do not count.
    IgnoreLocations,
}

/// Compares entities of two versions of an object, or of two objects.
#[derive(Debug)]
pub struct Comparer<'o> {
    old: &'o Relocatable,
    new: &'o Relocatable,
    strictness: Strictness,
    /// What was found; pairs under comparison count as the same, so that cycles end.
    memo: FxHashMap<(SectionId, SectionId), bool>,
}

impl<'o> Comparer<'o> {
    /// A comparer of entities in `old` with entities in `new`.
    pub fn new(old: &'o Relocatable, new: &'o Relocatable, strictness: Strictness) -> Self {
        Self { old, new, strictness, memo: FxHashMap::default() }
    }

    /// Whether two functions have the same code and landing pads.
    pub fn same_function(
        &mut self,
        (old, old_unwind): (SectionId, &Unwind),
        (new, new_unwind): (SectionId, &Unwind),
    ) -> bool {
        let (a, b) = (old_unwind.fdes_in(old), new_unwind.fdes_in(new));
        let pads = |s: &mut Self| {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| match (a.landing_pads, b.landing_pads) {
                    (None, None) => true,
                    (Some((a, at)), Some((b, bt))) => at == bt && s.same_section(a, b),
                    _ => false,
                })
        };
        self.same_section(old, new) && pads(self)
    }

    /// Whether two sections have the same content.
    pub fn same_section(&mut self, old: SectionId, new: SectionId) -> bool {
        if let Some(&known) = self.memo.get(&(old, new)) {
            return known;
        }
        self.memo.insert((old, new), true);
        let same = self.compare_sections(old, new);
        if !same {
            // Whatever was found equal meanwhile may have relied on this pair.
            self.memo.retain(|_, known| !*known);
        }
        self.memo.insert((old, new), same);
        same
    }

    fn compare_sections(&mut self, old: SectionId, new: SectionId) -> bool {
        let (a, b) = (self.old.section(old), self.new.section(new));
        if a.size != b.size || a.kind != b.kind {
            return false;
        }
        let (ra, rb) = (self.old.relocations(old), self.new.relocations(new));
        if ra.len() != rb.len() {
            return false;
        }
        let (mut da, mut db) = (self.old.data(old), self.new.data(new));
        if self.strictness == Strictness::IgnoreLocations
            && is_panic_location(self.old, old)
            && is_panic_location(self.new, new)
        {
            (da, db) = (&da[..16], &db[..16]);
        }
        da == db && ra.iter().zip(rb).all(|(a, b)| self.same_reference((old, a), (new, b)))
    }

    fn same_reference(
        &mut self,
        (old, a): (SectionId, &Relocation),
        (new, b): (SectionId, &Relocation),
    ) -> bool {
        if a.offset != b.offset || a.kind != b.kind {
            return false;
        }
        match (referent(self.old, old, a), referent(self.new, new, b)) {
            (Referent::Interior { section: s, offset: i }, Referent::Interior { section: t, offset: j }) => {
                i == j
                    && match (first_named(self.old, s), first_named(self.new, t)) {
                        (Some(s), Some(t)) => self.old.same_name(s, self.new, t),
                        (None, None) => true,
                        _ => false,
                    }
            }
            (Referent::Named { symbol: s, offset: i }, Referent::Named { symbol: t, offset: j }) => {
                i == j && self.old.same_name(s, self.new, t)
            }
            (Referent::Content { section: s, offset: i }, Referent::Content { section: t, offset: j }) => {
                let (i, j) = (i.wrapping_add(pc_bias(a)), j.wrapping_add(pc_bias(b)));
                match (piece(self.old, s, i), piece(self.new, t, j)) {
                    (Some(p), Some(q)) => p == q,
                    (None, None) => i == j && self.same_section(s, t),
                    _ => false,
                }
            }
            (Referent::Absolute { value: a }, Referent::Absolute { value: b }) => a == b,
            _ => false,
        }
    }
}

/// The first thing in a section that has a name.
fn first_named(object: &Relocatable, section: SectionId) -> Option<SymbolId> {
    object.symbols_in(section).find(|&s| is_named(object, s))
}

/// The piece of a mergeable section that an offset falls into, and how far into it.
fn piece(object: &Relocatable, section: SectionId, offset: i64) -> Option<(&[u8], usize)> {
    let header = object.section(section);
    let entry = usize::try_from(header.merge_entry).ok().filter(|&entry| entry > 0)?;
    let data = object.data(section);
    let offset = usize::try_from(offset.max(0)).ok().filter(|&offset| offset <= data.len())?;
    if header.strings {
        // References may point into a string: the rest of it is what they mean.
        let end = data[offset..].chunks(entry).position(|c| c.iter().all(|&b| b == 0));
        return Some((&data[offset..offset + end? * entry], 0));
    }
    // An immediate behind the field puts the computed offset up to 4 bytes too low.
    let start = offset.checked_next_multiple_of(entry)?;
    Some((data.get(start..start.checked_add(entry)?)?, 0))
}

/// Whether a section is a `core::panic::Location`: a file name (one relocation), its length, line, column.
fn is_panic_location(object: &Relocatable, section: SectionId) -> bool {
    let (data, relocations) = (object.data(section), object.relocations(section));
    let word = |at: usize| data[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    data.len() == 24
        && relocations.len() == 1
        && relocations[0].offset.0 == 0
        && object.symbols_in(section).all(|s| !is_named(object, s))
        && (1..4096).contains(&word(8))
        && word(12) == 0
        && (1..1 << 20).contains(&word(16))
        && (1..1 << 16).contains(&word(20))
}
