//! Objects whose references to the host's data and thread-locals any linker gets right.
//!
//! Compilers leave such references to the linker: a slot of its GOT, an offset that it knows. For what lives
//! in another image it cannot fill them without asking the dynamic loader, and what it does with an absolute symbol
//! differs. So the references are rewritten, in place: to a word of the stub object's that holds the address or
//! the offset ([`super::ADDRESS_OF`], [`super::THREAD_OFFSET_OF`]), or to the value itself.

mod detours;
mod elf;
mod macho;
mod rules;

use super::cache::HotpatchModuleCache;
use super::needed::{NeededSymbols, compute_needed_symbols_multi};
use super::references::References;
use super::report::Stubbed;
use super::resolve::{Cell, Resolver};
use super::target::{Format, StubTarget};
use super::{StubError, check_targets};
use livepatch_object::address::RuntimeAddress;
use rustc_hash::FxHashMap;

/// An object that was adapted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adapted {
    /// The object. It is of use to the one process only.
    pub bytes: Vec<u8>,
    /// What was changed, in the object's order.
    pub changes: Vec<Change>,
}

/// A reference that was changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The symbol.
    pub name: String,
    /// The section with the reference.
    pub section: String,
    /// Where the reference is in the section.
    pub offset: u64,
    /// What it goes through now.
    pub to: Reaches,
}

/// How an adapted reference reaches what it refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reaches {
    /// By a word of the stub object's.
    Cell,
    /// It holds the value.
    Value,
    /// The instruction is made elsewhere, where there is room to load the address first.
    Detour,
}

/// What the process has under a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Means {
    /// Something at this address.
    Address(u64),
    /// A thread-local at this offset from the thread pointer.
    ThreadOffset(i64),
}

/// What a process has under the names that objects need and that any reference is rewritten to.
pub(super) type Names = FxHashMap<String, Means>;

/// Rewrites the objects' references to data, functions and thread-locals of the host, for a process that has its
/// anchor at `aslr_reference`. What is left goes to [`super::create_undefined_symbol_stub`], together with the
/// words.
///
/// Rewritten in ELF are references through the GOT; words; addresses of data that code computes
/// (`lea`, `adrp` and `add`); offsets of thread-locals (initial-exec, local-exec, dynamic on x86-64, descriptors); loads, stores and other operands
/// of x86-64 code, whose instructions go where there is room. In
/// Mach-O it is the same, but for thread-locals. COFF has words of its own (`__imp_X`). What is of another kind
/// is left as it was, and the stub's report names what does not reach.
///
/// ```no_run
/// use livepatch_build::stubs::*;
/// use livepatch_object::address::RuntimeAddress;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let host = HotpatchModuleCache::from_path("target/debug/app")?;
/// let aslr_reference = RuntimeAddress(0x5555_5555_9140);
/// let objects = [std::fs::read("patch.o")?];
/// let objects = adapt_objects(&objects, &host, host.target(), aslr_reference)?;
/// let stub = create_undefined_symbol_stub(&host, &objects, host.target(), aslr_reference)?;
/// assert_eq!(stub.report.unresolved().count(), 0);
/// # Ok(())
/// # }
/// ```
pub fn adapt_objects<T: AsRef<[u8]>>(
    objects: &[T],
    cache: &HotpatchModuleCache,
    target: StubTarget,
    aslr_reference: RuntimeAddress,
) -> Result<Vec<Adapted>, StubError> {
    check_targets(objects, cache, target)?;
    let resolver = Resolver { cache, target, slide: cache.slide(aslr_reference)? };
    let names = names(&compute_needed_symbols_multi(objects)?, &resolver)?;
    objects.iter().map(|object| adapt(object.as_ref(), target, &names)).collect()
}

/// Rewrites the references of one object to what has a meaning.
pub(super) fn adapt(object: &[u8], target: StubTarget, names: &Names) -> Result<Adapted, StubError> {
    match target.format {
        Format::Elf => elf::adapt(object, target, names),
        Format::MachO => macho::adapt(object, target, names),
        Format::Coff => Ok(Adapted { bytes: object.to_vec(), changes: Vec::new() }),
    }
}

fn names(needed: &NeededSymbols, resolver: &Resolver<'_>) -> Result<Names, StubError> {
    let mut names = Names::default();
    for symbol in needed.iter() {
        let thread = symbol.thread_local || symbol.references.intersects(References::THREAD);
        let cell = if thread { Cell::ThreadOffset } else { Cell::Address };
        let means = match resolver.cell(cell, &symbol.name)?.0 {
            Ok(Stubbed::AddressCell { address }) => Means::Address(address.0),
            Ok(Stubbed::ThreadOffsetCell { offset }) => Means::ThreadOffset(offset),
            _ => continue,
        };
        if !super::resolve::is_of_the_image(&symbol.name) {
            names.insert(symbol.name.clone(), means);
        }
    }
    Ok(names)
}

impl AsRef<[u8]> for Adapted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
