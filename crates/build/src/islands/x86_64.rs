//! Islands on x86-64.
//!
//! Which bytes an entry's punned jump may have follows from the function's first instructions
//! (`livepatch_object::entry::x86_64`), and the bytes fix where the island is; so islands of many functions are
//! fitted into as few pages as possible (`pages`).

mod direct;
mod pages;
mod stages;

#[cfg(test)]
mod tests;

use super::arena::Arena;
use super::space::Space;
use super::{BodyJump, PlanError, Redirection};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::x86_64::pun::Opcodes;
use livepatch_object::entry::x86_64::{self, Entry, Function, Method};
use livepatch_proto::{IslandPage, MemoryWrite, Redirect, Trap, TrapTarget, WireAddress};
use pages::{Code, Wanted};
use stages::{Staged, Text};
use std::ops::Range;

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

/// What is particular to these islands in one process.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    islands: Code,
    copies: Arena,
    slots: Arena,
    text: Text,
    /// Pages that have been opened and not yet been returned by a plan.
    unsent: Vec<IslandPage>,
}

impl Planner {
    /// For a host at `host`; slots and copies go inside `bounds`.
    pub(super) fn new(page_size: u64, host: &Range<u64>, bounds: Range<u64>) -> Self {
        let middle = host.start + (host.end.saturating_sub(host.start)).min(16 << 20) / 2;
        let mut hints = [middle.saturating_sub(BELOW), middle.saturating_add(ABOVE)];
        if !pages::same_region(hints[0], middle) {
            hints.reverse();
        }
        Self {
            islands: Code::new(page_size),
            copies: Arena::new(1, page_size, hints, bounds.clone()),
            slots: Arena::new(0, page_size, hints, bounds),
            text: Text::default(),
            unsent: Vec::new(),
        }
    }

    /// Plans the redirection of `function`, once in its life.
    ///
    /// After an error `self` is as good as before.
    pub(super) fn plan(
        &mut self,
        function: &Function<'_>,
        space: &mut Space,
    ) -> Result<Redirection, PlanError> {
        let mut entry = x86_64::analyze(function)?;
        self.text.refuse_edited(&entry)?;
        let slot = self.take_slot(function.entry, space)?;
        let island = match entry.method() {
            Method::Jump => self.take_island(&entry, slot, space),
            Method::Trap => None,
        };
        if island.is_none() && entry.method() == Method::Jump {
            entry = x86_64::analyze_trap(function)?;
        }
        let copy = self.take_copy(&entry, space)?;
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
        let through_slot = jump.map(BodyJump::through_slot);
        let Staged { expected, stages, .. } = staged;
        Ok(Redirection {
            slot,
            original,
            pages: std::mem::take(&mut self.unsent),
            writes,
            jump,
            traps,
            redirect: Redirect { entry: entry_at, slot, original, jump: through_slot, expected, stages },
            traps_calls: entry.method() == Method::Trap,
            hazards: entry.hazards(),
        })
    }

    /// Takes a slot that nothing leads past; it comes with the pages that were opened for it.
    pub(super) fn plan_slot(
        &mut self,
        entry: RuntimeAddress,
        space: &mut Space,
    ) -> Result<(RuntimeAddress, Vec<IslandPage>), PlanError> {
        let slot = self.take_slot(entry, space)?;
        Ok((slot, std::mem::take(&mut self.unsent)))
    }

    fn take_slot(&mut self, entry: RuntimeAddress, space: &mut Space) -> Result<RuntimeAddress, PlanError> {
        let slot = self.slots.take(SLOT, SLOT, space, &mut self.unsent);
        slot.map(RuntimeAddress).ok_or(PlanError::NoRoom { entry, what: "a slot" })
    }

    fn take_copy(&mut self, entry: &Entry, space: &mut Space) -> Result<x86_64::Copy, PlanError> {
        let length = entry.copy_length() as u64;
        let at = self.copies.take(length, COPY_ALIGNMENT, space, &mut self.unsent);
        let at = at.ok_or(PlanError::NoRoom { entry: entry.address(), what: "a relocated copy" })?;
        Ok(entry.relocate(RuntimeAddress(at))?)
    }

    /// Finds room for an island that a punned jump can lead to: rather a slower one than one that a
    /// debugger's breakpoint breaks.
    fn take_island(&mut self, entry: &Entry, slot: RuntimeAddress, space: &mut Space) -> Option<Island> {
        Opcodes::ALL.into_iter().find_map(|opcodes| {
            let direct = self.take_direct_island(entry, slot, opcodes, space);
            direct.or_else(|| self.take_slot_island(entry, slot, opcodes, space))
        })
    }

    /// An island that jumps to its stub as long as nobody has it jump elsewhere.
    fn take_direct_island(
        &mut self,
        entry: &Entry,
        slot: RuntimeAddress,
        opcodes: Opcodes,
        space: &mut Space,
    ) -> Option<Island> {
        // Where the entry's jump fixes the place, what aligns the island's own stands before it.
        let (prefix, length, (at, displacement)) = NOPS.into_iter().find_map(|nop| {
            let prefix = [island_prefix(entry), nop].concat();
            let length = prefix.len() + x86_64::JUMP;
            let starts = direct::starts(prefix.len() as u64);
            let place = self.take_code(entry, length, starts, opcodes, space)?;
            Some((prefix, length, place))
        })?;
        let stub_length = (JMP_SLOT.len() + 4) as u64;
        let stub = self.copies.take(stub_length, COPY_ALIGNMENT, space, &mut self.unsent)?;
        let stub = RuntimeAddress(stub);
        let mut stub_code = JMP_SLOT.to_vec();
        stub_code.extend_from_slice(&rel32(stub.checked_add(stub_length)?, slot)?.to_le_bytes());
        let jump = BodyJump::new(Architecture::X86_64, at.checked_add(prefix.len() as u64)?, stub);
        let mut code = prefix;
        code.push(direct::JMP_REL32);
        code.extend_from_slice(&rel32(at.checked_add(length as u64)?, stub)?.to_le_bytes());
        let stub = MemoryWrite { at: WireAddress(stub.0), bytes: stub_code };
        Some(Island { at, code, displacement, direct: Some((jump, stub)) })
    }

    fn take_slot_island(
        &mut self,
        entry: &Entry,
        slot: RuntimeAddress,
        opcodes: Opcodes,
        space: &mut Space,
    ) -> Option<Island> {
        let mut code = [island_prefix(entry), &JMP_SLOT].concat();
        let length = code.len() + 4;
        let (at, displacement) = self.take_code(entry, length, pages::ANYWHERE, opcodes, space)?;
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
        space: &mut Space,
    ) -> Option<(RuntimeAddress, i32)> {
        let from = entry.address().checked_add(x86_64::JUMP as u64)?;
        let boundaries = entry.boundaries();
        let wanted = Wanted { from: from.0, boundaries, opcodes, length: length as u64, starts };
        let at = RuntimeAddress(self.islands.take(&wanted, space, &mut self.unsent)?);
        Some((at, rel32(from, at)?))
    }
}

/// What an island begins with.
fn island_prefix(entry: &Entry) -> &'static [u8] {
    if entry.begins_with_endbr() { &ENDBR64 } else { &[] }
}

/// The displacement that leads from `end`, behind an instruction, to `to`.
pub(super) fn rel32(end: RuntimeAddress, to: RuntimeAddress) -> Option<i32> {
    i32::try_from(to.distance_from(end)).ok()
}

/// Where a function's jump leads.
struct Island {
    at: RuntimeAddress,
    code: Vec<u8>,
    /// The entry's, that leads here.
    displacement: i32,
    /// If it jumps past its slot: how that is changed, and the stub that jumps through it.
    direct: Option<(BodyJump, MemoryWrite)>,
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
