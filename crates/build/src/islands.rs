//! Where islands, their slots and relocated copies go in one process, and what is written for each function.
//!
//! A redirected function's entry is a jump to its *island*, `jmp *[slot]`. Which bytes that jump may have
//! follows from the function's first instructions (`livepatch_object::entry`), and the bytes fix where the
//! island is; so islands of many functions are fitted into as few pages as possible (`pages`). Slots and
//! copies go anywhere near. Code pages are never writable and slot pages never executable.
//!
//! Nothing here touches the process: a plan is a value, and [`Islands`] is cheap to clone, so that the plan
//! of a patch that was not applied is dropped with the clone that it was made on.

mod pages;
mod space;
mod stages;

#[cfg(test)]
mod tests;

use livepatch_object::address::RuntimeAddress;
use livepatch_object::entry::x86_64::{self, Entry, EntryError, Function};
use livepatch_proto::{IslandPage, MemoryWrite, Redirect, Trap, TrapTarget, WireAddress, WireRange};
use pages::{Arena, Code};
use space::Space;
use stages::Text;
use std::ops::Range;
use thiserror::Error;

pub use livepatch_object::entry::x86_64::{Hazards, Method};

/// How far a `rel32` reaches.
const REACH: u64 = 1 << 31;
/// What is kept of that reach for what comes later: images that grow, instructions' own lengths.
const MARGIN: u64 = 64 << 20;
/// Where pages that may be anywhere go: this far below the host's code, so that the host's functions reach
/// them by displacements of -352 to -336 MiB, whose top byte is the trapping opcode EA.
const BELOW: u64 = 344 << 20;
/// The same above (3F: 1,008 to 1,024 MiB), for executables that have no room below.
const ABOVE: u64 = 1016 << 20;
/// Copies begin at multiples of this.
const COPY_ALIGNMENT: u64 = 8;
/// Bytes of a slot.
const SLOT: u64 = 8;
/// `endbr64`.
const ENDBR64: [u8; 4] = [0xF3, 0x0F, 0x1E, 0xFA];
/// `jmp qword [rip + rel32]`, without its displacement.
const JMP_SLOT: [u8; 2] = [0xFF, 0x25];

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
    /// The island and the copy.
    pub writes: Vec<MemoryWrite>,
    /// Where threads go on that are inside the overwritten bytes.
    pub traps: Vec<Trap>,
    /// The change of the entry.
    pub redirect: Redirect,
    /// Whether calls jump or trap.
    pub method: Method,
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
    islands: Code,
    copies: Arena,
    slots: Arena,
    text: Text,
    /// Pages that have been opened and not yet been returned by a plan.
    unsent: Vec<IslandPage>,
}

impl Islands {
    /// For a process with pages of `page_size` bytes (a power of two) that has its host at `host` and nothing
    /// mapped at `free`.
    pub fn new(page_size: u64, host: Range<RuntimeAddress>, free: &[WireRange]) -> Self {
        let host = host.start.0..host.end.0;
        let middle = host.start + (host.end.saturating_sub(host.start)).min(16 << 20) / 2;
        let hints = [middle.saturating_sub(BELOW), middle.saturating_add(ABOVE)];
        let bounds = host.end.saturating_sub(REACH - MARGIN)..host.start.saturating_add(REACH - MARGIN);
        Self {
            space: Space::new(page_size, free),
            islands: Code::new(page_size),
            copies: Arena::new(1, page_size, hints, bounds.clone()),
            slots: Arena::new(0, page_size, hints, bounds),
            text: Text::default(),
            unsent: Vec::new(),
            host,
            above_first: false,
        }
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
        let mut entry = x86_64::analyze(function)?;
        self.text.refuse_edited(&entry)?;
        let slot = self.take_slot(function.entry)?;
        let island = match entry.method() {
            Method::Jump => self.take_island(&entry, slot),
            Method::Trap => None,
        };
        if island.is_none() && entry.method() == Method::Jump {
            entry = x86_64::analyze_trap(function)?;
        }
        let copy = self.take_copy(&entry)?;
        let mut writes = vec![MemoryWrite { at: WireAddress(copy.at.0), bytes: copy.bytes.clone() }];
        writes.extend(island.as_ref().map(Island::write));
        let jump = island.as_ref().map(|island| island.displacement);
        let staged = self.text.stage(function, &entry, jump);
        let traps = traps(&entry, &copy, staged.entry_traps.then_some(slot));
        Ok(Redirection {
            slot: WireAddress(slot.0),
            original: WireAddress(copy.at.0),
            pages: std::mem::take(&mut self.unsent),
            writes,
            traps,
            redirect: staged.redirect,
            method: entry.method(),
            hazards: entry.hazards(),
        })
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

    fn take_slot(&mut self, entry: RuntimeAddress) -> Result<RuntimeAddress, PlanError> {
        let slot = self.slots.take(SLOT, SLOT, &mut self.space, &mut self.unsent);
        slot.map(RuntimeAddress).ok_or(PlanError::NoRoom { entry, what: "a slot" })
    }

    fn take_copy(&mut self, entry: &Entry) -> Result<x86_64::Copy, PlanError> {
        let length = entry.copy_length() as u64;
        let at = self.copies.take(length, COPY_ALIGNMENT, &mut self.space, &mut self.unsent);
        let at = at.ok_or(PlanError::NoRoom { entry: entry.address(), what: "a relocated copy" })?;
        Ok(entry.relocate(RuntimeAddress(at))?)
    }

    /// Finds room for an island that a punned jump can lead to.
    fn take_island(&mut self, entry: &Entry, slot: RuntimeAddress) -> Option<Island> {
        let length = JMP_SLOT.len() + 4 + if entry.begins_with_endbr() { ENDBR64.len() } else { 0 };
        let from = entry.address().checked_add(x86_64::JUMP as u64)?;
        let wanted = pages::Wanted { from: from.0, boundaries: entry.boundaries(), length: length as u64 };
        let at = RuntimeAddress(self.islands.take(&wanted, &mut self.space, &mut self.unsent)?);
        let displacement = i32::try_from(at.distance_from(from)).ok()?;
        let to_slot = i32::try_from(slot.distance_from(at.checked_add(length as u64)?)).ok()?;
        let mut code = Vec::with_capacity(length);
        if entry.begins_with_endbr() {
            code.extend_from_slice(&ENDBR64);
        }
        code.extend_from_slice(&JMP_SLOT);
        code.extend_from_slice(&to_slot.to_le_bytes());
        Some(Island { at, code, displacement })
    }
}

/// Where a function's jump leads.
struct Island {
    at: RuntimeAddress,
    code: Vec<u8>,
    displacement: i32,
}

impl Island {
    fn write(&self) -> MemoryWrite {
        MemoryWrite { at: WireAddress(self.at.0), bytes: self.code.clone() }
    }
}

/// The trap table's entries: inner boundaries and loops lead into the copy, a trapping entry to its slot.
fn traps(entry: &Entry, copy: &x86_64::Copy, slot: Option<RuntimeAddress>) -> Vec<Trap> {
    let inner = copy.boundaries.iter().filter(|&&(offset, _)| entry.boundaries().contains(offset));
    let address = |&(offset, target): &(usize, RuntimeAddress)| Trap {
        at: WireAddress(entry.address().0.wrapping_add(offset as u64)),
        target: TrapTarget::Address { address: WireAddress(target.0) },
    };
    let slot = slot.map(|slot| Trap {
        at: WireAddress(entry.address().0),
        target: TrapTarget::Slot { slot: WireAddress(slot.0) },
    });
    slot.into_iter().chain(inner.map(address)).chain(copy.loops.iter().map(address)).collect()
}
