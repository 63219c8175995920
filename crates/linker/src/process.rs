//! What the program's own loader has loaded, and having it load more.

use crate::tls;
use bytes::Bytes;
use livepatch_object::address::RuntimeAddress;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// A module as the program's loader lists it.
pub(crate) struct RawModule {
    pub(crate) name: String,
    pub(crate) slide: u64,
    /// Its program headers, copied.
    pub(crate) headers: Vec<u8>,
    pub(crate) tls_module: u64,
}

/// Lists all modules, in the order in which they were loaded.
pub(crate) fn modules() -> Vec<RawModule> {
    collect_modules(None)
}

/// The module with this slide.
pub(crate) fn module_at(slide: u64) -> Option<RawModule> {
    collect_modules(Some(slide)).pop()
}

/// Which modules are wanted, and those found.
struct Collected {
    slide: Option<u64>,
    found: Vec<RawModule>,
}

fn collect_modules(slide: Option<u64>) -> Vec<RawModule> {
    let mut collected = Collected { slide, found: Vec::new() };
    // SAFETY: `collect` is given what it expects, and that is used by nobody else meanwhile.
    unsafe { iterate(collect, (&raw mut collected).cast()) };
    collected.found
}

/// Whether an address is in a module of the program's loader.
pub(crate) fn knows(address: RuntimeAddress) -> bool {
    // SAFETY: `Dl_info` is plain data for which all zeros is a value; `dladdr` fills it in, and asks nothing of the
    // address.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        libc::dladdr(address.0 as *const c_void, &raw mut info) != 0
    }
}

pub(crate) type Callback = unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int;

/// The C library's own `dl_iterate_phdr`, wherever this program's slot for it leads by now.
///
/// # Safety
/// As of the C function.
pub(crate) unsafe fn iterate(callback: Callback, data: *mut c_void) -> c_int {
    type Iterate = unsafe extern "C" fn(Callback, *mut c_void) -> c_int;
    static REAL: OnceLock<Option<RuntimeAddress>> = OnceLock::new();
    let Some(real) = REAL.get_or_init(|| default_symbol(b"dl_iterate_phdr", None)) else { return 0 };
    // SAFETY: the address of this function, and the caller's arguments.
    unsafe {
        let real: Iterate = std::mem::transmute(real.0 as usize as *const ());
        real(callback, data)
    }
}

unsafe extern "C" fn collect(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: `collect_modules` passes what it has to itself, and the loader a description that stays while
    // it is looked at: name, and program headers in a segment of the module.
    let (collected, info) = unsafe { (&mut *data.cast::<Collected>(), &*info) };
    if collected.slide.is_some_and(|slide| slide != info.dlpi_addr) {
        return 0;
    }
    let name = match info.dlpi_name.is_null() {
        true => String::new(),
        // SAFETY: the loader's text, ended by a NUL.
        false => unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned(),
    };
    let length = usize::from(info.dlpi_phnum) * size_of::<ProgramHeader>();
    // SAFETY: so many program headers are there.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr.cast::<u8>(), length) }.to_vec();
    let is_vdso = name.starts_with("linux-vdso") || name.starts_with("linux-gate");
    if !is_vdso {
        collected.found.push(RawModule {
            name,
            slide: info.dlpi_addr,
            headers,
            tls_module: info.dlpi_tls_modid as u64,
        });
    }
    // One is enough if one is wanted.
    c_int::from(collected.slide.is_some() && !collected.found.is_empty())
}

/// As wide as this process's own.
type ProgramHeader = libc::Elf64_Phdr;

/// Has the program's loader keep a library for good, and load it if `load` says so; its slide.
pub(crate) fn pin(name: &str, load: bool) -> Option<u64> {
    #[repr(C)]
    struct LinkMap {
        slide: usize,
        name: *const c_char,
    }
    let name = CString::new(name).ok()?;
    let mode = libc::RTLD_NOW | libc::RTLD_NODELETE | if load { 0 } else { libc::RTLD_NOLOAD };
    // SAFETY: a text ended by a NUL. What a library's constructors do is as in any other `dlopen`.
    let handle = unsafe { libc::dlopen(name.as_ptr(), mode) };
    if handle.is_null() {
        return None;
    }
    let mut map: *const LinkMap = std::ptr::null();
    const RTLD_DI_LINKMAP: c_int = 2;
    // SAFETY: a handle that was just got, and room for the one pointer that is written. The handle is never
    // closed, so what it stands for stays.
    unsafe {
        match libc::dlinfo(handle, RTLD_DI_LINKMAP, (&raw mut map).cast()) {
            0 if !map.is_null() => Some((*map).slide as u64),
            _ => None,
        }
    }
}

/// Where the block of a module of the program's loader is from the thread pointer, if that is the same in every
/// thread.
pub(crate) fn static_tls_offset(module: u64) -> Option<i64> {
    let index = tls::Index { module, offset: 0 };
    // SAFETY: a module's number as its loader says it; the module is not unloaded.
    let block = unsafe { tls::get_address(&raw const index) } as u64;
    Some(block.wrapping_sub(tls::thread_pointer()).cast_signed()).filter(|&offset| is_static_tls(offset))
}

/// Whether a block at this distance from the thread pointer is in the part that every thread has, and not one
/// that was made for a thread when it asked for it.
fn is_static_tls(offset: i64) -> bool {
    type Information = unsafe extern "C" fn(*mut usize, *mut usize);
    let Some(function) = default_symbol(b"_dl_get_tls_static_info", None) else { return false };
    let (mut size, mut align) = (0usize, 0usize);
    // SAFETY: glibc's function, which fills in these two.
    unsafe {
        let function: Information = std::mem::transmute(function.0 as usize as *const ());
        function(&raw mut size, &raw mut align);
    }
    // Below the thread pointer on x86-64, and above it on AArch64 ("variant II" and "variant I").
    let distance = if cfg!(target_arch = "x86_64") { offset.checked_neg() } else { Some(offset) };
    distance.and_then(|distance| usize::try_from(distance).ok()).is_some_and(|distance| distance <= size)
}

/// The address that the program's own `dlsym` gives for a name, of whatever is loaded for everyone.
pub(crate) fn default_symbol(name: &[u8], version: Option<&[u8]>) -> Option<RuntimeAddress> {
    let name = CString::new(name).ok()?;
    let version = version.map(CString::new).transpose().ok()?;
    // SAFETY: texts ended by NULs, and the handle that means everything.
    let found = unsafe {
        match &version {
            Some(version) => libc::dlvsym(libc::RTLD_DEFAULT, name.as_ptr(), version.as_ptr()),
            None => libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()),
        }
    };
    (!found.is_null()).then_some(RuntimeAddress(found as u64))
}

/// Bytes of this process, copied.
///
/// # Safety
/// They must be mapped and readable.
pub(crate) unsafe fn copy(at: RuntimeAddress, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    // SAFETY: the caller's promise; the copy is as long.
    unsafe { (at.0 as *const u8).copy_to_nonoverlapping(bytes.as_mut_ptr(), length) };
    bytes.into()
}

/// Bytes of this process, where they are.
///
/// # Safety
/// They must be mapped and never change, from now on and for as long as the process lives.
pub(crate) unsafe fn share(at: RuntimeAddress, length: usize) -> Bytes {
    // SAFETY: the caller's promise.
    Bytes::from_static(unsafe { std::slice::from_raw_parts(at.0 as *const u8, length) })
}

/// The address that a library of the program's own loader has for a name, in its default version. The library is
/// loaded if it is not, and stays.
pub(crate) fn symbol_of(library: &CStr, name: &[u8]) -> Option<RuntimeAddress> {
    let name = CString::new(name).ok()?;
    // SAFETY: texts ended by NULs, and a handle that was just got. What a library's constructors do is as in any
    // other `dlopen`; it is never unloaded, so that the address stays good.
    let found = unsafe {
        let handle = libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_NODELETE);
        if handle.is_null() {
            return None;
        }
        let found = libc::dlsym(handle, name.as_ptr());
        libc::dlclose(handle);
        found
    };
    (!found.is_null()).then_some(RuntimeAddress(found as u64))
}
