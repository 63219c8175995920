//! Patches of a session as patch libraries.

use super::draft::Draft;
use super::{PatchError, Session};
use crate::library::{self, LibraryError, LibraryLink};
use crate::process::{PlacedImage, PlacedLibrary, Process};
use crate::resolve::Lookup;
use crate::write::{self, Bind, WriteError};
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::TlsInit;
use std::sync::Arc;

impl Session {
    /// Has patches be libraries that a linker makes, or images that are laid out here.
    pub fn link_libraries(&mut self, link: Option<LibraryLink>) {
        self.libraries = link;
    }

    /// Makes a patch's library, and has the process load it; if anything of the patch takes room.
    pub(super) fn load_library(
        &self,
        link: &LibraryLink,
        draft: &Draft,
        process: &mut Process,
        lookup: &mut dyn Lookup,
    ) -> Result<(), PatchError> {
        let (addresses, others) = draft.look_up(lookup)?;
        let path = self.image_path(draft, process);
        let bind = Bind::new(&draft.closure, &draft.layout, process, RuntimeAddress(0), &addresses, &others);
        let parts = library::make(&draft.closure, &draft.layout, &bind, &self.host, link, &path)?;
        let Some(parts) = parts else { return Ok(()) };
        let length =
            path.metadata().map_err(|source| PatchError::Store { path: path.clone(), source })?.len();
        let loaded = lookup.load(&path, length).map_err(LibraryError::Refused)?;
        let placed = PlacedImage {
            start: RuntimeAddress(loaded.range.start.0),
            length: loaded.range.end.0.saturating_sub(loaded.range.start.0),
            path,
            library: Some(Arc::new(PlacedLibrary { bias: loaded.bias, parts })),
        };
        process.set_library(draft.number, placed, &loaded.free_ranges);
        Ok(())
    }

    /// The initial values of a patch's new thread-locals, once its library is loaded.
    pub(super) fn thread_locals(
        &self,
        draft: &Draft,
        process: &Process,
        lookup: &mut dyn Lookup,
    ) -> Result<Vec<TlsInit>, PatchError> {
        if draft.closure.thread_locals.is_empty() {
            return Ok(Vec::new());
        }
        let (addresses, others) = draft.look_up(lookup)?;
        let bind = Bind::new(&draft.closure, &draft.layout, process, RuntimeAddress(0), &addresses, &others);
        let values = write::thread_locals(&draft.closure, &draft.layout, &bind)?;
        let values = values.into_iter().map(|(offset, bytes)| {
            let offset = u32::try_from(offset);
            let offset = offset.map_err(|_| WriteError::Inconsistent("a thread-local's place"))?;
            Ok(TlsInit { offset, bytes })
        });
        values.collect()
    }
}
