//! Telling debuggers which libraries are loaded, by the interface that they have for code that is made at run time
//! ("JIT Compilation Interface" in gdb's manual).
//!
//! It costs time for each library, so it is done where a debugger is there, or is expected.

use crate::flags::native;
use crate::loaded::{LibraryId, Loaded};
use livepatch_object::loadable::debug_image;
use rustc_hash::FxHashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// When debuggers are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TellDebugger {
    /// If one traces this process when the linker is made.
    #[default]
    IfTraced,
    /// Always: one may come later.
    Always,
    /// Never.
    Never,
}

impl TellDebugger {
    pub(crate) fn decide(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::IfTraced => {
                let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
                let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
                tracer.is_some_and(|tracer| tracer.trim() != "0")
            }
        }
    }
}

const NOTHING: u32 = 0;
const REGISTER: u32 = 1;
const UNREGISTER: u32 = 2;

/// `struct jit_code_entry`.
#[repr(C)]
struct Entry {
    next: *mut Entry,
    previous: *mut Entry,
    file: *const u8,
    size: u64,
}

/// `struct jit_descriptor`.
#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

#[unsafe(no_mangle)]
static mut __jit_debug_descriptor: Descriptor =
    Descriptor { version: 1, action: NOTHING, relevant: std::ptr::null_mut(), first: std::ptr::null_mut() };

/// Debuggers stop here, and read the descriptor.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn __jit_debug_register_code() {
    // So that no compiler takes it for one that does nothing.
    std::hint::black_box(());
}

/// An entry of the list, and the image that it points to.
struct Registered {
    entry: *mut Entry,
    _image: Box<[u8]>,
}

// SAFETY: entries are used under the lock of `REGISTERED` only.
unsafe impl Send for Registered {}

static REGISTERED: LazyLock<Mutex<FxHashMap<LibraryId, Registered>>> = LazyLock::new(Mutex::default);

/// Tells of a library that was loaded. One that cannot be described is left out.
pub(crate) fn loaded(library: &Loaded) {
    let Ok(machine) = native() else { return };
    let Some(file) = &library.file else { return };
    let Ok(image) = debug_image::describe(file, library.definitions.slide, machine) else { return };
    let image = image.into_boxed_slice();
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    let (file, size) = (image.as_ptr(), image.len() as u64);
    let entry = Entry { next: std::ptr::null_mut(), previous: std::ptr::null_mut(), file, size };
    let entry = Box::into_raw(Box::new(entry));
    // SAFETY: the list is used under the lock only, but by debuggers, which stop the process.
    unsafe {
        let descriptor = &raw mut __jit_debug_descriptor;
        let first = (*descriptor).first;
        (*entry).next = first;
        if !first.is_null() {
            (*first).previous = entry;
        }
        (*descriptor).first = entry;
        tell(descriptor, entry, REGISTER);
    }
    registered.insert(library.id, Registered { entry, _image: image });
}

/// Tells of a library that is about to be unloaded.
pub(crate) fn unloading(library: &Loaded) {
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Registered { entry, _image }) = registered.remove(&library.id) else { return };
    // SAFETY: as in `loaded`, which made the entry; it is freed when nothing points to it any more.
    unsafe {
        let descriptor = &raw mut __jit_debug_descriptor;
        let (next, previous) = ((*entry).next, (*entry).previous);
        match previous.is_null() {
            true => (*descriptor).first = next,
            false => (*previous).next = next,
        }
        if !next.is_null() {
            (*next).previous = previous;
        }
        tell(descriptor, entry, UNREGISTER);
        drop(Box::from_raw(entry));
    }
}

/// # Safety
/// The descriptor is this module's, and the lock is held.
unsafe fn tell(descriptor: *mut Descriptor, entry: *mut Entry, action: u32) {
    // SAFETY: the caller's promise. Volatile, since nobody in this process reads it.
    unsafe {
        (&raw mut (*descriptor).relevant).write_volatile(entry);
        (&raw mut (*descriptor).action).write_volatile(action);
        __jit_debug_register_code();
        (&raw mut (*descriptor).action).write_volatile(NOTHING);
    }
}
