//! The functions that are patched, and what a patch has to know of the host.

use livepatch::HotFn;
use livepatch::proto::{ImageSource, Jump, LibraryPatch, ModuleAddress};
use std::sync::atomic::{AtomicU32, Ordering};

/// Kept over all patches.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// C code takes their places: one number in a register each way, in both calling conventions.
type Function = fn(u32) -> u32;

fn first(n: u32) -> u32 {
    CALLS.fetch_add(1, Ordering::Relaxed);
    n
}

fn second(n: u32) -> u32 {
    CALLS.fetch_add(1, Ordering::Relaxed);
    n * 2
}

/// What both functions make of 10 now.
pub(crate) fn answers() -> (u32, u32) {
    (HotFn::current(first as Function).call((10,)), HotFn::current(second as Function).call((10,)))
}

pub(crate) fn calls() -> u32 {
    CALLS.load(Ordering::Relaxed)
}

/// A link-time address of the host's anchor: any will do, since only distances count.
pub(crate) const ANCHOR: u64 = 0x7_0000_0000;

pub(crate) fn in_host(function: Function) -> ModuleAddress {
    let distance = (function as usize).wrapping_sub(livepatch::aslr_reference()) as u64;
    ModuleAddress { module: 0, address: ANCHOR.wrapping_add(distance) }
}

pub(crate) fn first_in_host() -> ModuleAddress {
    in_host(first)
}

pub(crate) fn second_in_host() -> ModuleAddress {
    in_host(second)
}

/// A patch that is right for this process.
pub(crate) fn patch(
    number: u32,
    library: ImageSource,
    library_anchor: u64,
    jumps: Vec<Jump>,
) -> LibraryPatch {
    LibraryPatch {
        number,
        predecessor: livepatch::version(),
        build_id: livepatch::build_id(),
        library,
        host_anchor: ANCHOR,
        library_anchor,
        jumps,
    }
}
