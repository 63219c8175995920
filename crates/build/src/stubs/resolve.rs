//! What each needed symbol gets: the host's definition, looked at with the ways in which the patch refers to it.

use super::cache::{HotpatchModuleCache, Lookup, ModuleSymbol, ThreadSegment};
use super::needed::NeededSymbol;
use super::references::References;
use super::report::{Stubbed, Unresolved};
use super::target::{Format, InstructionSet, StubTarget};
use super::{ADDRESS_OF, StubError, THREAD_OFFSET_OF};
use livepatch_object::address::{LinkAddress, RuntimeAddress, Slide};
use livepatch_object::relocatable::SymbolKind;

/// What `X` means in `__imp_X`: the word that holds its address.
const IMPORT: &str = "__imp_";

/// Names that mean something of each image's own, whatever the host has under them.
const OF_THE_IMAGE: [&str; 14] = [
    "_GLOBAL_OFFSET_TABLE_",
    "_PROCEDURE_LINKAGE_TABLE_",
    "_DYNAMIC",
    "_TLS_MODULE_BASE_",
    "__dso_handle",
    "__ehdr_start",
    "__executable_start",
    "__GNU_EH_FRAME_HDR",
    "___dso_handle",
    "__mh_dylib_header",
    "__mh_execute_header",
    "dyld_stub_binder",
    "__ImageBase",
    "_tls_index",
];

/// Whether a name means something of each image's own.
pub(super) fn is_of_the_image(name: &str) -> bool {
    OF_THE_IMAGE.contains(&name)
}

/// A process that runs the host.
pub(super) struct Resolver<'c> {
    pub(super) cache: &'c HotpatchModuleCache,
    pub(super) target: StubTarget,
    pub(super) slide: Slide,
}

/// What a symbol gets, and the host's name for it where that is another.
pub(super) type Resolved = (Result<Stubbed, Unresolved>, Option<String>);

impl Resolver<'_> {
    /// What a symbol gets.
    pub(super) fn resolve(&self, needed: &NeededSymbol) -> Result<Resolved, StubError> {
        let name = needed.name.as_str();
        if is_of_the_image(name) {
            return Ok((Ok(Stubbed::OfTheImage), None));
        }
        if let Some((cell, of)) = cell(self.target.format, name) {
            return self.cell(cell, of);
        }
        let symbol = match self.cache.lookup(name) {
            Lookup::Found(symbol) => symbol,
            Lookup::Ambiguous(all) => {
                return Ok((Err(Unresolved::Ambiguous { definitions: all.len() }), None));
            }
            Lookup::Missing => return Ok((self.missing(needed)?, None)),
        };
        let found = self.cache.name(symbol);
        let other_name = (found != name).then(|| found.to_owned());
        Ok((self.found(needed, symbol)?, other_name))
    }

    fn missing(&self, needed: &NeededSymbol) -> Result<Result<Stubbed, Unresolved>, StubError> {
        let name = needed.name.as_str();
        let slot = self.cache.facts().import_slots.get(name);
        Ok(match slot {
            Some(_) if needed.references.intersects(References::THREAD) || needed.thread_local => {
                Err(Unresolved::KindMismatch { host: "function" })
            }
            Some(&slot) => Ok(Stubbed::ThroughSlot { slot: self.runtime(name, slot)? }),
            None if self.cache.facts().lazy_imports.contains(name) => Err(Unresolved::ImportedLazily),
            None if needed.weak => Ok(Stubbed::Zero),
            None => Err(Unresolved::NotInHost),
        })
    }

    fn found(
        &self,
        needed: &NeededSymbol,
        symbol: &ModuleSymbol,
    ) -> Result<Result<Stubbed, Unresolved>, StubError> {
        let references = needed.references;
        let thread = references.intersects(References::THREAD) || needed.thread_local;
        Ok(match symbol.kind {
            SymbolKind::ThreadLocal if self.target.format != Format::Elf => {
                Err(Unresolved::ThreadLocal { references })
            }
            SymbolKind::ThreadLocal if !thread && references != References::NONE => {
                Err(Unresolved::KindMismatch { host: "thread-local" })
            }
            SymbolKind::ThreadLocal => Err(Unresolved::ThreadLocal { references }),
            kind if thread => Err(Unresolved::KindMismatch { host: describe(kind) }),
            SymbolKind::Function | SymbolKind::IndirectFunction
                if references.intersects(References::NARROW.with(References::OTHER))
                    && self.target.format == Format::Elf =>
            {
                Err(Unresolved::Function { references })
            }
            SymbolKind::Function => Ok(Stubbed::Trampoline { address: self.address(&needed.name, symbol)? }),
            SymbolKind::IndirectFunction => self.indirect(&needed.name, symbol)?,
            _ if references.intersects(References::CALL) => {
                Err(Unresolved::KindMismatch { host: describe(symbol.kind) })
            }
            _ if references.within(References::GOT.with(References::WORD))
                && self.target.absolute_symbols_work() =>
            {
                Ok(Stubbed::Absolute { address: self.address(&needed.name, symbol)? })
            }
            _ => Err(Unresolved::Data { references }),
        })
    }

    /// The implementation that the process chose stands in the slot through which the host calls it. A host that
    /// never calls it has no slot; then the loader asks the host's resolver again.
    fn indirect(&self, name: &str, symbol: &ModuleSymbol) -> Result<Result<Stubbed, Unresolved>, StubError> {
        Ok(Ok(match self.cache.facts().resolver_slots.get(&symbol.address.0) {
            Some(&slot) => Stubbed::ThroughSlot { slot: self.runtime(name, slot)? },
            None => Stubbed::Resolver { address: self.address(name, symbol)? },
        }))
    }

    /// What the word of a name holds.
    pub(super) fn cell(&self, cell: Cell, of: &str) -> Result<Resolved, StubError> {
        let symbol = match self.cache.lookup(of) {
            Lookup::Found(symbol) => symbol,
            Lookup::Ambiguous(all) => {
                return Ok((Err(Unresolved::Ambiguous { definitions: all.len() }), None));
            }
            Lookup::Missing => return Ok((Err(Unresolved::NotInHost), None)),
        };
        let host = describe(symbol.kind);
        let outcome = match (cell, symbol.kind) {
            (Cell::Address, SymbolKind::ThreadLocal | SymbolKind::IndirectFunction) => {
                Err(Unresolved::KindMismatch { host })
            }
            (Cell::Address, _) => Ok(Stubbed::AddressCell { address: self.address(of, symbol)? }),
            (Cell::ThreadOffset, SymbolKind::ThreadLocal) => match self.cache.facts().threads {
                Some(segment) => Ok(Stubbed::ThreadOffsetCell {
                    offset: thread_offset(self.target.instructions, segment, symbol.address)
                        .ok_or_else(|| overflow(of, symbol.address))?,
                }),
                None => Err(Unresolved::ThreadLocalOfLibrary),
            },
            (Cell::ThreadOffset, _) => Err(Unresolved::KindMismatch { host }),
        };
        let found = self.cache.name(symbol);
        Ok((outcome, (found != of).then(|| found.to_owned())))
    }

    /// Where the process has a symbol; for a function in Thumb state with the bit that says so.
    fn address(&self, name: &str, symbol: &ModuleSymbol) -> Result<RuntimeAddress, StubError> {
        if symbol.absolute {
            return Ok(RuntimeAddress(symbol.address.0));
        }
        let address = self.runtime(name, symbol.address)?;
        Ok(RuntimeAddress(address.0 | u64::from(symbol.thumb)))
    }

    fn runtime(&self, name: &str, address: LinkAddress) -> Result<RuntimeAddress, StubError> {
        let limit = match self.target.instructions.pointer_size() {
            4 => u64::from(u32::MAX),
            _ => u64::MAX,
        };
        let runtime = self.slide.runtime(address).filter(|runtime| runtime.0 <= limit);
        runtime.ok_or_else(|| overflow(name, address))
    }
}

fn overflow(name: &str, address: LinkAddress) -> StubError {
    StubError::AddressOverflow { name: name.to_owned(), address }
}

fn describe(kind: SymbolKind) -> &'static str {
    match kind {
        SymbolKind::Function => "function",
        SymbolKind::IndirectFunction => "indirect function",
        SymbolKind::ThreadLocal => "thread-local",
        _ => "data",
    }
}

/// What a name that means a word holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cell {
    /// A symbol's address.
    Address,
    /// A thread-local's offset from the thread pointer.
    ThreadOffset,
}

/// What a name that means a word holds, and of which symbol.
pub(super) fn cell(format: Format, name: &str) -> Option<(Cell, &str)> {
    if let Some(of) = name.strip_prefix(ADDRESS_OF) {
        return Some((Cell::Address, of));
    }
    if let Some(of) = name.strip_prefix(THREAD_OFFSET_OF) {
        return Some((Cell::ThreadOffset, of));
    }
    let of = name.strip_prefix(IMPORT).filter(|_| format == Format::Coff)?;
    Some((Cell::Address, of))
}

/// The offset from the thread pointer of what is at `offset` in an executable's TLS segment.
///
/// Specification: "ELF Handling For Thread-Local Storage" 3 (variants I and II); AAELF64 and AAELF32 have two
/// words between thread pointer and segment, RISC-V none.
fn thread_offset(instructions: InstructionSet, segment: ThreadSegment, offset: LinkAddress) -> Option<i64> {
    let ThreadSegment { address, size, align } = segment;
    let misaligned = |of: u64| of & (align - 1);
    let base = match instructions {
        InstructionSet::X86_64 | InstructionSet::I686 => {
            let end = size.checked_add(misaligned(address.wrapping_add(size).wrapping_neg()))?;
            return i64::try_from(i128::from(offset.0) - i128::from(end)).ok();
        }
        InstructionSet::Aarch64 => 16 + misaligned(address.wrapping_sub(16)),
        InstructionSet::Arm | InstructionSet::Thumb => 8 + misaligned(address.wrapping_sub(8)),
        InstructionSet::Riscv64 => misaligned(address),
    };
    i64::try_from(offset.0.checked_add(base)?).ok()
}
