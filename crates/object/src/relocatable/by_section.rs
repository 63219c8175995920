//! Which symbols are defined in which section.

use super::{Place, SectionId, Symbol, SymbolId, SymbolKind, index};
use crate::ObjectError;

/// Symbols other than section and mapping symbols, by the section that they are defined in.
pub(super) struct BySection {
    /// Where a section's symbols start in `symbols`; they end where the next one's start.
    starts: Vec<u32>,
    symbols: Vec<SymbolId>,
}

impl BySection {
    pub(super) fn of(symbols: &[Symbol], sections: usize) -> Result<Self, ObjectError> {
        let place = |symbol: &Symbol| match symbol.place {
            _ if matches!(symbol.kind, SymbolKind::Section | SymbolKind::Mapping) => None,
            Place::Section(SectionId(section)) => Some(section as usize),
            _ => None,
        };
        let mut starts = vec![0; sections + 1];
        symbols.iter().filter_map(place).for_each(|section| starts[section + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut all = vec![SymbolId(0); symbols.iter().filter_map(place).count()];
        for (at, symbol) in symbols.iter().enumerate() {
            if let Some(section) = place(symbol) {
                all[next[section] as usize] = SymbolId(index(at)?);
                next[section] += 1;
            }
        }
        for range in starts.windows(2) {
            all[range[0] as usize..range[1] as usize].sort_by_key(|symbol| symbols[symbol.0 as usize].offset);
        }
        Ok(Self { starts, symbols: all })
    }

    /// Ascending by offset.
    pub(super) fn get(&self, section: SectionId) -> &[SymbolId] {
        let at = section.0 as usize;
        match self.starts.get(at..at.saturating_add(2)) {
            Some(&[start, end]) => &self.symbols[start as usize..end as usize],
            _ => &[],
        }
    }
}
