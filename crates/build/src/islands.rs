//! Where islands, their slots and relocated copies go in one process, and what is written for each function.
//!
//! A redirected function's entry is a jump to its *island*, which jumps on to the body: straight, where it
//! can be placed so that one store changes that jump ([`BodyJump`]), or else by way of its *slot*, which holds
//! the body's address. What these jumps are, and where they may be, is the instruction set's (`x86_64`,
//! `aarch64`). Code pages are never writable and slot pages never executable.
//!
//! Nothing here touches the process: a plan is a value, and [`Islands`] is cheap to clone, so that the plan
//! of a patch that was not applied is dropped with the clone that it was made on.

mod aarch64;
mod arena;
mod body_jump;
mod space;
mod x86_64;

use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::{EntryError, Function};
use livepatch_proto::{IslandPage, MemoryWrite, Redirect, Trap, WireAddress, WireRange};
use space::Space;
use std::ops::Range;
use thiserror::Error;

pub use body_jump::BodyJump;
pub use livepatch_object::entry::Hazards;

/// How far code and data of a patch may be from the host: what a 32-bit distance reaches.
const REACH: u64 = 1 << 31;
/// What is kept of that reach for what comes later: images that grow, instructions' own lengths.
const MARGIN: u64 = 64 << 20;
/// Bytes of a slot.
const SLOT: u64 = 8;

/// Why a function cannot be redirected in this process.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlanError {
    /// The function's code forbids it.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Its entry was planned before: point its slot elsewhere instead.
    #[error("{entry} is redirected already")]
    Again {
        /// The function's entry.
        entry: RuntimeAddress,
    },
    /// A byte that would be overwritten was overwritten for another function.
    #[error("{entry} shares the byte at {at} with another redirected function")]
    Overlap {
        /// The function's entry.
        entry: RuntimeAddress,
        /// The byte.
        at: RuntimeAddress,
    },
    /// No free memory in reach.
    #[error("no free memory in reach of {entry} for {what}")]
    NoRoom {
        /// The function's entry.
        entry: RuntimeAddress,
        /// What for.
        what: &'static str,
    },
}

/// What makes one function's callers arrive wherever its slot points.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirection {
    /// The slot. Its first value is the caller's to set, with a `SlotSet`.
    pub slot: WireAddress,
    /// The relocated copy: point the slot there to get the old body back.
    pub original: WireAddress,
    /// Pages that are needed from now on; also for functions planned later.
    pub pages: Vec<IslandPage>,
    /// The copy and the island, which comes last and leads to the slot's target, by way of the slot.
    pub writes: Vec<MemoryWrite>,
    /// The jump that the island ends with, if it can lead there past the slot.
    pub jump: Option<BodyJump>,
    /// Where threads go on that are inside the overwritten bytes.
    pub traps: Vec<Trap>,
    /// The change of the entry.
    pub redirect: Redirect,
    /// Whether each call traps: there was no room for a jump.
    pub traps_calls: bool,
    /// What the redirection cannot rule out.
    pub hazards: Hazards,
}

/// One process's island space.
#[derive(Clone, Debug)]
pub struct Islands {
    host: Range<u64>,
    /// Whether images go above the host rather than below it.
    above_first: bool,
    space: Space,
    planner: Planner,
}

/// How entries are redirected.
#[derive(Clone, Debug)]
enum Planner {
    X86_64(x86_64::Planner),
    Aarch64(aarch64::Planner),
}

impl Islands {
    /// For a process with pages of `page_size` bytes (a power of two) that has its host at `host` and nothing
    /// mapped at `free`.
    pub fn new(
        architecture: Architecture,
        page_size: u64,
        host: Range<RuntimeAddress>,
        free: &[WireRange],
    ) -> Self {
        let host = host.start.0..host.end.0;
        let bounds = host.end.saturating_sub(REACH - MARGIN)..host.start.saturating_add(REACH - MARGIN);
        let planner = match architecture {
            Architecture::X86_64 => Planner::X86_64(x86_64::Planner::new(page_size, &host, bounds)),
            Architecture::Aarch64 => Planner::Aarch64(aarch64::Planner::new(page_size, &host, bounds)),
        };
        Self { space: Space::new(page_size, free), planner, host, above_first: false }
    }

    /// The same beside a library: images go above it if they can. The kernel puts what the program maps below.
    #[must_use]
    pub fn of_library(mut self) -> Self {
        self.above_first = true;
        self
    }

    /// Everything that was handed out so far.
    pub fn taken(&self) -> impl Iterator<Item = Range<RuntimeAddress>> {
        self.space.taken().map(|range| RuntimeAddress(range.start)..RuntimeAddress(range.end))
    }

    /// Takes note of what others have handed out in the same process.
    pub fn avoid(&mut self, taken: impl IntoIterator<Item = Range<RuntimeAddress>>) {
        taken.into_iter().for_each(|range| self.space.take(range.start.0..range.end.0));
    }

    /// Takes note of what the process has free now. What was handed out before stays handed out.
    pub fn refresh(&mut self, free: &[WireRange]) {
        self.space.refresh(free);
    }

    /// Plans the redirection of `function`, once in its life.
    ///
    /// After an error `self` is as good as before.
    pub fn plan(&mut self, function: &Function<'_>) -> Result<Redirection, PlanError> {
        match &mut self.planner {
            Planner::X86_64(planner) => planner.plan(function, &mut self.space),
            Planner::Aarch64(planner) => planner.plan(function, &mut self.space),
        }
    }

    /// Takes a slot for a shim that stands for the function at `entry`, and says which pages were opened for it.
    pub fn plan_slot(
        &mut self,
        entry: RuntimeAddress,
    ) -> Result<(RuntimeAddress, Vec<IslandPage>), PlanError> {
        match &mut self.planner {
            Planner::X86_64(planner) => planner.plan_slot(entry, &mut self.space),
            // No shims are made for it.
            Planner::Aarch64(_) => Err(PlanError::NoRoom { entry, what: "a shim's slot" }),
        }
    }

    /// Takes `length` bytes for a patch image, at a multiple of `align` (a power of two, at least a page), within
    /// 2 GiB less 64 MiB of everything in `reach` (the host and earlier images).
    ///
    /// Images are packed downward from just below the host; above it only if there is no room below. Beside a
    /// library they are packed upward from just above it, and below only if there is no room above.
    pub fn take_image_range(
        &mut self,
        length: u64,
        align: u64,
        reach: Range<RuntimeAddress>,
    ) -> Option<RuntimeAddress> {
        let farthest = REACH - MARGIN;
        let lowest = reach.end.0.saturating_sub(farthest);
        let highest = reach.start.0.saturating_add(farthest);
        let below = lowest..self.host.start.min(highest);
        let above = self.host.end.max(lowest)..highest;
        let at = if self.above_first {
            let first = self.space.lowest(length, align, above);
            first.or_else(|| self.space.highest(length, align, below))
        } else {
            [below, above].into_iter().find_map(|bounds| self.space.highest(length, align, bounds))
        }?;
        self.space.take(at..at + length);
        Some(RuntimeAddress(at))
    }
}
