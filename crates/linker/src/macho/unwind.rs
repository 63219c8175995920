//! Unwinding through images: their compact tables are rewritten as those that this system's unwinders read, and
//! registered. Of images that neither raise exceptions nor catch them nothing is: exceptions do not pass through them.

mod compact;
mod frames;

use super::loaded::Loaded;
use crate::process;
use crate::rebinder::{ImportSlot, Rebinder};
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::macho::Fixups;
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

/// The compiler's unwinder, and LLVM's, which `libc++abi` may use.
const GCC: &CStr = c"libgcc_s.so.1";
const LLVM: &CStr = c"libunwind.so.1";

/// Where an unwinder's function is: of the one that C++ here uses, so that exceptions are raised, passed on and caught by
/// the same.
pub(crate) fn function(name: &str) -> Option<RuntimeAddress> {
    static IS_LLVM: OnceLock<bool> = OnceLock::new();
    let is_llvm = *IS_LLVM.get_or_init(|| raises_with_llvm().unwrap_or(false));
    process::symbol_of(if is_llvm { LLVM } else { GCC }, name.as_bytes())
}

/// Which one that is depends on what the program has loaded before: the import slot of `libc++abi` says.
fn raises_with_llvm() -> Option<bool> {
    process::symbol_of(c"libc++abi.so.1", b"__cxa_throw")?;
    let is_abi = |slot: &ImportSlot| slot.image.ends_with("/libc++abi.so.1");
    let raises = Rebinder::process().find_where("_Unwind_RaiseException", is_abi).original()?;
    Some(process::symbol_of(LLVM, b"_Unwind_RaiseException")? == RuntimeAddress(raises as u64))
}

type Register = unsafe extern "C" fn(*const c_void);

/// `__register_frame` and `__deregister_frame`, and whether each description is registered by itself (LLVM's), or all of
/// them at once (the compiler's).
#[derive(Clone, Copy)]
struct Unwinder {
    register: Register,
    deregister: Register,
    each: bool,
}

/// All that are there: Rust code may use one, and C++ the other.
fn unwinders() -> &'static [Unwinder] {
    static UNWINDERS: OnceLock<Vec<Unwinder>> = OnceLock::new();
    let of = |(library, each)| {
        let find = |name: &[u8]| {
            let at = process::symbol_of(library, name)?;
            // SAFETY: the unwinder's function of this name, which has this type.
            Some(unsafe { std::mem::transmute::<*const (), Register>(at.0 as usize as *const ()) })
        };
        let (register, deregister) = (find(b"__register_frame")?, find(b"__deregister_frame")?);
        Some(Unwinder { register, deregister, each })
    };
    UNWINDERS.get_or_init(|| [(GCC, false), (LLVM, true)].into_iter().filter_map(of).collect())
}

/// Descriptions of an image's frames, registered until this is dropped.
pub(super) struct Registered {
    unwinders: &'static [Unwinder],
    /// Kept as long as it is registered.
    table: frames::Table,
}

/// Has the unwinder know an image's frames, once the image is bound; none if it has none that matter.
pub(super) fn register(image: &Loaded, fixups: &Fixups) -> Option<Registered> {
    let section = image.image.segments.section_named("__TEXT", "__unwind_info")?;
    let info = compact::Info::read(&image.image.contents(section))?;
    if info.personalities.is_empty() && !throws(fixups) {
        return None;
    }
    let base = image.header();
    // The slots of personalities are bound by now.
    let personality = |offset: u32| {
        let slot = image.image.base().checked_add(offset.into())?;
        image.mapped.load(slot, 8).filter(|&at| at != 0)
    };
    let personalities: Vec<u64> =
        info.personalities.iter().map(|&offset| personality(offset).unwrap_or(0)).collect();
    let text = |offset: u32| {
        let at = image.image.base().checked_add(offset.into())?;
        let bytes = image.image.at(LinkAddress(at.0), 4)?;
        Some(u32::from_le_bytes(bytes.as_ref().try_into().ok()?))
    };
    let table = frames::Table::new(&info, base.0, &personalities, &text);
    let registered = Registered { unwinders: unwinders(), table };
    registered.unwinders.iter().for_each(|unwinder| registered.with(unwinder.each, unwinder.register));
    Some(registered)
}

/// Whether an image asks for functions that raise exceptions.
fn throws(fixups: &Fixups) -> bool {
    let raises =
        [&b"___cxa_throw"[..], b"___cxa_rethrow", b"__Unwind_RaiseException", b"__Unwind_ForcedUnwind"];
    fixups.imports.iter().any(|import| raises.contains(&&*import.symbol))
}

impl Registered {
    fn with(&self, each: bool, action: Register) {
        let start = self.table.bytes().as_ptr();
        if !each {
            // SAFETY: a table that ends with a description of length 0, and stays until it is deregistered.
            unsafe { action(start.cast()) };
            return;
        }
        for &offset in self.table.descriptions() {
            // SAFETY: a description in that table, as above.
            unsafe { action(start.add(offset).cast()) };
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.unwinders.iter().for_each(|unwinder| self.with(unwinder.each, unwinder.deregister));
    }
}
