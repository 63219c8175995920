//! Slots of Mach-O images, for the rebinder: whatever a record binds, in every section and segment, and pointers of
//! chains, which no other table names.

use super::link::lazy;
use super::loaded::{LazySlot, Loaded, text};
use super::registry;
use crate::rebinder::{ImportSlot, Keep, SlotKind, SlotSource, word};
use livepatch_object::macho::hazard::plain_name;
use livepatch_object::macho::{Action, Fixup, Fixups, Table};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All images that linkers of this process have loaded.
pub(crate) struct Images;

impl SlotSource for Images {
    fn slots(&self, symbol: &str) -> Vec<ImportSlot> {
        registry::all().iter().flat_map(|image| of_image(image, symbol)).collect()
    }
}

fn of_image(image: &Arc<Loaded>, name: &str) -> Vec<ImportSlot> {
    let Ok(fixups) = image.image.fixups() else { return Vec::new() };
    // Two records can be of one slot: it is one all the same.
    let mut slots = BTreeMap::new();
    for record in &fixups.records {
        if is_meant(&fixups, record, name)
            && let Some(slot) = slot(image, &fixups, record)
        {
            slots.entry(slot.word).or_insert(slot);
        }
    }
    slots.into_values().collect()
}

/// Whether a record binds a name of C, in whatever variant, or the very name.
fn is_meant(fixups: &Fixups, record: &Fixup, name: &str) -> bool {
    fixups.import_of(record).is_some_and(|import| {
        plain_name(&import.symbol) == Some(name.as_bytes()) || *import.symbol == *name.as_bytes()
    })
}

fn slot(image: &Arc<Loaded>, fixups: &Fixups, record: &Fixup) -> Option<ImportSlot> {
    let Action::Bind { addend, .. } = record.action else { return None };
    let import = fixups.import_of(record)?;
    let (entry, kind) = match record.table {
        Table::LazyBind { entry } => (Some(entry), SlotKind::Function),
        Table::IndirectSymbol { .. } => (None, SlotKind::Function),
        _ => (None, kind(image, record)),
    };
    // SAFETY: a slot of an image that `keep` has stay in memory, which its segment has.
    let word = unsafe { word(image.runtime(record.slot.address)?) }?;
    let holds = word.load();
    let lazy_slot = entry.and_then(|entry| image.lazy.get()?.get(&entry).copied());
    let is_unbound = |slot: &LazySlot| slot.unbound as usize == holds;
    let (is_bound, original) = match (lazy_slot.filter(is_unbound), entry) {
        (Some(_), Some(entry)) => {
            let decoded = image.image.lazy_bind_at(entry).ok()?;
            (false, lazy::resolve(image, &decoded).ok().map(|target| target.address() as usize))
        }
        _ => (true, Some(holds.wrapping_add_signed(-(addend as isize))).filter(|&there| there != 0)),
    };
    Some(ImportSlot {
        image: Arc::clone(&image.path),
        symbol: text(&import.symbol),
        version: None,
        kind,
        addend,
        is_bound,
        original,
        word,
        keep: Keep::new(Arc::clone(image)),
    })
}

/// Slots of the sections that code loads addresses from, and others.
fn kind(image: &Loaded, record: &Fixup) -> SlotKind {
    use object::macho::{S_LAZY_SYMBOL_POINTERS, S_NON_LAZY_SYMBOL_POINTERS};
    let section = record.slot.section.and_then(|id| image.image.segments.section(id));
    match section.map(|section| (section.kind(), section.name.as_str())) {
        Some((S_LAZY_SYMBOL_POINTERS, _)) => SlotKind::Function,
        Some((S_NON_LAZY_SYMBOL_POINTERS, _) | (_, "__got" | "__auth_got")) => SlotKind::Import,
        _ => SlotKind::Data,
    }
}
