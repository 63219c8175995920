//! `dlopen` and its kin, which mean images of the linker that has loaded the caller, and destructors of thread-locals.

use super::Symbols;
use crate::dlerror::{self, Said};
use crate::macho::{Library, Mode, caller};
use livepatch_object::address::RuntimeAddress;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

/// Flags and handles of Darwin's (`dlfcn.h`).
const RTLD_NOW: c_int = 2;
const RTLD_DEFAULT: isize = -2;
const RTLD_NEXT: isize = -1;
const RTLD_SELF: isize = -3;
const RTLD_MAIN_ONLY: isize = -5;

/// Libraries that were opened: a handle is one more than its place, doubled, and 1.
static OPEN: Mutex<Vec<Option<Library>>> = Mutex::new(Vec::new());

fn open() -> std::sync::MutexGuard<'static, Vec<Option<Library>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(handle: *mut c_void) -> Option<usize> {
    (handle as usize).checked_sub(3).filter(|rest| rest & 1 == 0).map(|rest| rest / 2)
}

thread_local! {
    static ERROR: RefCell<Said> = const { Said::nothing() };
}

fn fail<T>(error: &dyn std::fmt::Display, nothing: T) -> T {
    dlerror::say(&ERROR, error.to_string());
    nothing
}

extern "C" fn dlerror() -> *const c_char {
    dlerror::take(&ERROR)
}

/// Functions that are called as the C library's, and pass on where they return to.
mod shim {
    use std::arch::naked_asm;

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn dlopen() {
        naked_asm!("mov rdx, [rsp]", "jmp {}", sym super::dlopen)
    }

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn dlsym() {
        naked_asm!("mov rdx, [rsp]", "jmp {}", sym super::dlsym)
    }
}

/// # Safety
/// As of the C function; `from` is where it returns to.
unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int, from: u64) -> *mut c_void {
    if name.is_null() {
        return RTLD_DEFAULT as *mut c_void;
    }
    // SAFETY: the caller's text.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let Some((linker, _)) = caller(RuntimeAddress(from)) else {
        return fail(&format_args!("dlopen({name}): the caller is unknown"), std::ptr::null_mut());
    };
    let mode = if flags & RTLD_NOW != 0 { Mode::Now } else { Mode::Lazy };
    match linker.dlopen(&name, mode) {
        Ok(library) => {
            let mut open = open();
            open.push(Some(library));
            (open.len() * 2 + 1) as *mut c_void
        }
        Err(error) => fail(&error, std::ptr::null_mut()),
    }
}

extern "C" fn dlclose(handle: *mut c_void) -> c_int {
    // The lock is not held while finalisers run.
    let library = place(handle).and_then(|place| open().get_mut(place)?.take());
    match library {
        Some(library) => {
            drop(library);
            0
        }
        None if (handle as isize) < 0 => 0,
        None => fail(&"invalid handle passed to dlclose()", -1),
    }
}

/// # Safety
/// As of the C function; `from` is where it returns to.
unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char, from: u64) -> *mut c_void {
    // SAFETY: the caller's text.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let found = match handle as isize {
        RTLD_DEFAULT | RTLD_NEXT | RTLD_SELF | RTLD_MAIN_ONLY => {
            caller(RuntimeAddress(from)).and_then(|(linker, _)| linker.flat_symbol(&name))
        }
        _ => {
            let place = place(handle);
            let open = open();
            let library = place.and_then(|place| open.get(place)?.as_ref());
            library.and_then(|library| library.symbol(&name).ok())
        }
    };
    match found {
        Some(found) => found.0 as *mut c_void,
        None => fail(&format_args!("dlsym({handle:?}, {name}): symbol not found"), std::ptr::null_mut()),
    }
}

unsafe extern "C" fn dladdr(address: *const c_void, info: *mut libc::Dl_info) -> c_int {
    let Some((_, library)) = caller(RuntimeAddress((address as u64).wrapping_add(1))) else {
        // SAFETY: the caller's room.
        return unsafe { libc::dladdr(address, info) };
    };
    let symbol = library.symbol_at(RuntimeAddress(address as u64));
    let (name, at) = symbol.unzip();
    let filled = libc::Dl_info {
        dli_fname: crate::interpose::interned(library.path()),
        dli_fbase: library.start().0 as *mut c_void,
        dli_sname: name.map_or(std::ptr::null(), |name| crate::interpose::interned(&name)),
        dli_saddr: at.map_or(std::ptr::null_mut(), |at| at.0 as *mut c_void),
    };
    // SAFETY: the caller's room for one.
    unsafe { info.write(filled) };
    1
}

/// Images in the order of their addresses, for those who go through them all. What changes meanwhile, they miss.
fn image(index: u32) -> Option<std::sync::Arc<crate::macho::Loaded>> {
    crate::macho::images().get(index as usize).cloned()
}

extern "C" fn image_count() -> u32 {
    crate::macho::images().len() as u32
}

extern "C" fn image_name(index: u32) -> *const c_char {
    image(index).map_or(std::ptr::null(), |image| crate::interpose::interned(image.path()))
}

extern "C" fn image_header(index: u32) -> *const c_void {
    image(index).map_or(std::ptr::null(), |image| image.header().0 as *const c_void)
}

extern "C" fn image_slide(index: u32) -> i64 {
    image(index).map_or(0, |image| image.slide().bits().cast_signed())
}

type Destructor = unsafe extern "C" fn(*mut c_void);

/// A thread-local's destructor: its image stays loaded from then on, as no one knows when all threads have ended.
unsafe extern "C" fn tlv_atexit(destructor: Destructor, object: *mut c_void) {
    unsafe extern "C" {
        fn __cxa_thread_atexit_impl(destructor: Destructor, object: *mut c_void, dso: *mut c_void) -> c_int;
    }
    if let Some((_, image)) = caller(RuntimeAddress(destructor as usize as u64 + 1)) {
        image.keep_for_good();
    }
    // SAFETY: the caller's function and object; an address of this module.
    unsafe { __cxa_thread_atexit_impl(destructor, object, (&raw const OPEN).cast_mut().cast()) };
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("dlopen", shim::dlopen as *const ()),
        ("dlclose", dlclose as *const ()),
        ("dlsym", shim::dlsym as *const ()),
        ("dlerror", dlerror as *const ()),
        ("dladdr", dladdr as *const ()),
        ("_dyld_image_count", image_count as *const ()),
        ("_dyld_get_image_name", image_name as *const ()),
        ("_dyld_get_image_header", image_header as *const ()),
        ("_dyld_get_image_vmaddr_slide", image_slide as *const ()),
        ("_tlv_atexit", tlv_atexit as *const ()),
        ("__cxa_thread_atexit", cxa_thread_atexit as *const ()),
    ]
}

/// The same with an image's handle, which is not asked for.
unsafe extern "C" fn cxa_thread_atexit(destructor: Destructor, object: *mut c_void, _: *mut c_void) -> c_int {
    // SAFETY: the caller's function and object.
    unsafe { tlv_atexit(destructor, object) };
    0
}
