//! Each thread's blocks, and the function that finds a thread-local.

use super::{Entry, OURS, entry, slot_of};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;

/// What code passes to `__tls_get_addr`, and what two relocations fill in.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Index {
    pub(crate) module: u64,
    pub(crate) offset: u64,
}

struct Block {
    /// Whose it is; 0 if nobody's.
    id: u64,
    start: *mut u8,
    /// What was allocated for it; none if it lies in the reserve.
    allocated: Option<(*mut u8, Layout)>,
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some((at, layout)) = self.allocated.take() {
            // SAFETY: allocated by `new_block` with this layout; its thread or its library is at its end.
            unsafe { dealloc(at, layout) };
        }
    }
}

thread_local! {
    /// This thread's blocks, by slot. Null before the first, and after the thread's end.
    static BLOCKS: Cell<*mut Vec<Block>> = const { Cell::new(std::ptr::null_mut()) };
}

unsafe extern "C" {
    fn __tls_get_addr(index: *const Index) -> *mut u8;
}

/// This thread's address of a thread-local: `__tls_get_addr` of libraries that were loaded here.
///
/// # Safety
/// `index` must have been filled in by relocations, and its library still be loaded.
pub(crate) unsafe extern "C" fn get_address(index: *const Index) -> *mut u8 {
    // SAFETY: the caller's promise.
    let Index { module, offset } = unsafe { *index };
    if module & OURS == 0 {
        // SAFETY: a module of the C library, which knows it.
        return unsafe { __tls_get_addr(index) };
    }
    block_of(module).wrapping_add(offset as usize)
}

/// The beginning of this thread's block.
fn block_of(module: u64) -> *mut u8 {
    let blocks = BLOCKS.get();
    if !blocks.is_null() {
        // SAFETY: the thread's own list, of which no other reference is alive: none is kept while anything
        // is called.
        if let Some(block) = unsafe { (&*blocks).get(slot_of(module)) }
            && block.id == module
        {
            return block.start;
        }
    }
    first_use(module)
}

#[cold]
fn first_use(module: u64) -> *mut u8 {
    let Some(entry) = entry(module) else {
        // Code of a library that is gone: there is nothing right to return.
        std::process::abort();
    };
    let block = new_block(&entry);
    let start = block.start;
    let slot = slot_of(module);
    let blocks = list();
    // SAFETY: as in `block_of`.
    let blocks = unsafe { &mut *blocks };
    while blocks.len() <= slot {
        blocks.push(Block { id: 0, start: std::ptr::null_mut(), allocated: None });
    }
    blocks[slot] = block;
    start
}

fn new_block(entry: &Entry) -> Block {
    if let Some(offset) = entry.offset {
        let start = thread_pointer().wrapping_add_signed(offset) as *mut u8;
        return Block { id: entry.id, start, allocated: None };
    }
    let image = &entry.image;
    let size = image.size + image.misalign;
    let Ok(layout) = Layout::from_size_align(size.max(1), image.align) else { std::process::abort() };
    // SAFETY: a layout of at least one byte; all of it is written before it is used: first what the file
    // says, then zeros.
    unsafe {
        let at = alloc(layout);
        if at.is_null() {
            handle_alloc_error(layout);
        }
        let start = at.add(image.misalign);
        let initial = image.initial.len().min(image.size);
        start.copy_from_nonoverlapping(image.initial.as_ptr(), initial);
        start.add(initial).write_bytes(0, image.size - initial);
        Block { id: entry.id, start, allocated: Some((at, layout)) }
    }
}

/// The thread's list, made when it is first needed.
fn list() -> *mut Vec<Block> {
    let mut blocks = BLOCKS.get();
    if blocks.is_null() {
        blocks = Box::into_raw(Box::default());
        BLOCKS.set(blocks);
        if let Some(key) = key() {
            // SAFETY: a key that was made; the value is what its destructor takes.
            unsafe { libc::pthread_setspecific(key, blocks.cast()) };
        }
    }
    blocks
}

/// Has a list freed at its thread's end, after the destructors of the thread-locals themselves have run.
fn key() -> Option<libc::pthread_key_t> {
    static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: room for a key, and a destructor that takes what `list` sets.
        let made = unsafe { libc::pthread_key_create(&raw mut key, Some(free)) };
        (made == 0).then_some(key)
    })
}

unsafe extern "C" fn free(blocks: *mut c_void) {
    BLOCKS.set(std::ptr::null_mut());
    // SAFETY: made by `list` of this thread, which is about to end and has no other pointer to it.
    drop(unsafe { Box::from_raw(blocks.cast::<Vec<Block>>()) });
}

/// Frees this thread's block of a library that is unloaded. Those of other threads are freed at their end, or
/// when the slot is used again.
pub(super) fn forget(id: u64) {
    let blocks = BLOCKS.get();
    if blocks.is_null() {
        return;
    }
    // SAFETY: as in `block_of`.
    if let Some(block) = unsafe { (&mut *blocks).get_mut(slot_of(id)) }
        && block.id == id
    {
        *block = Block { id: 0, start: std::ptr::null_mut(), allocated: None };
    }
}

/// This thread's thread pointer.
pub(crate) fn thread_pointer() -> u64 {
    let pointer: u64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the first word there is its own address (psABI, "Thread-Local Storage").
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(pure, readonly, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads the register in which the C library keeps it.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        pointer = 0;
    }
    pointer
}
