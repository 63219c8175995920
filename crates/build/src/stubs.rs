//! Stub objects: how a patch library reaches the live host without asking the dynamic loader.
//!
//! A patch library is linked by the target's own linker from the patch's objects and a *stub object*. That one
//! defines every symbol that the patch refers to and does not define, and each leads to where a running process
//! has it: code is a trampoline, data an absolute symbol or a word. Nothing is left for `dlopen` to look
//! up.
//!
//! ```text
//! host image ──► HotpatchModuleCache ─┐
//! the process's aslr_reference ───────┼─► build_stub_for_needed ──► stub object, report
//! objects ──► compute_needed_symbols ─┘
//! ```
//!
//! | module | answers |
//! | --- | --- |
//! | `target` | what is a stub object made for? |
//! | `cache` | what does the host define, and where does its file have it? |
//! | `references` | what does this relocation say of what it refers to? |
//! | `needed` | what do these objects refer to and not define? |
//! | `own_threads` | which thread-locals of an object cannot be in a library? |
//! | `resolve` | what does a needed symbol get? |
//! | `leads` | and where something else than the host says where names lead? |
//! | `trampoline` | which code jumps there? |
//! | `layout`, `write` | how does a container hold all that? |
//! | `report` | what became of each symbol? |
//! | `adapt` | how do references to data and thread-locals become ones that any linker gets right? |
//!
//! # From objects to a stub object
//!
//! ```no_run
//! use livepatch_build::stubs::*;
//! use livepatch_object::address::RuntimeAddress;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Once for each host.
//! let host = HotpatchModuleCache::from_path("target/debug/app")?;
//! // The process said in its hello where it has the anchor.
//! let aslr_reference = RuntimeAddress(0x5555_5555_9140);
//! // For each patch.
//! let objects = [std::fs::read("patch.o")?];
//! let stub = create_undefined_symbol_stub(&host, &objects, host.target(), aslr_reference)?;
//! for (name, why) in stub.report.unresolved() {
//!     eprintln!("{name}: {why}");
//! }
//! std::fs::write("stub.o", &stub.bytes)?;
//! // Then: cc -shared -o patch.so patch.o stub.o
//! # Ok(())
//! # }
//! ```

mod adapt;
mod cache;
mod error;
mod kept;
mod layout;
mod leads;
mod needed;
mod own_threads;
mod readable;
mod references;
mod report;
mod resolve;
mod target;
mod trampoline;
mod write;

pub use adapt::{Adapted, Change, Reaches, adapt_objects};
pub use cache::{ANCHOR, HotpatchModuleCache, Lookup, ModuleSymbol, SymbolSource, Visibility};
pub use error::StubError;
pub use kept::KeptStub;
pub use leads::{Lead, Leads};
pub use needed::{NeededSymbol, NeededSymbols, compute_needed_symbols, compute_needed_symbols_multi};
pub use own_threads::misplaced_thread_locals;
pub use references::References;
pub use report::{ReportEntry, StubReport, Stubbed, Unresolved};
pub use target::{Format, InstructionSet, Linker, StubTarget};

use layout::Layout;
use livepatch_object::address::RuntimeAddress;
use resolve::Resolver;

/// A symbol of this prefix is a word that holds the address of the symbol that the rest of the name names.
pub const ADDRESS_OF: &str = "__livepatch_address_of.";

/// A symbol of this prefix is a word that holds the offset from the thread pointer of the host's thread-local that
/// the rest of the name names.
pub const THREAD_OFFSET_OF: &str = "__livepatch_thread_offset_of.";

/// A stub object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stub {
    /// The relocatable object.
    pub bytes: Vec<u8>,
    /// What became of each needed symbol.
    pub report: StubReport,
}

/// Makes the stub object for a list of needed symbols, for a process that has the host's anchor at
/// `aslr_reference`.
///
/// ```no_run
/// use livepatch_build::stubs::*;
/// use livepatch_object::address::RuntimeAddress;
///
/// # fn main() -> Result<(), StubError> {
/// let host = HotpatchModuleCache::from_path("target/debug/app")?;
/// let needed = NeededSymbols::from_names(["compute", "no_such_function"]);
/// let stub = build_stub_for_needed(&needed, &host, host.target(), RuntimeAddress(0x5555_5555_9140))?;
/// assert!(matches!(stub.report.get("compute"), Some(Ok(Stubbed::Trampoline { .. }))));
/// assert_eq!(stub.report.get("no_such_function"), Some(&Err(Unresolved::NotInHost)));
/// # Ok(())
/// # }
/// ```
pub fn build_stub_for_needed(
    needed: &NeededSymbols,
    cache: &HotpatchModuleCache,
    target: StubTarget,
    aslr_reference: RuntimeAddress,
) -> Result<Stub, StubError> {
    let host = cache.target();
    if !host.links_with(&target) {
        return Err(StubError::TargetMismatch { host, target });
    }
    let resolver = Resolver { cache, target, slide: cache.slide(aslr_reference)? };
    let mut layout = Layout::new(target, needed.len());
    let mut entries = Vec::with_capacity(needed.len());
    for symbols in needed.iter().as_slice().chunks(cache::READ_AHEAD) {
        cache.read_ahead(symbols);
        for symbol in symbols {
            let (outcome, host_name) = resolver.resolve(symbol)?;
            if let Ok(stubbed) = &outcome {
                layout.push(&symbol.name, stubbed);
            }
            entries.push(ReportEntry { name: symbol.name.clone(), host_name, outcome });
        }
    }
    let bytes = write::write(&layout, cache.facts())?;
    Ok(Stub { bytes, report: StubReport::new(entries) })
}

/// Makes the stub object for what `objects` need: [`compute_needed_symbols_multi`], then
/// [`build_stub_for_needed`].
///
/// ```no_run
/// use livepatch_build::stubs::*;
/// use livepatch_object::address::RuntimeAddress;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let host = HotpatchModuleCache::from_path("target/debug/app")?;
/// let objects = [std::fs::read("patch.o")?];
/// let stub =
///     create_undefined_symbol_stub(&host, &objects, StubTarget::ELF_X86_64, RuntimeAddress(0x5555_5555_9140))?;
/// std::fs::write("stub.o", stub.bytes)?;
/// # Ok(())
/// # }
/// ```
pub fn create_undefined_symbol_stub<T: AsRef<[u8]>>(
    cache: &HotpatchModuleCache,
    objects: &[T],
    target: StubTarget,
    aslr_reference: RuntimeAddress,
) -> Result<Stub, StubError> {
    check_targets(objects, cache, target)?;
    build_stub_for_needed(&compute_needed_symbols_multi(objects)?, cache, target, aslr_reference)
}

/// Whether objects, host and target are for one machine.
fn check_targets<T: AsRef<[u8]>>(
    objects: &[T],
    cache: &HotpatchModuleCache,
    target: StubTarget,
) -> Result<(), StubError> {
    let host = cache.target();
    if !host.links_with(&target) {
        return Err(StubError::TargetMismatch { host, target });
    }
    for object in objects {
        let object = StubTarget::of_object(object.as_ref())?;
        if !object.links_with(&target) {
            return Err(StubError::ObjectMismatch { object, target });
        }
    }
    Ok(())
}
