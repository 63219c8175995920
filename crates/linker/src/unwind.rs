//! Unwinding through loaded code: the program's unwinder asks for it by address or by going through all
//! modules, and its slots for these two functions are made to lead here.

use crate::process::{self, Callback};
use crate::rebinder::{ImportSlot, Rebinder, SlotKind};
use crate::registry;
use crate::{host, interpose};
use livepatch_object::address::RuntimeAddress;
use object::elf;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

type FindObject = unsafe extern "C" fn(*mut c_void, *mut FoundObject) -> c_int;

/// `struct dl_find_object` (glibc 2.35, `dlfcn.h`), for machines without its machine-dependent fields.
#[repr(C)]
pub(crate) struct FoundObject {
    flags: u64,
    start: *mut c_void,
    end: *mut c_void,
    link_map: *mut c_void,
    eh_frame: *mut c_void,
    reserved: [u64; 7],
}

/// The C library's function, wherever slots lead by now; 0 if it has none.
static FIND_OBJECT: AtomicU64 = AtomicU64::new(0);

/// Has the modules that the program began with ask here. Done once.
pub(crate) fn install() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let find_object = crate::process::default_symbol(b"_dl_find_object", None);
        FIND_OBJECT.store(find_object.map_or(0, |at| at.0), Ordering::Release);
        let new = [("dl_iterate_phdr", iterate as *const ()), ("_dl_find_object", find_object_address())];
        for (name, to) in new {
            // Others may be unloaded, and are not kept for this.
            let is_initial = |slot: &ImportSlot| {
                slot.kind != SlotKind::Data
                    && host::initial().iter().any(|module| *module.path == *slot.image)
            };
            let found = Rebinder::process().find_where(name, is_initial);
            // SAFETY: functions that do what these do, of a module that the program began with, or one that is not
            // unloaded while it has loaded anything. Where it fails, the slots are what they were.
            let _ = unsafe { found.rebind(to) };
        }
    });
}

fn find_object_address() -> *const () {
    find_object as *const ()
}

/// Which module an address is in, and how to unwind there: `_dl_find_object`, of libraries that were loaded
/// here too.
///
/// # Safety
/// As of the C function.
pub(crate) unsafe extern "C" fn find_object(address: *mut c_void, result: *mut FoundObject) -> c_int {
    if let Some(entry) = registry::at(RuntimeAddress(address as u64)) {
        let library = &entry.library;
        let Some(header) = library.headers.first(elf::PT_GNU_EH_FRAME) else { return -1 };
        let Some(eh_frame) = library.runtime(header.address) else { return -1 };
        let (start, size) = (library.mapped.reservation().start(), library.mapped.reservation().size());
        let found = FoundObject {
            flags: 0,
            start: start.0 as *mut c_void,
            end: (start.0 + size) as *mut c_void,
            link_map: std::ptr::null_mut(),
            eh_frame: eh_frame.0 as *mut c_void,
            reserved: [0; 7],
        };
        // SAFETY: room for one, as the caller promises.
        unsafe { result.write(found) };
        return 0;
    }
    let function = FIND_OBJECT.load(Ordering::Acquire);
    if function == 0 {
        return -1;
    }
    // SAFETY: the address that the C library has for this function, and the caller's arguments.
    unsafe {
        let function: FindObject = std::mem::transmute(function as usize as *const ());
        function(address, result)
    }
}

/// What [`iterate`] gives to the C library's function: whose answer is passed on with other counts.
struct Passing {
    callback: Callback,
    data: *mut c_void,
}

/// Goes through all modules: the program's own, then those that were loaded here (`dl_iterate_phdr`).
///
/// # Safety
/// As of the C function.
pub(crate) unsafe extern "C" fn iterate(callback: Option<Callback>, data: *mut c_void) -> c_int {
    let Some(callback) = callback else { return 0 };
    let mut passing = Passing { callback, data };
    // SAFETY: `pass` takes what is passed here, which lives as long as the call.
    let answer = unsafe { process::iterate(pass, (&raw mut passing).cast()) };
    if answer != 0 {
        return answer;
    }
    let (added, removed) = registry::changes();
    for entry in registry::all().iter() {
        let library = &entry.library;
        let Ok(headers) = library.headers.own_address(&library.header) else { continue };
        let Some(headers) = library.runtime(headers) else { continue };
        // SAFETY: plain numbers and pointers, for which zeros are values.
        let mut info: libc::dl_phdr_info = unsafe { std::mem::zeroed() };
        info.dlpi_addr = library.definitions.slide.bits() as _;
        info.dlpi_name = interpose::interned(&library.path);
        info.dlpi_phdr = headers.0 as *const _;
        info.dlpi_phnum = library.header.program_header_count;
        info.dlpi_adds = added as _;
        info.dlpi_subs = removed as _;
        // SAFETY: the caller's function, and a description of a library that stays while it is looked at.
        let answer = unsafe { callback(&raw mut info, size_of::<libc::dl_phdr_info>(), data) };
        if answer != 0 {
            return answer;
        }
    }
    0
}

/// Callers know by these counts whether anything has changed since they last looked.
unsafe extern "C" fn pass(info: *mut libc::dl_phdr_info, size: usize, data: *mut c_void) -> c_int {
    let (added, removed) = registry::changes();
    // SAFETY: what `iterate` passes, and what the C library describes a module with, for this call.
    unsafe {
        let passing = &*data.cast::<Passing>();
        let mut info = *info;
        info.dlpi_adds += added as libc::c_ulonglong;
        info.dlpi_subs += removed as libc::c_ulonglong;
        (passing.callback)(&raw mut info, size, passing.data)
    }
}
