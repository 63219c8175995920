//! Linking a patch for one process: its image, the slots of its functions, the message.

use super::draft::{Draft, body};
use super::{PatchError, Session, in_patch};
use crate::islands::BodyJump;
use crate::live::Module;
use crate::loops::enters_by_table;
use crate::objects::load;
use crate::process::{PlacedImage, Process, Slot};
use crate::resolve::{Lookup, Redirected};
use crate::write::{self, BIAS, Bind, IMAGE_ALIGN, WriteError};
use livepatch_object::address::LinkAddress;
use livepatch_object::demangle;
use livepatch_object::entry::Function;
use livepatch_object::host::Host;
use livepatch_proto::{BuildId, Image, ImageSource, Patch, Shim, SlotSet, TlsInit, WireAddress};
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};

/// A patch for one process.
#[derive(Debug)]
pub struct Linked {
    /// The message.
    pub patch: Patch,
    /// The process once the patch is applied.
    pub process: Process,
    /// Where the slots of functions lead that were not redirected before, as long as nothing is live: to the
    /// originals.
    pub originals: Vec<SlotSet>,
}

/// Images of earlier patches whose code is looked at, by patch.
type Images = FxHashMap<u32, Host>;

/// The slot of a function that was not redirected before.
#[derive(Clone, Copy)]
struct Planned {
    slot: Slot,
    /// Whether the function loops to its first instruction.
    loops: bool,
}

impl Session {
    /// Links a patch for one process: the image's file is written, the message made.
    pub fn link(
        &self,
        draft: &Draft,
        process: &Process,
        lookup: &mut dyn Lookup,
    ) -> Result<Linked, PatchError> {
        let mut after = process.clone();
        after.current = draft.number;
        let build_id = BuildId(self.host.build_id().to_vec());
        let mut patch = Patch::new(draft.number, draft.predecessor, build_id);
        patch.holds.extend(process.library().cloned());
        if !draft.closure.parts.is_empty() {
            match &self.libraries {
                None => {
                    let placed = self.place_image(draft, &mut after)?;
                    after.set_image(draft.number, placed);
                }
                Some(link) => self.load_library(link, draft, &mut after, lookup)?,
            }
        }
        let mut loops = false;
        let mut originals = Vec::new();
        let mut images = Images::default();
        for redirected in &draft.closure.redirected {
            let planned = self.redirect(draft, redirected, &mut after, &mut patch, &mut images)?;
            if let Some(planned) = planned {
                loops |= planned.loops;
                originals.push(SlotSet { slot: planned.slot.at, target: planned.slot.original, jump: None });
            }
        }
        if loops {
            patch.settle.clone_from(&originals);
            // What settles is decided by the slot, and what goes live with it as well.
            for (set, redirected) in patch.slots.iter_mut().zip(&draft.closure.redirected) {
                let jump = after.slot(redirected.entry).and_then(|slot| slot.jump);
                set.jump = jump.map(BodyJump::through_slot);
            }
        }
        // Before the others: callers that arrive at a shim may go on at once.
        let shims = self.shim_slots(draft, &mut after, &mut patch)?;
        patch.slots.splice(0..0, shims);
        // After the slots, which shims in the image refer to.
        if self.libraries.is_some() {
            patch.tls = self.thread_locals(draft, &after, lookup)?;
        } else if let Some(placed) = after.image(draft.number) {
            let length = self.write_image(draft, &after, placed, lookup, &mut patch.tls)?;
            patch.images.push(Image {
                source: ImageSource::Path { path: placed.path.to_string_lossy().into_owned(), length },
                bias: BIAS,
                start: WireAddress(placed.start.0),
                length: placed.length,
            });
        }
        Ok(Linked { patch, process: after, originals })
    }

    /// Takes slots for the shims of a patch, and has them lead to what callers got before it.
    fn shim_slots(
        &self,
        draft: &Draft,
        process: &mut Process,
        patch: &mut Patch,
    ) -> Result<Vec<SlotSet>, PatchError> {
        let mut sets = Vec::new();
        for shim in &draft.closure.redirected {
            let Some(kept) = shim.kept.map(|part| in_patch(draft, part)) else { continue };
            let no_code = || PatchError::NoCode(demangle(&shim.name));
            let entry = process.address(shim.entry).ok_or_else(no_code)?;
            let planned = process.islands.plan_slot(entry);
            let (at, pages) =
                planned.map_err(|source| PatchError::Redirect { name: demangle(&shim.name), source })?;
            let slot = WireAddress(at.0);
            patch.island_pages.extend(pages);
            process.set_shim_slot(shim.entry, draft.number, slot);
            let before = self.live.body_at(shim.entry, self.counters.current);
            let known = process.slot(shim.entry).ok_or_else(no_code)?;
            let target = process.body_address(known, before).ok_or_else(no_code)?;
            sets.push(SlotSet { slot, target, jump: None });
            let kept = process.body_address(known, kept).ok_or_else(no_code)?;
            patch.shims.push(Shim { entry: WireAddress(entry.0), slot, kept });
        }
        Ok(sets)
    }

    /// Finds room for a patch's image in one process.
    fn place_image(&self, draft: &Draft, process: &mut Process) -> Result<PlacedImage, PatchError> {
        let length = draft.layout.length();
        let start = process.take_image_range(length, IMAGE_ALIGN)?;
        let path = self.image_path(draft, process);
        Ok(PlacedImage { start, length, path, library: None })
    }

    pub(super) fn image_path(&self, draft: &Draft, process: &Process) -> PathBuf {
        let mut path = self.images.clone().into_os_string();
        path.push(format!("-{}-{}.so", draft.number, process.pid));
        PathBuf::from(path)
    }

    /// Writes the image's file for one process; returns its length in bytes. Values of new thread-locals
    /// are added to `tls`.
    fn write_image(
        &self,
        draft: &Draft,
        process: &Process,
        placed: &PlacedImage,
        lookup: &mut dyn Lookup,
        tls: &mut Vec<TlsInit>,
    ) -> Result<u64, PatchError> {
        let (addresses, others) = draft.look_up(lookup)?;
        let bind = Bind::new(&draft.closure, &draft.layout, process, placed.start, &addresses, &others);
        let file = write::write(&draft.closure, &draft.layout, &bind)?;
        for (offset, bytes) in write::thread_locals(&draft.closure, &draft.layout, &bind)? {
            let offset =
                u32::try_from(offset).map_err(|_| WriteError::Inconsistent("a thread-local's place"))?;
            tls.push(TlsInit { offset, bytes });
        }
        let path = &placed.path;
        store(path, &file).map_err(|source| PatchError::Store { path: path.clone(), source })?;
        Ok(file.len() as u64)
    }

    /// Points a function's slot at its new body; plans the slot, and returns it, if there is none yet.
    fn redirect(
        &self,
        draft: &Draft,
        redirected: &Redirected,
        process: &mut Process,
        patch: &mut Patch,
        images: &mut Images,
    ) -> Result<Option<Planned>, PatchError> {
        let known = process.slot(redirected.entry);
        let planned = match known {
            Some(_) => None,
            None => Some(self.plan_slot(redirected, process, patch, images)?),
        };
        let Some(slot) = known.or(planned.map(|planned| planned.slot)) else { return Ok(None) };
        let target = process.body_address(slot, body(draft, redirected));
        let target = target.ok_or_else(|| PatchError::NoCode(demangle(&redirected.name)))?;
        patch.slots.push(slot.set(target));
        Ok(planned)
    }

    fn plan_slot(
        &self,
        redirected: &Redirected,
        process: &mut Process,
        patch: &mut Patch,
        images: &mut Images,
    ) -> Result<Planned, PatchError> {
        let name = || demangle(&redirected.name);
        let no_code = || PatchError::NoCode(name());
        let entry = process.address(redirected.entry).ok_or_else(no_code)?;
        let plan = match redirected.entry.module {
            Module::Host => {
                let link = LinkAddress(redirected.entry.position);
                let size = self.host.function_at(link).map(|function| function.size).ok_or_else(no_code)?;
                let (text, offset) = self.host.code(link).ok_or_else(no_code)?;
                let padding = self.host.room(link).saturating_sub(size);
                let (size, padding) = (to_usize(size), to_usize(padding));
                process.islands.plan(&Function { entry, text, offset, size, padding })
            }
            Module::Patch(number) => {
                let code = self.patch_code(process, number, redirected.entry.position, images);
                let (text, offset, size) = code.ok_or_else(no_code)?;
                process.islands.plan(&Function { entry, text, offset, size, padding: 0 })
            }
            Module::TlsReserve => return Err(no_code()),
        };
        let plan = plan.map_err(|source| PatchError::Redirect { name: name(), source })?;
        if plan.hazards.lasting_traps && !process.is_guarded() {
            return Err(PatchError::LastingTraps(name()));
        }
        let entity = &redirected.entity;
        let old = self.live.entity(&redirected.name, entity.object.scope(entity.symbol));
        if plan.hazards.unseen_loops && old.is_some_and(enters_by_table) {
            return Err(PatchError::LoopsByTable(name()));
        }
        patch.island_pages.extend(plan.pages);
        patch.island_writes.extend(plan.writes);
        patch.traps.extend(plan.traps);
        patch.redirects.push(plan.redirect);
        let slot = Slot { at: plan.slot, original: plan.original, jump: plan.jump };
        process.set_slot(redirected.entry, slot);
        Ok(Planned { slot, loops: plan.hazards.loop_head })
    }

    /// The code of an earlier patch's image, as it is in its file: the bytes, the position in them, the
    /// function's size.
    fn patch_code<'i>(
        &self,
        process: &Process,
        number: u32,
        position: u64,
        images: &'i mut Images,
    ) -> Option<(&'i [u8], usize, usize)> {
        let image = process.image(number)?;
        let host = match images.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(Host::parse(load(&image.path).ok()?).ok()?),
        };
        let link = image.link(position)?;
        let size = host.function_at(link)?.size;
        let (text, offset) = host.code(link)?;
        Some((text, offset, to_usize(size)))
    }
}

/// Writes an image's file, whole or not at all. One that is there may be mapped: it is left to who did.
fn store(path: &Path, contents: &[u8]) -> io::Result<()> {
    let remove = || match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    remove()?;
    std::fs::write(path, contents).inspect_err(|_| drop(remove()))
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
