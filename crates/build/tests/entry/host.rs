//! Reads the functions of an executable.

use livepatch_object::address::RuntimeAddress;
use livepatch_object::entry::x86_64::Function;
use livepatch_proto::{WireAddress, WireRange};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where the executable is taken to be loaded.
pub(crate) const SLIDE: u64 = 0x5555_5555_4000;

/// An executable's functions.
pub(crate) struct Host {
    sections: Vec<(u64, Vec<u8>)>,
    functions: Vec<Symbol>,
    /// Run-time addresses of its first byte and behind its last.
    pub(crate) range: Range<RuntimeAddress>,
}

struct Symbol {
    section: usize,
    offset: usize,
    size: usize,
    padding: usize,
}

impl Host {
    pub(crate) fn read(file: &[u8]) -> Self {
        let file = object::File::parse(file).expect("an ELF file");
        let mut sections = Vec::new();
        let mut functions = Vec::new();
        for section in file.sections().filter(|section| section.kind() == object::SectionKind::Text) {
            let data = section.data().expect("section data").to_vec();
            let start = section.address();
            let inside = |address: u64| (start..start + data.len() as u64).contains(&address);
            // Start → size of the largest function there; every symbol ends the padding before it.
            let mut starts = BTreeMap::new();
            for symbol in file.symbols().filter(|symbol| inside(symbol.address())) {
                let size = if symbol.kind() == SymbolKind::Text { symbol.size() } else { 0 };
                let known = starts.entry(symbol.address()).or_insert(0);
                *known = size.max(*known);
            }
            let ends: Vec<_> = starts.keys().skip(1).copied().chain([start + data.len() as u64]).collect();
            for ((&address, &size), next) in starts.iter().zip(ends) {
                let end = address + size;
                if size > 0 && end <= start + data.len() as u64 {
                    let padding = next.saturating_sub(end) as usize;
                    let offset = (address - start) as usize;
                    functions.push(Symbol { section: sections.len(), offset, size: size as usize, padding });
                }
            }
            sections.push((start, data));
        }
        let end = file.sections().map(|section| section.address() + section.size()).max().unwrap_or(0);
        Self { sections, functions, range: RuntimeAddress(SLIDE)..RuntimeAddress(SLIDE + end) }
    }

    pub(crate) fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        self.functions.iter().map(|symbol| {
            let (start, text) = &self.sections[symbol.section];
            Function {
                entry: RuntimeAddress(SLIDE + start + symbol.offset as u64),
                text,
                offset: symbol.offset,
                size: symbol.size,
                padding: symbol.padding,
            }
        })
    }

    /// What a process has free around it: everything, but for a heap above.
    pub(crate) fn free(&self) -> Vec<WireRange> {
        let range = |start: u64, end: u64| WireRange { start: WireAddress(start), end: WireAddress(end) };
        let (start, end) = (self.range.start.0, self.range.end.0.next_multiple_of(4096));
        vec![range(start - (1 << 31), start), range(end + (64 << 20), end + (1 << 31))]
    }
}
