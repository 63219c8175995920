//! All that a patch must hold, and what each name in it means.

use crate::live::{Body, Entity, Location, Name};
use crate::objects::{Object, ObjectKey};
use livepatch_object::address::SectionOffset;
use livepatch_object::architecture::Architecture;
use livepatch_object::relocatable::{SectionId, SymbolId};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Index into [`Closure::parts`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartId(pub usize);

/// A section of an object that becomes part of the patch image.
#[derive(Clone, Debug)]
pub struct Part {
    /// The object.
    pub object: Arc<Object>,
    /// Which of its sections.
    pub section: SectionId,
}

/// What a name means to the code of a patch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// A place in this patch.
    Part(PartId, SectionOffset),
    /// A place that is live already.
    Live(Location),
    /// A dynamic symbol of the process: index into [`Closure::process_names`].
    Process(usize),
    /// The slot through which this patch's shim at an entry goes on to what callers get without it.
    ShimSlot(Location),
    /// A fixed value: absolute symbols, and zero for weak ones that nothing defines.
    Absolute(i64),
    /// A thread-local of the host: offset in its TLS segment.
    HostTls(u64),
    /// A thread-local of another host: index into [`Closure::other_tls`].
    OtherTls(usize),
    /// A thread-local in the agent's reserve.
    ReserveTls(u64),
}

/// A thread-local of another host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtherTls {
    /// Its name.
    pub name: String,
    /// Whether only `__tls_get_addr` finds it.
    pub dynamic: bool,
}

/// The body that callers of a function get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewCode {
    /// One that this patch holds.
    Part(PartId, SectionOffset),
    /// One that they got before.
    Earlier(Body),
}

/// A function whose callers get a new body.
#[derive(Clone, Debug)]
pub struct Redirected {
    /// Where its callers arrive.
    pub entry: Location,
    /// Its new body.
    pub body: NewCode,
    /// The function as it is in its new object.
    pub entity: Entity,
    /// Its mangled name.
    pub name: String,
    /// For a shim: what stays when the patch is taken back.
    pub kept: Option<PartId>,
}

/// All that a patch must hold.
#[derive(Debug, Default)]
pub struct Closure {
    /// Sections, in order of discovery.
    pub parts: Vec<Part>,
    /// What each named symbol of each part's object means.
    pub targets: FxHashMap<(ObjectKey, SymbolId), Target>,
    /// Private constants: the part that holds a section.
    pub sections: FxHashMap<(ObjectKey, SectionId), PartId>,
    /// Dynamic symbols that the process has.
    pub process_names: Vec<String>,
    /// Thread-locals that other hosts have.
    pub other_tls: Vec<OtherTls>,
    /// Functions to redirect.
    pub redirected: Vec<Redirected>,
    /// Names that go live with this patch.
    pub brought: Vec<(Name, Target, Entity)>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Initial values of new thread-locals, and where in the thread-local reserve they go, in bytes.
    pub thread_locals: Vec<(PartId, u64)>,
    /// Bytes of the thread-local reserve that are in use afterwards.
    pub tls_reserve_used: u64,
    /// Whether the host's code calls `__tls_get_addr` for thread-locals.
    pub dynamic_tls: bool,
    /// The instruction set of the host.
    pub architecture: Architecture,
}

impl Closure {
    /// Whether a target is a thread-local that only `__tls_get_addr` finds.
    pub fn is_dynamic(&self, target: Target) -> bool {
        let by_number = match target {
            Target::HostTls(_) => true,
            Target::OtherTls(index) => self.other_tls.get(index).is_some_and(|other| other.dynamic),
            _ => false,
        };
        self.dynamic_tls && by_number
    }
}
