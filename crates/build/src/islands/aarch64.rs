//! Islands on AArch64.
//!
//! The entry's `B` reaches 128 MiB, and so does the island's own, which leads straight to the body if that is
//! as near. For bodies farther away, and while functions settle, it leads to a *veneer* through the slot. An
//! arena of islands, veneers and copies serves the functions around it; a host with more code than one can
//! serve gets several.

use super::arena::Arena;
use super::space::Space;
use super::{BodyJump, PlanError, Redirection, SLOT};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::aarch64::{BRANCH_REACH, Entry, INSTRUCTION, analyze, branch, branch_through};
use livepatch_object::entry::{Copy, Function};
use livepatch_proto::{ExpectedBytes, IslandPage, MemoryWrite, Redirect, Stage, WireAddress, WordStore};
use rustc_hash::FxHashSet;
use std::ops::Range;

/// What a copy and the code in front of it begin at a multiple of.
const CODE_ALIGNMENT: u64 = 16;
/// Bytes of a veneer, and of the island that stands before it.
const VENEER: u64 = 12;
const ISLAND: u64 = INSTRUCTION as u64;
/// How far an arena may be from the functions that it serves, rather less than more.
const RADII: [u64; 2] = [64 << 20, 120 << 20];
/// Below the host there are images first.
const BELOW: u64 = 16 << 20;
/// Bytes that are stored at once; only those that are expected to be something are changed.
const WORD: u64 = 8;

/// What is particular to these islands in one process.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    page_size: u64,
    host: Range<u64>,
    slots: Arena,
    code: Vec<Near>,
    /// The instructions that redirections have changed so far.
    edited: FxHashSet<u64>,
    /// Pages that have been opened and not yet been returned by a plan.
    unsent: Vec<IslandPage>,
}

/// An arena that serves what is around a place.
#[derive(Clone, Debug)]
struct Near {
    center: u64,
    /// How far from the center it has its pages.
    radius: u64,
    arena: Arena,
}

impl Planner {
    /// For a host at `host`; slots go inside `bounds`.
    pub(super) fn new(page_size: u64, host: &Range<u64>, bounds: Range<u64>) -> Self {
        let hints = hints(host);
        Self {
            page_size,
            host: host.clone(),
            slots: Arena::new(0, page_size, hints, bounds),
            code: Vec::new(),
            edited: FxHashSet::default(),
            unsent: Vec::new(),
        }
    }

    /// Plans the redirection of `function`, once in its life.
    pub(super) fn plan(
        &mut self,
        function: &Function<'_>,
        space: &mut Space,
    ) -> Result<Redirection, PlanError> {
        let entry = analyze(function)?;
        self.refuse_edited(&entry)?;
        let room = |what| PlanError::NoRoom { entry: entry.address(), what };
        let slot = self.slots.take(SLOT, SLOT, space, &mut self.unsent).map(RuntimeAddress);
        let slot = slot.ok_or_else(|| room("a slot"))?;
        let front = (ISLAND + VENEER).next_multiple_of(CODE_ALIGNMENT);
        let length = front + entry.copy_length() as u64;
        let island = self.take_code(length, entry.address().0, space).ok_or_else(|| room("an island"))?;
        let veneer = island.checked_add(ISLAND).ok_or_else(|| room("an island"))?;
        let copy = island.checked_add(front).ok_or_else(|| room("a relocated copy"))?;
        let copy = entry.relocate(function, copy)?;
        let mut code = Vec::new();
        let own = branch(island, veneer).ok_or_else(|| room("an island"))?;
        let through = branch_through(veneer, slot).ok_or_else(|| room("a slot"))?;
        std::iter::once(own).chain(through).for_each(|word| code.extend_from_slice(&word.to_le_bytes()));
        let changes = self.changes(function, &entry, &copy, island);
        let (expected, stages) = changes.ok_or_else(|| room("an island"))?;
        let jump = BodyJump::new(Architecture::Aarch64, island, veneer);
        let (slot, original) = (WireAddress(slot.0), WireAddress(copy.at.0));
        let redirect = Redirect {
            entry: WireAddress(function.entry.0),
            slot,
            original,
            jump: Some(jump.through_slot()),
            expected,
            stages,
        };
        Ok(Redirection {
            slot,
            original,
            pages: std::mem::take(&mut self.unsent),
            writes: vec![
                MemoryWrite { at: WireAddress(copy.at.0), bytes: copy.bytes },
                MemoryWrite { at: WireAddress(island.0), bytes: code },
            ],
            jump: Some(jump),
            traps: Vec::new(),
            redirect,
            traps_calls: false,
            hazards: entry.hazards(),
        })
    }

    /// Refuses a function whose entry, or part of it, was changed before.
    fn refuse_edited(&self, entry: &Entry) -> Result<(), PlanError> {
        let start = entry.address();
        let changed = |offset: &usize| self.edited.contains(&start.0.wrapping_add(*offset as u64));
        if changed(&entry.site()) {
            return Err(PlanError::Again { entry: start });
        }
        match entry.loops().chain([0]).find(changed) {
            Some(offset) => {
                let at = RuntimeAddress(start.0.wrapping_add(offset as u64));
                Err(PlanError::Overlap { entry: start, at })
            }
            None => Ok(()),
        }
    }

    /// Branches back lead to their copies first, then the entry to the island.
    fn changes(
        &mut self,
        function: &Function<'_>,
        entry: &Entry,
        copy: &Copy,
        island: RuntimeAddress,
    ) -> Option<(Vec<ExpectedBytes>, Vec<Stage>)> {
        let changes = copy.loops.iter().copied().chain([(entry.site(), island)]);
        let (mut expected, mut stages) = (Vec::new(), Vec::new());
        for (offset, to) in changes {
            let at = entry.address().checked_add(offset as u64)?;
            let old: Option<Vec<u8>> = (0..ISLAND).map(|byte| function.byte(at.checked_add(byte)?)).collect();
            expected.push(ExpectedBytes { at: WireAddress(at.0), bytes: old? });
            let word = at.0 & !(WORD - 1);
            let new = u64::from(branch(at, to)?) << (8 * (at.0 - word));
            stages.push(Stage::Word { store: WordStore { at: WireAddress(word), new, traps: 0 } });
            self.edited.insert(at.0);
        }
        expected.sort_by_key(|bytes| bytes.at.0);
        Some((expected, stages))
    }

    /// Room that a branch at `site` reaches.
    fn take_code(&mut self, length: u64, site: u64, space: &mut Space) -> Option<RuntimeAddress> {
        // A function is not so long that it matters where in it the branch is.
        let farthest = BRANCH_REACH - (4 << 20);
        let serves = |near: &Near| near.center.abs_diff(site) + near.radius <= farthest;
        for near in self.code.iter_mut().filter(|near| serves(near)) {
            if let Some(at) = near.arena.take(length, CODE_ALIGNMENT, space, &mut self.unsent) {
                return Some(RuntimeAddress(at));
            }
        }
        for radius in RADII {
            let bounds = site.saturating_sub(radius)..site.saturating_add(radius);
            let mut arena = Arena::new(1, self.page_size, hints(&self.host), bounds);
            if let Some(at) = arena.take(length, CODE_ALIGNMENT, space, &mut self.unsent) {
                self.code.push(Near { center: site, radius, arena });
                return Some(RuntimeAddress(at));
            }
        }
        None
    }
}

/// Where to look for memory first: below the host, then above it.
fn hints(host: &Range<u64>) -> [u64; 2] {
    [host.start.saturating_sub(BELOW), host.end.saturating_add(BELOW)]
}

#[cfg(test)]
mod tests;
