//! The way of a call through an image: stub, pointer, helper, binder.

use super::opcodes::Opcode;
use super::stub::{HelperCommon, HelperEntry, Stub, StubHelpers};
use super::{Action, Export, Fixup, Fixups, Image, Import, Problem, Slot, Table};
use crate::address::LinkAddress;
use crate::loadable::fields::u64_at;
use bytes::Bytes;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// What is asked about many symbols of one image, read once.
#[derive(Clone, Debug)]
pub struct Paths<'a> {
    image: &'a Image,
    fixups: &'a Fixups,
    stubs: Vec<Stub>,
    helpers: StubHelpers,
    /// Numbers of the records of each slot.
    by_slot: HashMap<LinkAddress, Vec<u32>, FxBuildHasher>,
}

/// Everything that has to do with one symbol.
#[derive(Clone, Debug)]
pub struct SymbolPath {
    /// The symbol, with its underscore.
    pub symbol: Bytes,
    /// Stubs through which it is called.
    pub stubs: Vec<Stub>,
    /// Pointers to it.
    pub slots: Vec<SlotPath>,
    /// What the image itself exports under that name.
    pub export: Option<Export>,
}

/// One pointer, and where it leads before and after it is bound.
#[derive(Clone, Debug)]
pub struct SlotPath {
    /// The pointer.
    pub slot: Slot,
    /// What it holds in the file.
    pub holds: u64,
    /// What is done to it, in the order of the tables.
    pub records: Vec<Fixup>,
    /// Where it leads until it is bound, if that is code of the image.
    pub at_first: Option<LinkAddress>,
    /// The helper that is there.
    pub helper: Option<HelperPath>,
}

/// What happens at a first call.
#[derive(Clone, Debug)]
pub struct HelperPath {
    /// The entry: it passes on where the opcodes are.
    pub entry: HelperEntry,
    /// What calls the binder.
    pub common: Option<HelperCommon>,
    /// What the binder reads.
    pub opcodes: Vec<Opcode>,
}

impl SlotPath {
    /// Whether it can be bound at the first call.
    pub fn is_lazy(&self) -> bool {
        self.records.iter().any(|record| record.table.is_lazy())
    }
}

impl<'a> Paths<'a> {
    /// Of an image and its changes.
    pub fn new(image: &'a Image, fixups: &'a Fixups) -> Self {
        let mut by_slot: HashMap<_, Vec<u32>, FxBuildHasher> = HashMap::default();
        for (number, record) in (0..).zip(&fixups.records) {
            by_slot.entry(record.slot.address).or_default().push(number);
        }
        Self { image, fixups, stubs: image.stubs(), helpers: image.stub_helpers(), by_slot }
    }

    /// The records of the pointer at an address, in the order of the tables.
    pub fn records(&self, address: LinkAddress) -> impl Iterator<Item = &'a Fixup> + '_ {
        let numbers = self.by_slot.get(&address).map_or(&[][..], |numbers| numbers);
        numbers.iter().filter_map(|number| self.fixups.records.get(*number as usize))
    }

    /// What the pointer at an address is bound to.
    pub fn import_at(&self, address: LinkAddress) -> Option<&'a Import> {
        self.records(address).find_map(|record| self.fixups.import_of(record))
    }

    /// The helper to which a pointer leads at first.
    pub fn helper_of(&self, address: LinkAddress) -> Option<&HelperEntry> {
        self.helpers.at(self.target_of(address)?)
    }

    /// Where a pointer leads before it is bound.
    fn target_of(&self, address: LinkAddress) -> Option<LinkAddress> {
        self.records(address).find_map(|record| match record.action {
            Action::Rebase { target, .. } => Some(target),
            Action::Bind { .. } => None,
        })
    }

    /// All stubs.
    pub fn stubs(&self) -> &[Stub] {
        &self.stubs
    }

    /// All helpers.
    pub fn helpers(&self) -> &StubHelpers {
        &self.helpers
    }

    /// The way of a symbol, which is named with its underscore; nothing is in it if the image does not know it.
    pub fn of(&self, symbol: &[u8]) -> Result<SymbolPath, Problem> {
        let is_it =
            |record: &&Fixup| self.fixups.import_of(record).is_some_and(|import| *import.symbol == *symbol);
        let bound: Vec<Slot> = self.fixups.records.iter().filter(is_it).map(|record| record.slot).collect();
        let mut slots: Vec<SlotPath> = Vec::new();
        for slot in bound {
            if slots.iter().all(|known| known.slot != slot) {
                slots.push(self.slot(slot)?);
            }
        }
        // Calls first, other pointers behind them.
        slots.sort_by_key(|slot| !self.stubs.iter().any(|stub| stub.slot == Some(slot.slot.address)));
        let is_its = |stub: &&Stub| {
            let through = stub.slot.is_some_and(|at| slots.iter().any(|slot| slot.slot.address == at));
            through || stub.symbol.as_ref().is_some_and(|name| **name == *symbol)
        };
        let stubs = self.stubs.iter().filter(is_its).cloned().collect();
        let export = self.image.exports()?.find(symbol)?;
        Ok(SymbolPath { symbol: Bytes::copy_from_slice(symbol), stubs, slots, export })
    }

    /// The way through one pointer.
    pub fn slot(&self, slot: Slot) -> Result<SlotPath, Problem> {
        let records = self.records(slot.address).copied().collect();
        let at_first = self.target_of(slot.address).filter(|target| self.image.is_code(*target));
        let entry = at_first.and_then(|target| self.helpers.at(target)).copied();
        let helper = match entry {
            Some(entry) => Some(HelperPath {
                entry,
                common: self.helpers.common.filter(|common| common.address == entry.common),
                opcodes: self.image.lazy_opcodes(entry.lazy_entry)?,
            }),
            None => None,
        };
        let holds = usize::try_from(slot.offset.0).ok().and_then(|at| u64_at(self.image.bytes(), at));
        Ok(SlotPath { slot, holds: holds.unwrap_or(0), records, at_first, helper })
    }

    /// Whether the helper at which a lazy pointer leads passes on the opcodes of that very pointer.
    pub fn is_consistent(&self, slot: &SlotPath) -> bool {
        let entry = slot.helper.as_ref().map(|helper| helper.entry.lazy_entry);
        let lazy = slot.records.iter().find_map(|record| match record.table {
            Table::LazyBind { entry } => Some(entry),
            _ => None,
        });
        entry.is_none() || entry == lazy
    }
}
