//! One host in one process: where it is there, with the images, islands and slots of its patches.

mod areas;
mod placed;

use crate::islands::{BodyJump, Islands, PlanError};
use crate::live::{Body, Location, Module};
use livepatch_object::address::{LinkAddress, RuntimeAddress, Slide};
use livepatch_object::architecture::Architecture;
use livepatch_object::host::Host;
use livepatch_proto::{
    Arch, Hello, LoadedModule, ModuleKey, ModuleTls, Redirected, Shim, SlotSet, TlsReserve, WireAddress,
    WireRange,
};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;
use thiserror::Error;

pub use areas::Areas;
pub use placed::{LibraryPart, PlacedImage, PlacedLibrary};

/// No relocated prologue is longer, in bytes: it holds the few instructions that a jump overwrites.
const LONGEST_PROLOGUE: u64 = 128;

/// A function of the process whose entry was redirected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Where the slot is.
    pub at: WireAddress,
    /// The relocated original: what the slot points to when nothing replaces the function.
    pub original: WireAddress,
    /// The island's jump, if it leads past the slot.
    pub jump: Option<BodyJump>,
}

impl Slot {
    /// The slot of a function that an earlier session redirected. Without patches, its callers get what the
    /// last shim there keeps for them.
    fn inherited(architecture: Architecture, known: &Redirected, shims: &[Shim]) -> Self {
        let jump = known.jump.map(|jump| BodyJump::of(architecture, jump));
        let last = shims.iter().rfind(|shim| shim.entry == known.entry);
        Self { at: known.slot, original: last.map_or(known.original, |shim| shim.kept), jump }
    }

    /// Has callers get to `target` from now on.
    pub fn set(&self, target: WireAddress) -> SlotSet {
        SlotSet { slot: self.at, target, jump: self.jump.map(|jump| jump.toward(target)) }
    }
}

/// One host in one process of the session.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The patch it is at.
    pub current: u32,
    slide: Slide,
    host: Range<RuntimeAddress>,
    images: FxHashMap<u32, PlacedImage>,
    slots: FxHashMap<Location, Slot>,
    /// Where shims go on, by the entry that they are for and the patch that they came with.
    shim_slots: FxHashMap<(Location, u32), WireAddress>,
    /// Its island space.
    pub islands: Areas,
    tls_reserve: Option<TlsReserve>,
    thread_locals: ThreadLocals,
    /// Names the host where it is a library.
    library: Option<ModuleKey>,
    guarded: bool,
    architecture: Architecture,
    inherited: Arc<Inherited>,
}

/// What earlier sessions left in a process.
#[derive(Default, Debug)]
struct Inherited {
    functions: Vec<Redirected>,
    /// In the order in which they came.
    shims: Vec<Shim>,
}

/// Where the host's thread-locals are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ThreadLocals {
    /// It has none.
    Absent,
    /// Its block starts this far from the thread pointer.
    At(i64),
    /// `__tls_get_addr` knows, by this number.
    Dynamic(u64),
}

/// A process cannot be patched.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It does not run the host.
    #[error("process {pid} runs another build: its build id is {theirs}, the captured one {ours}")]
    WrongBuild {
        /// The process.
        pid: u32,
        /// Its build id.
        theirs: String,
        /// The host's.
        ours: String,
    },
    /// It is another architecture's.
    #[error("process {pid} runs {theirs:?} code, the captured build is for {ours}")]
    OtherArchitecture {
        /// The process.
        pid: u32,
        /// Its instruction set.
        theirs: Arch,
        /// The host's.
        ours: &'static str,
    },
    /// Its addresses make no sense.
    #[error("process {pid} reports addresses that cannot be")]
    BadAddresses {
        /// The process.
        pid: u32,
    },
    /// It cannot be redirected.
    #[error("process {pid} cannot have its functions redirected: {reason}")]
    NoRedirection {
        /// The process.
        pid: u32,
        /// Why.
        reason: String,
    },
    /// A library is not where its file says.
    #[error("process {pid} has {name} loaded in another shape than its file's")]
    OtherShape {
        /// The process.
        pid: u32,
        /// The library.
        name: String,
    },
    /// No room near the host.
    #[error("no room for the patch near {0}")]
    NoRoom(&'static str),
    /// A redirection could not be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl Process {
    /// A process that said hello: checked to run the host.
    pub fn new(hello: &Hello, host: &Host) -> Result<Self, ProcessError> {
        let pid = hello.pid;
        if hello.build_id.0 != host.build_id() || host.build_id().is_empty() {
            return Err(ProcessError::WrongBuild {
                pid,
                theirs: hello.build_id.to_string(),
                ours: livepatch_proto::BuildId(host.build_id().to_vec()).to_string(),
            });
        }
        let architecture = host.architecture();
        if hello.arch != arch(architecture) {
            return Err(ProcessError::OtherArchitecture {
                pid,
                theirs: hello.arch,
                ours: architecture.name(),
            });
        }
        if let livepatch_proto::Redirection::Unavailable { reason } = &hello.redirection {
            return Err(ProcessError::NoRedirection { pid, reason: reason.clone() });
        }
        let guarded = hello.redirection != livepatch_proto::Redirection::Unguarded;
        let slide = Slide::between(host.entry(), RuntimeAddress(hello.aslr_reference.0));
        let extent = host.extent();
        let bounds = slide.runtime(extent.start).zip(slide.runtime(extent.end));
        let page = u64::from(hello.page_size);
        let Some((start, end)) = bounds.filter(|(start, end)| start <= end && page == crate::place::PAGE)
        else {
            return Err(ProcessError::BadAddresses { pid });
        };
        Ok(Self {
            pid,
            current: hello.current,
            slide,
            host: start..end,
            images: FxHashMap::default(),
            slots: FxHashMap::default(),
            shim_slots: FxHashMap::default(),
            islands: Areas::new(
                architecture,
                Islands::new(architecture, page, start..end, &hello.free_ranges),
            ),
            tls_reserve: hello.tls_reserve,
            thread_locals: host.tls().map_or(ThreadLocals::Absent, |tls| ThreadLocals::At(tls.tp_offset(0))),
            library: None,
            guarded,
            architecture,
            inherited: Arc::default(),
        })
    }

    /// Takes over what earlier sessions redirected: their slots are used on. Returns where they must point
    /// for the process to be at the base build. Shims stay: they lead the futures that they have moved to
    /// the code that knows them, and all others on.
    pub fn inherit(&mut self, redirected: &[Redirected], shims: &[Shim]) -> Vec<SlotSet> {
        self.inherited = Arc::new(Inherited { functions: redirected.to_vec(), shims: shims.to_vec() });
        self.current = 0;
        self.use_inherited_slots();
        let mut sets = Vec::new();
        let mut behind: FxHashMap<WireAddress, WireAddress> =
            redirected.iter().map(|known| (known.entry, known.original)).collect();
        // Before the entries, as ever: callers may come to a shim at any time.
        for shim in shims {
            if let Some(target) = behind.insert(shim.entry, shim.kept) {
                sets.push(SlotSet { slot: shim.slot, target, jump: None });
            }
        }
        let slots = redirected.iter().map(|known| Slot::inherited(self.architecture, known, shims));
        sets.extend(slots.map(|slot| slot.set(slot.original)));
        sets
    }

    fn use_inherited_slots(&mut self) {
        let inherited = self.inherited.clone();
        for known in &inherited.functions {
            if let Some(entry) = self.in_host(known.entry) {
                self.slots.insert(entry, Slot::inherited(self.architecture, known, &inherited.shims));
            }
        }
    }

    fn in_host(&self, entry: WireAddress) -> Option<Location> {
        let entry = RuntimeAddress(entry.0);
        let link = self.slide.link(entry).filter(|_| self.host.contains(&entry))?;
        Some(Location { module: Module::Host, position: link.0 })
    }

    /// At how many shims of earlier sessions callers of each of the host's functions pass.
    pub fn inherited_shims(&self) -> FxHashMap<Location, usize> {
        let mut counts = FxHashMap::default();
        for entry in self.inherited.shims.iter().filter_map(|shim| self.in_host(shim.entry)) {
            *counts.entry(entry).or_default() += 1;
        }
        counts
    }

    /// Whether the agent sees to it that traps arrive, whenever a thread comes to one.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// A library that the process of `self` has loaded.
    pub fn with_library(
        &self,
        module: &LoadedModule,
        host: &Host,
        free_ranges: &[WireRange],
    ) -> Result<Self, ProcessError> {
        let slide = Slide::between(LinkAddress(0), RuntimeAddress(module.key.bias));
        let extent = host.extent();
        let range = RuntimeAddress(module.range.start.0)..RuntimeAddress(module.range.end.0);
        let same =
            slide.runtime(extent.start).zip(slide.runtime(extent.end)) == Some((range.start, range.end));
        if !same || module.key.build_id.0 != host.build_id() || range.is_empty() {
            return Err(ProcessError::OtherShape { pid: self.pid, name: module.name.clone() });
        }
        let mut islands = Islands::new(host.architecture(), crate::place::PAGE, range.clone(), free_ranges);
        islands = islands.of_library();
        islands.avoid(self.islands.taken());
        let mut library = Self {
            pid: self.pid,
            current: self.current,
            slide,
            host: range,
            images: FxHashMap::default(),
            slots: FxHashMap::default(),
            shim_slots: FxHashMap::default(),
            islands: Areas::new(host.architecture(), islands),
            tls_reserve: self.tls_reserve,
            thread_locals: match module.tls {
                ModuleTls::Absent => ThreadLocals::Absent,
                ModuleTls::Static { tp_offset } => ThreadLocals::At(tp_offset),
                ModuleTls::Dynamic { module } => ThreadLocals::Dynamic(module),
            },
            library: Some(module.key.clone()),
            guarded: self.guarded,
            architecture: self.architecture,
            inherited: self.inherited.clone(),
        };
        library.use_inherited_slots();
        Ok(library)
    }

    /// What names the host where it is a library; none for the program itself.
    pub fn library(&self) -> Option<&ModuleKey> {
        self.library.as_ref()
    }

    /// Where a location is in this process.
    pub fn address(&self, location: Location) -> Option<RuntimeAddress> {
        match location.module {
            Module::Host => self.slide.runtime(LinkAddress(location.position)),
            Module::Patch(number) => self.images.get(&number)?.address(location.position),
            Module::TlsReserve => None,
        }
    }

    /// What is at an address: the inverse of [`Process::address`], but that a relocated prologue is taken
    /// for the function that it is of.
    pub fn location(&self, address: RuntimeAddress) -> Option<Location> {
        if self.host.contains(&address) {
            return Some(Location { module: Module::Host, position: self.slide.link(address)?.0 });
        }
        let images = self.images.iter();
        let mut patches = images.filter_map(|(&number, image)| {
            let position = image.position(address)?;
            Some(Location { module: Module::Patch(number), position })
        });
        patches.next().or_else(|| {
            let originals = self.slots.iter().filter_map(|(&entry, slot)| {
                let into = address.0.checked_sub(slot.original.0)?;
                (into < LONGEST_PROLOGUE).then_some((into, entry))
            });
            originals.min_by_key(|&(into, _)| into).map(|(_, entry)| entry)
        })
    }

    /// The offset from the thread pointer of a place in the host's thread-local segment, if it is the same in
    /// every thread.
    pub fn host_tp_offset(&self, offset: u64) -> Option<i64> {
        match self.thread_locals {
            ThreadLocals::At(start) => start.checked_add_unsigned(offset),
            ThreadLocals::Absent | ThreadLocals::Dynamic(_) => None,
        }
    }

    /// The number by which `__tls_get_addr` knows the host, if nothing else finds its thread-locals.
    pub fn tls_module(&self) -> Option<u64> {
        match self.thread_locals {
            ThreadLocals::Dynamic(module) => Some(module),
            ThreadLocals::Absent | ThreadLocals::At(_) => None,
        }
    }

    /// Whether the host's code calls `__tls_get_addr` for thread-locals, its own or those of libraries that it
    /// is linked against.
    pub fn calls_for_thread_locals(&self) -> bool {
        match self.thread_locals {
            ThreadLocals::Dynamic(_) => true,
            ThreadLocals::Absent => self.library.is_some(),
            ThreadLocals::At(_) => false,
        }
    }

    /// The offset from the thread pointer of a place in the agent's reserve.
    pub fn reserve_tp_offset(&self, offset: u64) -> Option<i64> {
        self.tls_reserve?.tp_offset.checked_add_unsigned(offset)
    }

    /// The size of the agent's reserve, in bytes.
    pub fn tls_reserve(&self) -> u64 {
        self.tls_reserve.map_or(0, |reserve| u64::from(reserve.size))
    }

    /// The slot of an entry that was redirected before.
    pub fn slot(&self, entry: Location) -> Option<Slot> {
        self.slots.get(&entry).copied()
    }

    /// What a slot must hold for callers to get a body.
    pub fn body_address(&self, slot: Slot, body: Body) -> Option<WireAddress> {
        match body {
            Body::Original => Some(slot.original),
            Body::At(location) => self.address(location).map(|address| WireAddress(address.0)),
        }
    }

    /// Records the slot of an entry.
    pub fn set_slot(&mut self, entry: Location, slot: Slot) {
        self.slots.insert(entry, slot);
    }

    /// The slot through which a patch's shim at an entry goes on.
    pub fn shim_slot(&self, entry: Location, patch: u32) -> Option<WireAddress> {
        self.shim_slots.get(&(entry, patch)).copied()
    }

    /// Records the slot of a shim.
    pub fn set_shim_slot(&mut self, entry: Location, patch: u32, slot: WireAddress) {
        self.shim_slots.insert((entry, patch), slot);
    }

    /// Takes room for an image of `length` bytes whose start is a multiple of `align`, with a page to
    /// spare before and after it, within reach of the host and all images.
    pub fn take_image_range(&mut self, length: u64, align: u64) -> Result<RuntimeAddress, ProcessError> {
        let starts = self.images.values().map(|image| image.start);
        let ends = self.images.values().filter_map(|image| image.start.checked_add(image.length));
        let reach = starts.chain([self.host.start]).min().unwrap_or(self.host.start)
            ..ends.chain([self.host.end]).max().unwrap_or(self.host.end);
        let room = self.islands.take_image_range(length + 2 * align, align, reach);
        room.and_then(|start| start.checked_add(align)).ok_or(ProcessError::NoRoom(match self.library {
            None => "the program",
            Some(_) => "a library",
        }))
    }

    /// Records where a patch's library is; nothing is at `free_ranges`.
    pub fn set_library(&mut self, patch: u32, library: PlacedImage, free_ranges: &[WireRange]) {
        self.islands.refresh(free_ranges);
        if let Some(end) = library.start.checked_add(library.length) {
            self.islands.add_library(library.start..end, free_ranges);
        }
        self.images.insert(patch, library);
    }

    /// Records where a patch's image is.
    pub fn set_image(&mut self, patch: u32, image: PlacedImage) {
        self.images.insert(patch, image);
    }

    /// Where a patch's image is.
    pub fn image(&self, patch: u32) -> Option<&PlacedImage> {
        self.images.get(&patch)
    }

    /// Takes in what is free in the process now.
    pub fn refresh(&mut self, free_ranges: &[WireRange]) {
        self.islands.refresh(free_ranges);
    }
}

/// What processes call an instruction set.
fn arch(architecture: Architecture) -> Arch {
    match architecture {
        Architecture::X86_64 => Arch::X86_64,
        Architecture::Aarch64 => Arch::Aarch64,
    }
}
