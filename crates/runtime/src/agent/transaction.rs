//! A patch goes live as a whole or not at all.
//!
//! Everything that can fail comes before the first change that a thread of the program can notice, and
//! is noted in an undo log. Then, with `fork` held off: slots and the jumps past them, code, the patch's
//! number.
//!
//! Where a function loops to its first instruction, a thread may stand at the entry that never called
//! it. Then slots lead to the originals while code is changed, so that nothing happens that can be
//! noticed; and to the new bodies once every thread has run on ([`settle`]). Nothing can fail between.

use super::address::{CodeSegment, Ground, Island, IslandAddress, IslandKind, SlotAddress, Target, join};
use super::loader::{Handle, LoadedImage, Placement};
use super::memory::{self, CodePages, MapError, Protection, SystemError, WritablePages};
use super::plan::{
    CodeChange, Jumps, Links, Store, confirm_jumps, plan_code, plan_islands, plan_jumps, plan_links,
    plan_slots,
};
use super::state::{Lasting, Settling};
use super::trap_table::{Continuation, TRAPS};
use super::undo::{Undo, UndoLog};
use super::{
    entry, free_ranges, hello, image, loader, membarrier, modules, process_status, settle, signals, state,
    tls,
};
use livepatch_proto::{ApplyError, BuildId, ImageSource, ModuleKey, Patch, SlotSet, Times, WireAddress};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Applies patches, one after the other.
pub(crate) struct Patcher {
    build_id: BuildId,
    unguarded: bool,
    code: Vec<LoadedCode>,
    generation: (u64, u64),
    /// What went otherwise than it should without harm, for the log.
    surprises: Vec<String>,
    /// Patch libraries that were loaded for a patch that is still to come.
    libraries: Vec<LoadedImage>,
}

impl Patcher {
    /// `unguarded` is as in `Redirection::Unguarded`.
    pub(crate) fn new(unguarded: bool) -> Self {
        let (code, surprises) = (Vec::new(), Vec::new());
        Self {
            build_id: hello::build_id(),
            unguarded,
            code,
            generation: (0, 0),
            surprises,
            libraries: Vec::new(),
        }
    }

    /// Applies a patch. On an error nothing has changed.
    pub(crate) fn apply(&mut self, patch: &Patch) -> Result<Times, ApplyError> {
        self.transact(patch).map_err(|mut error| {
            // Said only now that everything is undone.
            if let ApplyError::ImagePlacedElsewhere { free_ranges, .. }
            | ApplyError::IslandOccupied { free_ranges, .. } = &mut error
            {
                *free_ranges = free_ranges::free_ranges();
            }
            error
        })
    }

    /// Loads a patch library: nothing leads to it yet.
    pub(crate) fn load_library(&mut self, source: &ImageSource) -> Result<Placement, ApplyError> {
        let (library, placement) = image::load_library(source)?;
        self.libraries.push(library);
        Ok(placement)
    }

    /// The same through another dynamic linker.
    pub(crate) fn load_through(&mut self, linker: &str, library: &str) -> Result<Placement, ApplyError> {
        let (library, placement) = image::load_through(linker, library)?;
        self.libraries.push(library);
        Ok(placement)
    }

    /// Unloads the libraries of which no patch has come.
    pub(crate) fn unload_libraries(&mut self) {
        self.libraries.drain(..).for_each(image::close);
    }

    fn transact(&mut self, patch: &Patch) -> Result<Times, ApplyError> {
        let mut clock = Clock::start();
        let mut undo = UndoLog::new();
        check_order(patch.predecessor)?;
        if patch.number == 0 {
            return Err(ApplyError::Invalid { detail: "0 is the base build".to_owned() });
        }
        if patch.build_id != self.build_id {
            return Err(ApplyError::WrongBuild { process: self.build_id.to_string() });
        }
        for key in &patch.holds {
            undo.did(Done::Held(hold(key)?));
        }
        let lasting = state::lasting();
        let ground = self.ground(lasting.islands.clone(), Some(&patch.holds));
        let change = plan_code(&patch.redirects, &ground, memory::read_code)?;
        if prepare_traps(&change, self.unguarded)? {
            self.surprises.push("the program had replaced the trap handlers".to_owned());
        }
        let islands = plan_islands(patch)?;
        let check = clock.lap();

        for image in &patch.images {
            undo.did(Done::Loaded(image::load(image)?));
        }
        let map = clock.lap();

        let all_islands = join(&lasting.islands, &islands);
        let ground = self.ground(all_islands.clone(), None);
        let links = plan_links(patch, &islands, &ground)?;
        let redirected = [&*lasting.redirected, &links.redirected].concat().into();
        let shims = [&*lasting.shims, &patch.shims].concat().into();
        let lasting = Lasting { islands: all_islands, redirected, shims };
        map_islands(&islands, &mut undo)?;
        write_links(&links, &islands, &mut undo)?;
        confirm_jumps(&links.jumps, memory::read_island)?;
        if let Some(replaced) = tls::write(&patch.tls)? {
            undo.did(Done::Tls(replaced));
        }
        let prepared = clock.lap();

        let settles = !links.settle.is_empty();
        let surprise = commit(&change, links, patch.number, lasting)?;
        undo.keep();
        self.surprises.extend(surprise.err().map(|error| ApplyError::from(error).to_string()));
        if settles {
            let entries: Vec<u64> = patch.redirects.iter().map(|redirect| redirect.entry.0).collect();
            self.surprises.extend(settle::wait(&entries));
            let settled = state::commit().go_live();
            drop(settled);
        }
        let redirect = clock.lap();
        // From now on something leads to them.
        self.libraries.clear();
        Ok(Times { check, map, islands: prepared, redirect, total: clock.total() })
    }

    /// Goes back to an earlier patch. On an error nothing has changed.
    pub(crate) fn roll_back(&mut self, from: u32, to: u32, slots: &[SlotSet]) -> Result<(), ApplyError> {
        check_order(from)?;
        let ground = self.ground(state::lasting().islands, None);
        let jumps = plan_jumps(slots, &ground)?;
        confirm_jumps(&jumps, memory::read_island)?;
        let slots = plan_slots(slots, &ground)?;
        let surprise = go_back(&slots, &jumps, to)?;
        self.surprises.extend(surprise.err().map(|error| ApplyError::from(error).to_string()));
        Ok(())
    }

    /// What is worth saying since the last time.
    pub(crate) fn take_surprises(&mut self) -> Vec<String> {
        std::mem::take(&mut self.surprises)
    }

    /// What is loaded now, and these islands. Where code is to be read and changed, only what cannot be
    /// unloaded meanwhile: the program, what was there from the start, images of patches, and `held`.
    fn ground(&mut self, islands: Arc<[Island]>, held: Option<&[ModuleKey]>) -> Ground {
        let generation = loader::generation();
        if self.generation != generation {
            self.code.clear();
            let mut main = true;
            loader::visit_modules::<()>(|module| {
                // What applies patches is not patched.
                if !module.contains(entry::self_test_entry()) {
                    // Images and libraries of patches have no build id.
                    let ours = modules::build_id(module).is_none();
                    let stays = main || ours || modules::is_from_start(module.bias);
                    let each = |segment| LoadedCode { segment, bias: module.bias, stays };
                    self.code.extend(module.code().map(each));
                }
                main = false;
                ControlFlow::Continue(())
            });
            self.generation = generation;
        }
        let stays = |code: &&LoadedCode| {
            code.stays || held.is_none_or(|held| held.iter().any(|key| key.bias == code.bias))
        };
        Ground::new(self.code.iter().filter(stays).map(|code| code.segment).collect(), islands)
    }
}

/// A segment of a loaded module.
struct LoadedCode {
    segment: CodeSegment,
    /// The module's load bias.
    bias: u64,
    /// Whether it cannot be unloaded.
    stays: bool,
}

/// Keeps a module loaded for as long as the reference is not given back.
fn hold(key: &ModuleKey) -> Result<Handle, ApplyError> {
    let name = modules::name(key)?;
    let handle = state::while_loading(|| Handle::of_loaded(&name, key.bias));
    handle.ok_or_else(|| ApplyError::ModuleGone { module: key.clone() })
}

fn check_order(predecessor: u32) -> Result<(), ApplyError> {
    match state::current() {
        current if current == predecessor => Ok(()),
        current => Err(ApplyError::OutOfOrder { current, predecessor }),
    }
}

/// Sees to it that the traps which a change needs arrive. Says whether the program had to be overruled.
///
/// Where the agent was there from the start, no thread blocks them for long; `unguarded`, any may.
fn prepare_traps(change: &CodeChange, unguarded: bool) -> Result<bool, ApplyError> {
    if !change.traps {
        return Ok(false);
    }
    if let tracer @ 1.. = process_status::tracer() {
        return Err(ApplyError::Traced { tracer });
    }
    if (change.bytes || unguarded)
        && let Some(thread) = process_status::thread_that_blocks_traps()
    {
        return Err(ApplyError::TrapsBlocked { thread });
    }
    Ok(signals::reinstall()?)
}

fn map_islands(islands: &[Island], undo: &mut UndoLog<Done>) -> Result<(), ApplyError> {
    for &island in islands {
        memory::map_island(island).map_err(|error| match error {
            MapError::Occupied => ApplyError::IslandOccupied {
                address: WireAddress(island.span.start()),
                free_ranges: Vec::new(),
            },
            MapError::System(error) => error.into(),
        })?;
        undo.did(Done::Mapped(island));
    }
    Ok(())
}

/// Fills islands and the trap table. No thread of the program comes there before the commit.
fn write_links(links: &Links<'_>, islands: &[Island], undo: &mut UndoLog<Done>) -> Result<(), ApplyError> {
    let reopened = WritablePages::open(&links.reopened)?;
    for &(at, bytes) in &links.writes {
        if !islands.iter().any(|island| island.span.contains(at.span())) {
            undo.did(Done::Wrote(at, memory::read_island(at)));
        }
        memory::write_island(at, bytes);
    }
    reopened.close()?;
    for island in islands.iter().filter(|island| island.kind == IslandKind::Code) {
        memory::protect(island.span, Protection::ReadExecute)?;
    }
    if !links.reopened.is_empty() {
        // A core may have fetched these bytes together with a neighbour's.
        membarrier::synchronize()?;
    }
    TRAPS.reserve(links.traps.len());
    for &(at, to) in &links.traps {
        undo.did(Done::Trap(at, TRAPS.set(at, Some(to))));
    }
    Ok(())
}

/// Makes the patch live, or all but its slots if it settles first; or fails and changes nothing. An error
/// inside the result was no reason to fail.
///
/// Under the lock, nothing is allocated or freed.
fn commit(
    change: &CodeChange,
    mut links: Links<'_>,
    number: u32,
    mut lasting: Lasting,
) -> Result<Result<(), SystemError>, SystemError> {
    let mut live = state::commit();
    let code = WritablePages::open(&change.pages)?;
    let jump_pages = WritablePages::open(&links.jumps.pages)?;
    let settles = !links.settle.is_empty();
    for &(slot, target) in if settles { &links.settle } else { &links.slots } {
        memory::store_slot(slot, target);
    }
    let mut surprise = store_jumps(&links.jumps, jump_pages);
    for stage in &change.stages {
        for &store in stage {
            match store {
                Store::Word { at, new, mask } => code.store_word(at, new, mask),
                Store::Byte { at, byte } => code.store_byte(at, byte),
            }
        }
        // It fails only unregistered (membarrier(2)), and then the self-test said so.
        surprise = surprise.and(membarrier::synchronize());
    }
    // Pages that stay writable work as well.
    surprise = surprise.and(code.close());
    if settles {
        live.settle(Settling { patch: number, slots: std::mem::take(&mut links.slots), lasting });
    } else {
        live.set_current(number, Some(&mut lasting));
    }
    Ok(surprise)
}

/// Goes back to an earlier patch, or fails and changes nothing. Errors, and the lock, are as in [`commit`].
fn go_back(
    slots: &[(SlotAddress, Target)],
    jumps: &Jumps,
    to: u32,
) -> Result<Result<(), SystemError>, SystemError> {
    let mut live = state::commit();
    let pages = WritablePages::open(&jumps.pages)?;
    slots.iter().for_each(|&(slot, target)| memory::store_slot(slot, target));
    let surprise = store_jumps(jumps, pages);
    live.set_current(to, None);
    Ok(surprise)
}

/// Changes jumps of islands, and returns when no core jumps where they led before.
fn store_jumps(jumps: &Jumps, pages: WritablePages<'_>) -> Result<(), SystemError> {
    if jumps.stores.is_empty() {
        return Ok(());
    }
    jumps.stores.iter().for_each(|&jump| pages.store_jump(jump));
    // Both are done, whatever becomes of the other.
    let synchronized = membarrier::synchronize();
    let closed = pages.close();
    synchronized.and(closed)
}

/// What was done for a patch that is not live yet.
enum Done {
    Held(Handle),
    Loaded(LoadedImage),
    Mapped(Island),
    Wrote(IslandAddress, Vec<u8>),
    Trap(u64, Option<Continuation>),
    Tls(tls::Replaced),
}

impl Undo for Done {
    fn undo(self) {
        match self {
            Self::Held(module) => state::while_loading(|| module.close()),
            Self::Loaded(image) => image::close(image),
            Self::Mapped(island) => memory::unmap_island(island),
            Self::Wrote(at, old) => rewrite(at, &old),
            Self::Trap(at, old) => drop(TRAPS.set(at, old)),
            Self::Tls(replaced) => tls::undo(&replaced),
        }
    }
}

/// Gives an island its old bytes back. Where that fails they stay: nothing leads there.
fn rewrite(at: IslandAddress, old: &[u8]) {
    let pages = [CodePages { span: at.span().pages(), writable: at.kind() == IslandKind::Slots }];
    if let Ok(_open) = WritablePages::open(if pages[0].writable { &[] } else { &pages }) {
        memory::write_island(at, old);
    }
}

/// Measures steps.
struct Clock {
    start: Instant,
    last: Instant,
}

impl Clock {
    fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now }
    }

    /// Nanoseconds since the last lap.
    fn lap(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.last, Instant::now());
        nanoseconds(before, self.last)
    }

    fn total(&self) -> u64 {
        nanoseconds(self.start, self.last)
    }
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}
