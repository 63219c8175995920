//! Thread-locals of libraries that were loaded here (ELF Handling For Thread-Local Storage).
//!
//! Every thread gets a block of a library's thread-locals when it first uses one, through [`get_address`],
//! which stands for `__tls_get_addr` in libraries that were loaded here. Libraries whose code takes its
//! thread-locals to be at one offset from the thread pointer get a part of a [`reserve`].

mod block;
mod descriptor;
mod reserve;

pub(crate) use block::{Index, get_address, thread_pointer};
pub(crate) use descriptor::{Descriptor, Kind as DescriptorKind};

use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Set in numbers of modules that are registered here: those of the C library are small.
const OURS: u64 = 1 << 63;
/// How many bits of a number say where it is registered; those above count how often that was used.
const SLOT_BITS: u32 = 24;

/// What a thread's block begins as.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// `PT_TLS` of the file.
    pub(crate) initial: Bytes,
    /// How large a block is, the zeros after the initial bytes included.
    pub(crate) size: usize,
    pub(crate) align: usize,
    /// A block's address modulo its alignment.
    pub(crate) misalign: usize,
}

/// A library's registration, until it is dropped.
#[derive(Debug)]
pub(crate) struct Module {
    id: u64,
    image: Image,
    offset: OnceLock<i64>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: u64,
    image: Image,
    /// From the thread pointer, if it has a part of the reserve.
    offset: Option<i64>,
}

#[derive(Default)]
struct Slot {
    used: u64,
    entry: Option<Entry>,
}

static MODULES: Mutex<Vec<Slot>> = Mutex::new(Vec::new());

fn modules() -> MutexGuard<'static, Vec<Slot>> {
    MODULES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which slot a number names.
fn slot_of(id: u64) -> usize {
    (id & ((1 << SLOT_BITS) - 1)) as usize
}

impl Module {
    /// Registers a library's thread-locals.
    pub(crate) fn register(image: Image) -> Self {
        let mut modules = modules();
        let index = modules.iter().position(|slot| slot.entry.is_none()).unwrap_or(modules.len());
        if index == modules.len() {
            modules.push(Slot::default());
        }
        let slot = &mut modules[index];
        slot.used += 1;
        let id = OURS | (slot.used << SLOT_BITS) | index as u64;
        slot.entry = Some(Entry { id, image: image.clone(), offset: None });
        Self { id, image, offset: OnceLock::new() }
    }

    /// Its number, for `__tls_get_addr`.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn size(&self) -> usize {
        self.image.size
    }

    /// Where its block is from the thread pointer, if that is the same in every thread.
    pub(crate) fn offset(&self) -> Option<i64> {
        self.offset.get().copied()
    }

    /// Gives it a part of the reserve, if it has none yet. To be called before any of its code runs.
    pub(crate) fn make_static(&self) -> Result<i64, &'static str> {
        if let Some(offset) = self.offset() {
            return Ok(offset);
        }
        let offset = reserve::take(&self.image)?;
        if let Some(entry) = modules().get_mut(slot_of(self.id)).and_then(|slot| slot.entry.as_mut()) {
            entry.offset = Some(offset);
        }
        Ok(*self.offset.get_or_init(|| offset))
    }
}

impl Module {
    /// Says what blocks begin as from now on: the same as before, but relocated. To be called before any code
    /// of the library runs.
    pub(crate) fn publish(&self, initial: Bytes) -> Result<(), &'static str> {
        if let Some(offset) = self.offset() {
            reserve::fill(offset, &initial)?;
        }
        if let Some(entry) = modules().get_mut(slot_of(self.id)).and_then(|slot| slot.entry.as_mut()) {
            entry.image.initial = initial;
        }
        Ok(())
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Some(slot) = modules().get_mut(slot_of(self.id)) {
            slot.entry = None;
        }
        block::forget(self.id);
    }
}

/// What is registered under a number.
fn entry(id: u64) -> Option<Entry> {
    modules().get(slot_of(id))?.entry.clone().filter(|entry| entry.id == id)
}
