//! Stub objects for names of which something else than the host's symbol table says where they lead: a session knows
//! what earlier patches brought, and what a process has of other libraries.

use super::adapt::{self, Means, Names};
use super::cache::{Facts, SymbolSource};
use super::layout::Layout;
use super::needed::{NeededSymbol, NeededSymbols};
use super::references::References;
use super::report::{ReportEntry, StubReport, Stubbed, Unresolved};
use super::resolve::{self, Cell};
use super::target::StubTarget;
use super::{Adapted, Stub, StubError, write};
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use rustc_hash::FxHashMap;

/// Where a name leads in a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lead {
    /// To code.
    Code(RuntimeAddress),
    /// To something else, or to what may be either.
    Place(RuntimeAddress),
    /// To a thread-local that is this far from the thread pointer in every thread, in bytes.
    ThreadLocal(i64),
}

/// Where names lead in one process.
///
/// ```
/// use livepatch_build::stubs::{Lead, Leads, NeededSymbols, StubTarget, Stubbed};
/// use livepatch_object::address::RuntimeAddress;
///
/// let mut leads = Leads::new(StubTarget::ELF_X86_64);
/// let address = RuntimeAddress(0x7f00_0000_1000);
/// leads.insert("work", Lead::Code(address));
/// let stub = leads.stub(&NeededSymbols::from_names(["work"]))?;
/// assert_eq!(stub.report.get("work"), Some(&Ok(Stubbed::Trampoline { address })));
/// # Ok::<(), livepatch_build::stubs::StubError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Leads {
    target: StubTarget,
    all: FxHashMap<String, Lead>,
}

impl Leads {
    /// Knows no name yet.
    pub fn new(target: StubTarget) -> Self {
        Self { target, all: FxHashMap::default() }
    }

    /// Says where a name leads.
    pub fn insert(&mut self, name: impl Into<String>, lead: Lead) {
        self.all.insert(name.into(), lead);
    }

    /// Rewrites an object's references to these names, as [`super::adapt_objects`] does.
    pub fn adapt(&self, object: &[u8]) -> Result<Adapted, StubError> {
        let known = self.all.iter().filter(|(name, _)| !resolve::is_of_the_image(name));
        let names: Names = known.map(|(name, lead)| (name.clone(), lead.means())).collect();
        adapt::adapt(object, self.target, &names)
    }

    /// Makes the stub object for what [adapted](Leads::adapt) objects need.
    pub fn stub(&self, needed: &NeededSymbols) -> Result<Stub, StubError> {
        let mut layout = Layout::new(self.target, needed.len());
        let mut entries = Vec::with_capacity(needed.len());
        for symbol in needed.iter() {
            let outcome = self.resolve(symbol);
            if let Ok(stubbed) = &outcome {
                layout.push(&symbol.name, stubbed);
            }
            entries.push(ReportEntry { name: symbol.name.clone(), host_name: None, outcome });
        }
        let bytes = write::write(&layout, &facts(self.target))?;
        Ok(Stub { bytes, report: StubReport::new(entries) })
    }

    fn resolve(&self, needed: &NeededSymbol) -> Result<Stubbed, Unresolved> {
        let (name, references) = (needed.name.as_str(), needed.references);
        if resolve::is_of_the_image(name) {
            return Ok(Stubbed::OfTheImage);
        }
        if let Some((cell, of)) = resolve::cell(self.target.format(), name) {
            return match (cell, self.all.get(of)) {
                (Cell::Address, Some(Lead::Code(address) | Lead::Place(address))) => {
                    Ok(Stubbed::AddressCell { address: *address })
                }
                (Cell::ThreadOffset, Some(Lead::ThreadLocal(offset))) => {
                    Ok(Stubbed::ThreadOffsetCell { offset: *offset })
                }
                (_, Some(lead)) => Err(Unresolved::KindMismatch { host: lead.describe() }),
                (_, None) => Err(Unresolved::NotInHost),
            };
        }
        let thread = references.intersects(References::THREAD) || needed.thread_local;
        match self.all.get(name) {
            None if needed.weak => Ok(Stubbed::Zero),
            None => Err(Unresolved::NotInHost),
            Some(Lead::ThreadLocal(_)) => Err(Unresolved::ThreadLocal { references }),
            Some(lead) if thread => Err(Unresolved::KindMismatch { host: lead.describe() }),
            Some(Lead::Code(_)) if references.intersects(References::NARROW.with(References::OTHER)) => {
                Err(Unresolved::Function { references })
            }
            Some(Lead::Code(address)) => Ok(Stubbed::Trampoline { address: *address }),
            // Only code is called.
            Some(Lead::Place(address)) if references.within(References::CALL) => {
                Ok(Stubbed::Trampoline { address: *address })
            }
            Some(Lead::Place(_)) => Err(Unresolved::Data { references }),
        }
    }
}

impl Lead {
    fn means(self) -> Means {
        match self {
            Self::Code(address) | Self::Place(address) => Means::Address(address.0),
            Self::ThreadLocal(offset) => Means::ThreadOffset(offset),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Code(_) => "function",
            Self::Place(_) => "data",
            Self::ThreadLocal(_) => "thread-local",
        }
    }
}

/// What a stub object takes from its host, where it takes nothing.
fn facts(target: StubTarget) -> Facts {
    Facts {
        target,
        source: SymbolSource::Symtab,
        build_id: Vec::new(),
        entry: LinkAddress(0),
        elf_flags: 0,
        platform: None,
        threads: None,
        sections: Vec::new(),
        import_slots: FxHashMap::default(),
        lazy_imports: Default::default(),
        resolver_slots: FxHashMap::default(),
    }
}
