//! Where islands, their slots and relocated copies go in one process, and what is written for each function.
//!
//! A redirected function's entry is a jump to its *island*, which jumps on to the body: straight, where it
//! can be placed so that one store changes that jump (`direct`), or else by `jmp *[slot]`. Which bytes that jump may have
//! follows from the function's first instructions (`livepatch_object::entry`), and the bytes fix where the
//! island is; so islands of many functions are fitted into as few pages as possible (`pages`). Slots and
//! copies go anywhere near. Code pages are never writable and slot pages never executable.
//!
//! Nothing here touches the process: a plan is a value, and [`Islands`] is cheap to clone, so that the plan
//! of a patch that was not applied is dropped with the clone that it was made on.

mod direct;
mod pages;
mod space;
mod stages;

#[cfg(test)]
mod tests;

use livepatch_object::address::RuntimeAddress;
use livepatch_object::entry::x86_64::pun::Opcodes;
use livepatch_object::entry::x86_64::{self, Entry, EntryError, Function};
use livepatch_proto::{IslandPage, MemoryWrite, Redirect, Trap, TrapTarget, WireAddress, WireRange};
use pages::{Arena, Code, Wanted};
use space::Space;
use stages::{Staged, Text};
use std::ops::Range;
use thiserror::Error;

pub use direct::DirectJump;
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
/// Nothing, in as many bytes as may be missing to a multiple of four (Intel SDM vol. 2, NOP).
const NOPS: [&[u8]; 4] = [&[], &[0x90], &[0x66, 0x90], &[0x0F, 0x1F, 0x00]];
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
    /// The copy and the island, which comes last and leads to the slot's target, by way of the slot.
    pub writes: Vec<MemoryWrite>,
    /// The jump that the island ends with, if it can lead there past the slot.
    pub jump: Option<DirectJump>,
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
        let mut hints = [middle.saturating_sub(BELOW), middle.saturating_add(ABOVE)];
        if !pages::same_region(hints[0], middle) {
            hints.reverse();
        }
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
        let direct = island.as_ref().and_then(|island| island.direct.clone());
        writes.extend(direct.as_ref().map(|(_, stub)| stub.clone()));
        writes.extend(island.as_ref().map(Island::write));
        let displacement = island.as_ref().map(|island| island.displacement);
        let staged = self.text.stage(function, &entry, displacement);
        let traps = traps(&entry, &copy, staged.entry_traps.then_some(slot));
        let (slot, original) = (WireAddress(slot.0), WireAddress(copy.at.0));
        let entry_at = WireAddress(function.entry.0);
        let jump = direct.map(|(jump, _)| jump);
        let through_slot = jump.map(DirectJump::through_slot);
        let Staged { expected, stages, .. } = staged;
        Ok(Redirection {
            slot,
            original,
            pages: std::mem::take(&mut self.unsent),
            writes,
            jump,
            traps,
            redirect: Redirect { entry: entry_at, slot, original, jump: through_slot, expected, stages },
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

    /// Finds room for an island that a punned jump can lead to: rather a slower one than one that a
    /// debugger's breakpoint breaks.
    fn take_island(&mut self, entry: &Entry, slot: RuntimeAddress) -> Option<Island> {
        Opcodes::ALL.into_iter().find_map(|opcodes| {
            let direct = self.take_direct_island(entry, slot, opcodes);
            direct.or_else(|| self.take_slot_island(entry, slot, opcodes))
        })
    }

    /// An island that jumps to its stub as long as nobody has it jump elsewhere.
    fn take_direct_island(
        &mut self,
        entry: &Entry,
        slot: RuntimeAddress,
        opcodes: Opcodes,
    ) -> Option<Island> {
        // Where the entry's jump fixes the place, what aligns the island's own stands before it.
        let (prefix, length, (at, displacement)) = NOPS.into_iter().find_map(|nop| {
            let prefix = [island_prefix(entry), nop].concat();
            let length = prefix.len() + x86_64::JUMP;
            let starts = direct::starts(prefix.len() as u64);
            let place = self.take_code(entry, length, starts, opcodes)?;
            Some((prefix, length, place))
        })?;
        let stub_length = (JMP_SLOT.len() + 4) as u64;
        let stub = self.copies.take(stub_length, COPY_ALIGNMENT, &mut self.space, &mut self.unsent)?;
        let stub = RuntimeAddress(stub);
        let mut stub_code = JMP_SLOT.to_vec();
        stub_code.extend_from_slice(&rel32(stub.checked_add(stub_length)?, slot)?.to_le_bytes());
        let jump = DirectJump::new(at.checked_add(prefix.len() as u64)?, stub);
        let mut code = prefix;
        code.push(direct::JMP_REL32);
        code.extend_from_slice(&rel32(at.checked_add(length as u64)?, stub)?.to_le_bytes());
        let stub = MemoryWrite { at: WireAddress(stub.0), bytes: stub_code };
        Some(Island { at, code, displacement, direct: Some((jump, stub)) })
    }

    fn take_slot_island(&mut self, entry: &Entry, slot: RuntimeAddress, opcodes: Opcodes) -> Option<Island> {
        let mut code = [island_prefix(entry), &JMP_SLOT].concat();
        let length = code.len() + 4;
        let (at, displacement) = self.take_code(entry, length, pages::ANYWHERE, opcodes)?;
        code.extend_from_slice(&rel32(at.checked_add(length as u64)?, slot)?.to_le_bytes());
        Some(Island { at, code, displacement, direct: None })
    }

    /// Takes `length` bytes that the entry's jump can lead to; with the jump's displacement.
    fn take_code(
        &mut self,
        entry: &Entry,
        length: usize,
        starts: u64,
        opcodes: Opcodes,
    ) -> Option<(RuntimeAddress, i32)> {
        let from = entry.address().checked_add(x86_64::JUMP as u64)?;
        let boundaries = entry.boundaries();
        let wanted = Wanted { from: from.0, boundaries, opcodes, length: length as u64, starts };
        let at = RuntimeAddress(self.islands.take(&wanted, &mut self.space, &mut self.unsent)?);
        Some((at, rel32(from, at)?))
    }
}

/// What an island begins with.
fn island_prefix(entry: &Entry) -> &'static [u8] {
    if entry.begins_with_endbr() { &ENDBR64 } else { &[] }
}

/// The displacement that leads from `end`, behind an instruction, to `to`.
fn rel32(end: RuntimeAddress, to: RuntimeAddress) -> Option<i32> {
    i32::try_from(to.distance_from(end)).ok()
}

/// Where a function's jump leads.
struct Island {
    at: RuntimeAddress,
    code: Vec<u8>,
    /// The entry's, that leads here.
    displacement: i32,
    /// If it jumps past its slot: how that is changed, and the stub that jumps through it.
    direct: Option<(DirectJump, MemoryWrite)>,
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
