//! Code that jumps through pointers: stubs, and the helpers to which lazy pointers lead at first.
//!
//! A stub's pointer is found by evaluating its instructions ([`Code`]), not by where linkers use to put it.

mod arm64;
mod x86_64;

use super::{Image, Section, SectionId};
use crate::address::LinkAddress;
use bytes::Bytes;
use object::macho;

/// What a few instructions do, up to the jump at their end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code {
    /// Where they begin.
    pub address: LinkAddress,
    /// Their bytes, data that belongs to them included.
    pub length: u64,
    /// The pointer through which they jump.
    pub through: Option<LinkAddress>,
    /// Where they jump to, if not through a pointer.
    pub to: Option<LinkAddress>,
    /// A number that is passed on: pushed on the stack, or in `w16`.
    pub passes: Option<u32>,
    /// An address that is passed on: of the image's word for the binder.
    pub passes_address: Option<LinkAddress>,
}

/// One instruction, or one word of data, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// Where it is.
    pub address: LinkAddress,
    /// Its bytes.
    pub bytes: Bytes,
    /// As an assembler has it.
    pub text: String,
    /// How the address that it refers to comes about: `0x3fba + 6 + 0x40`.
    pub computed: Option<(String, LinkAddress)>,
}

/// A stub: what code calls in place of a function of another image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stub {
    /// Where it is.
    pub address: LinkAddress,
    /// Its bytes.
    pub size: u64,
    /// Its section.
    pub section: SectionId,
    /// The pointer through which it jumps; none if its instructions are not known.
    pub slot: Option<LinkAddress>,
    /// Whose it is, by the indirect symbol table.
    pub symbol: Option<Bytes>,
}

/// The helpers of lazy pointers (`__TEXT,__stub_helper`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StubHelpers {
    /// What all entries jump to: it calls the binder.
    pub common: Option<HelperCommon>,
    /// One for each lazy pointer.
    pub entries: Vec<HelperEntry>,
}

/// What all helper entries jump to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelperCommon {
    /// Where it is.
    pub address: LinkAddress,
    /// The word by which the binder knows the image (`__dyld_private`); some linkers do without.
    pub private: Option<LinkAddress>,
    /// The pointer to the binder (`dyld_stub_binder`).
    pub binder_slot: LinkAddress,
}

/// To which a lazy pointer leads at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelperEntry {
    /// Where it is.
    pub address: LinkAddress,
    /// What it passes on: where the lazy bind opcodes of its function begin.
    pub lazy_entry: u32,
    /// Where it jumps to.
    pub common: LinkAddress,
}

impl StubHelpers {
    /// The entry at an address.
    pub fn at(&self, address: LinkAddress) -> Option<&HelperEntry> {
        let found = self.entries.binary_search_by_key(&address, |entry| entry.address);
        found.ok().and_then(|index| self.entries.get(index))
    }
}

/// The longest code that is looked at: six instructions of four bytes.
const LONGEST: u64 = 24;

impl Image {
    /// What the code at an address does; none if it is none of what is known here.
    pub fn code(&self, address: LinkAddress) -> Option<Code> {
        let bytes = self.code_bytes(address)?;
        match self.header.architecture {
            architecture if architecture.is_x86_64() => x86_64::evaluate(address, &bytes),
            architecture if architecture.is_arm64() => arm64::evaluate(address, &bytes),
            _ => None,
        }
    }

    /// The instructions of such code, for people.
    pub fn instructions(&self, code: &Code) -> Vec<Instruction> {
        let Some(bytes) = self.at(code.address, code.length) else { return Vec::new() };
        match self.header.architecture.is_arm64() {
            true => arm64::instructions(code, &bytes),
            false => x86_64::instructions(code, &bytes),
        }
    }

    /// As many bytes as code can have, or as there are.
    fn code_bytes(&self, address: LinkAddress) -> Option<Bytes> {
        let segment = self.segments.get(self.segments.of(address)?)?;
        let left = segment.file_size.checked_sub(address.checked_since(segment.address)?)?;
        self.at(address, left.min(LONGEST))
    }

    /// All stubs.
    pub fn stubs(&self) -> Vec<Stub> {
        let sections = self.segments.sections_of_kind(macho::S_SYMBOL_STUBS);
        sections.flat_map(|(id, section)| self.stubs_of(id, section)).collect()
    }

    fn stubs_of(&self, id: SectionId, section: &Section) -> Vec<Stub> {
        let size = u64::from(section.reserved2);
        // A section's size was checked: it is in the file.
        if size == 0 || section.offset.is_none() {
            return Vec::new();
        }
        let stub = |number: u64| {
            let address = LinkAddress(section.address.0 + number * size);
            let index = u32::try_from(number).ok().and_then(|number| section.reserved1.checked_add(number));
            let symbol = index.and_then(|index| self.symbols.indirect_symbol(index));
            Stub {
                address,
                size,
                section: id,
                slot: self.code(address).and_then(|code| code.through),
                symbol: symbol.and_then(|symbol| self.symbols.name(&symbol)),
            }
        };
        (0..section.size / size).map(stub).collect()
    }

    /// The helpers of lazy pointers; nothing if it has none.
    pub fn stub_helpers(&self) -> StubHelpers {
        let mut helpers = StubHelpers::default();
        let Some(section) = self.segments.section_named("__TEXT", "__stub_helper") else { return helpers };
        let mut at = section.address;
        while at < section.end() {
            let code = self.code(at).filter(|code| code.address.0 + code.length <= section.end().0);
            let step = match code {
                Some(Code { through: Some(binder_slot), passes: None, passes_address, length, .. }) => {
                    let common = HelperCommon { address: at, private: passes_address, binder_slot };
                    helpers.common = helpers.common.or(Some(common));
                    length
                }
                Some(Code { to: Some(common), passes: Some(lazy_entry), length, .. }) => {
                    helpers.entries.push(HelperEntry { address: at, lazy_entry, common });
                    length
                }
                // Padding.
                _ if self.header.architecture.is_arm64() => 4,
                _ => 1,
            };
            let Some(next) = at.checked_add(step) else { break };
            at = next;
        }
        helpers
    }
}
