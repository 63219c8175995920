//! The C functions that mean something else to libraries that were loaded here: `dlopen` and its kin, which
//! have to know these libraries and who calls, thread-locals, and their destructors.
//!
//! Only references of such libraries lead here; the program's own functions stay what they are.

use crate::dlerror::{self, Said};
use crate::ext_info::ExtInfo;
use crate::flags::Flags;
use crate::library::Library;
use crate::linker::{Linker, Shared, find_symbol, symbol_info, undefined};
use crate::loaded::LibraryId;
use crate::module::Module;
use crate::namespace::NamespaceId;
use crate::process;
use crate::registry;
use crate::unwind;
use crate::{LinkerError, tls};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::loadable::hash::Name;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

type Functions = [(Name<'static>, RuntimeAddress); 10];

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let one = |name: &'static str, function: *const ()| {
        (Name::new(name.as_bytes()), RuntimeAddress(function as u64))
    };
    [
        one("dlopen", shim::dlopen as *const ()),
        one("dlsym", shim::dlsym as *const ()),
        one("dlvsym", shim::dlvsym as *const ()),
        one("dlclose", dlclose as *const ()),
        one("dlerror", dlerror as *const ()),
        one("dladdr", dladdr as *const ()),
        one("dl_iterate_phdr", unwind::iterate as *const ()),
        one("_dl_find_object", unwind::find_object as *const ()),
        one("__tls_get_addr", tls::get_address as *const ()),
        one("__cxa_thread_atexit_impl", thread_atexit as *const ()),
    ]
});

/// What such a name means to libraries that were loaded here.
pub(crate) fn find(name: &Name<'_>) -> Option<RuntimeAddress> {
    let known = FUNCTIONS.iter().find(|(own, _)| own.gnu == name.gnu && own.bytes == name.bytes);
    known.map(|&(_, address)| address)
}

/// Functions that are called as the C library's, and pass on where they return to.
#[cfg(target_arch = "x86_64")]
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

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn dlvsym() {
        naked_asm!("mov rcx, [rsp]", "jmp {}", sym super::dlvsym)
    }
}

#[cfg(target_arch = "aarch64")]
mod shim {
    use std::arch::naked_asm;

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn dlopen() {
        naked_asm!("mov x2, x30", "b {}", sym super::dlopen)
    }

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn dlsym() {
        naked_asm!("mov x2, x30", "b {}", sym super::dlsym)
    }

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn dlvsym() {
        naked_asm!("mov x3, x30", "b {}", sym super::dlvsym)
    }
}

thread_local! {
    static ERROR: RefCell<Said> = const { Said::nothing() };
}

fn fail<T>(action: &str, error: &dyn std::fmt::Display, nothing: T) -> T {
    dlerror::say(&ERROR, format!("{action} failed: {error}"));
    nothing
}

extern "C" fn dlerror() -> *const c_char {
    dlerror::take(&ERROR)
}

/// Handles that C code has: how often it opened which. They are odd; those of the C library are addresses.
#[derive(Default)]
struct Handles {
    open: FxHashMap<usize, Vec<Library>>,
    others: usize,
}

static HANDLES: LazyLock<Mutex<Handles>> = LazyLock::new(Mutex::default);

/// Above all handles of libraries that were loaded here.
const OTHERS: usize = 1 << (usize::BITS - 3);

fn with_handles<T>(action: impl FnOnce(&mut Handles) -> T) -> T {
    action(&mut HANDLES.lock().unwrap_or_else(PoisonError::into_inner))
}

fn keep(library: Library) -> *mut c_void {
    with_handles(|handles| {
        let number = library.id().map_or_else(
            || {
                handles.others += 1;
                OTHERS + handles.others
            },
            |id| id.number() as usize,
        );
        let handle = number << 1 | 1;
        handles.open.entry(handle).or_default().push(library);
        handle as *mut c_void
    })
}

fn is_ours(handle: *mut c_void) -> bool {
    handle as usize & 1 == 1 && handle as isize != -1
}

/// The text at a C string's address.
///
/// # Safety
/// It must be null or point to a text that ends with a NUL and stays for the call.
unsafe fn text<'a>(at: *const c_char) -> Option<&'a str> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) }).and_then(|text| text.to_str().ok())
}

fn caller(address: u64) -> Option<(Linker, LibraryId)> {
    // The instruction before the one that is returned to.
    let entry = registry::at(RuntimeAddress(address.wrapping_sub(1)))?;
    Some((Linker { shared: entry.linker.upgrade()? }, entry.library.id))
}

/// Where code of no library opens libraries.
static ANONYMOUS: Mutex<Option<(Weak<Shared>, NamespaceId)>> = Mutex::new(None);

/// From now on, code of no library at all opens libraries of that namespace.
pub(crate) fn set_anonymous(linker: &Linker, namespace: NamespaceId) {
    let mut anonymous = ANONYMOUS.lock().unwrap_or_else(PoisonError::into_inner);
    *anonymous = Some((Arc::downgrade(&linker.shared), namespace));
}

fn anonymous(address: u64) -> Option<(Linker, NamespaceId)> {
    let (shared, namespace) = ANONYMOUS.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
    let is_known = process::knows(RuntimeAddress(address.wrapping_sub(1)));
    Some((Linker { shared: shared.upgrade().filter(|_| !is_known)? }, namespace))
}

/// # Safety
/// As of the C function; `from` is where it returns to.
unsafe extern "C" fn dlopen(name: *const c_char, bits: c_int, from: u64) -> *mut c_void {
    let library = caller(from).map(|(linker, id)| (linker, Some(id), None));
    let asks = library.or_else(|| anonymous(from).map(|(linker, id)| (linker, None, Some(id))));
    // SAFETY: the caller's text.
    let (Some(path), Some((linker, id, namespace))) = (unsafe { text(name) }, asks) else {
        // SAFETY: as this function's caller promises.
        return unsafe { libc::dlopen(name, bits) };
    };
    let ext_info = ExtInfo { namespace, ..ExtInfo::default() };
    let opened = Flags::from_bits(bits).and_then(|flags| linker.open(path, id, flags, &ext_info));
    match opened {
        Ok(library) => keep(library),
        Err(error) => fail("dlopen", &error, std::ptr::null_mut()),
    }
}

extern "C" fn dlclose(handle: *mut c_void) -> c_int {
    if !is_ours(handle) {
        // SAFETY: a handle of the C library, or one that it will refuse.
        return unsafe { libc::dlclose(handle) };
    }
    let library = with_handles(|handles| handles.open.get_mut(&(handle as usize)).and_then(Vec::pop));
    match library {
        Some(library) => {
            drop(library);
            0
        }
        None => fail("dlclose", &LinkerError::InvalidHandle(handle as u64), -1),
    }
}

/// # Safety
/// As of the C function; `from` is where it returns to.
unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char, from: u64) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { symbol(handle, name, std::ptr::null(), from) }
}

/// # Safety
/// As of the C function; `from` is where it returns to.
unsafe extern "C" fn dlvsym(
    handle: *mut c_void,
    name: *const c_char,
    version: *const c_char,
    from: u64,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { symbol(handle, name, version, from) }
}

/// # Safety
/// As of `dlvsym`; without a version, as of `dlsym`.
unsafe fn symbol(handle: *mut c_void, name: *const c_char, version: *const c_char, from: u64) -> *mut c_void {
    // SAFETY: the caller's texts.
    let (Some(wanted), version_text) = (unsafe { text(name) }, unsafe { text(version) }) else {
        return fail("dlsym", &"the symbol's name is null", std::ptr::null_mut());
    };
    let found = match (is_ours(handle), handle as isize, caller(from)) {
        (true, _, _) => in_handle(handle, wanted, version_text),
        (false, 0, Some((linker, id))) => default_symbol(&linker, id, wanted, version_text),
        (false, -1, Some((linker, id))) => next_symbol(&linker, id, wanted, version_text),
        // SAFETY: the caller's arguments are for the C library.
        _ => match unsafe { host_symbol(handle, name, version) } {
            found if found.is_null() => Err(undefined(wanted, version_text)),
            found => return found,
        },
    };
    match found {
        Ok(address) => address.0 as *mut c_void,
        Err(error) => fail("dlsym", &error, std::ptr::null_mut()),
    }
}

/// # Safety
/// As of `dlvsym`; without a version, as of `dlsym`.
unsafe fn host_symbol(handle: *mut c_void, name: *const c_char, version: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        match version.is_null() {
            true => libc::dlsym(handle, name),
            false => libc::dlvsym(handle, name, version),
        }
    }
}

fn in_handle(handle: *mut c_void, name: &str, version: Option<&str>) -> Result<RuntimeAddress, LinkerError> {
    let group = with_handles(|handles| {
        let open = handles.open.get(&(handle as usize)).and_then(|open| open.first());
        open.map(Library::group)
    });
    let group = group.ok_or(LinkerError::InvalidHandle(handle as u64))?;
    find_symbol(&group, name, version).ok_or_else(|| undefined(name, version))
}

/// `RTLD_DEFAULT`: what everyone finds, then the caller's own group.
fn default_symbol(
    linker: &Linker,
    caller: LibraryId,
    name: &str,
    version: Option<&str>,
) -> Result<RuntimeAddress, LinkerError> {
    let mut modules = Vec::new();
    {
        let state = linker.state();
        if let Some(record) = state.records.get(&caller) {
            modules = state.global_group(record.loaded.namespace);
            modules.extend(record.scope.modules.iter().cloned());
        }
    }
    linker.symbol_among(&modules, name, version)
}

/// `RTLD_NEXT`: what comes after the caller where its own references are looked up.
fn next_symbol(
    linker: &Linker,
    caller: LibraryId,
    name: &str,
    version: Option<&str>,
) -> Result<RuntimeAddress, LinkerError> {
    let scope = linker.state().records.get(&caller).map(|record| record.scope.modules.clone());
    let scope = scope.as_deref().unwrap_or_default();
    let is_caller = |module: &Module| matches!(module, Module::Library(library) if library.id == caller);
    let after = scope.iter().position(is_caller).map_or(scope.len(), |index| index + 1);
    find_symbol(&scope[after..], name, version).ok_or_else(|| undefined(name, version))
}

/// # Safety
/// As of the C function.
unsafe extern "C" fn dladdr(address: *const c_void, info: *mut libc::Dl_info) -> c_int {
    let Some(found) = symbol_info(RuntimeAddress(address as u64)) else {
        // SAFETY: the caller's promise.
        return unsafe { libc::dladdr(address, info) };
    };
    let (name, symbol) = found.symbol.unzip();
    let filled = libc::Dl_info {
        dli_fname: interned(&found.path),
        dli_fbase: found.base.0 as *mut c_void,
        dli_sname: name.map_or(std::ptr::null(), |name| interned(&name)),
        dli_saddr: symbol.map_or(std::ptr::null_mut(), |at| at.0 as *mut c_void),
    };
    // SAFETY: room for one, as the caller promises.
    unsafe { info.write(filled) };
    1
}

/// A text that is there for good: who asked for it may keep it.
pub(crate) fn interned(text: &str) -> *const c_char {
    static TEXTS: LazyLock<Mutex<FxHashSet<&'static CStr>>> = LazyLock::new(Mutex::default);
    let text = CString::new(text).unwrap_or_default();
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text.as_c_str()) {
        return known.as_ptr();
    }
    let kept: &'static CStr = Box::leak(text.into_boxed_c_str());
    texts.insert(kept);
    kept.as_ptr()
}

type Destructor = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn __cxa_thread_atexit_impl(destructor: Destructor, object: *mut c_void, dso: *mut c_void) -> c_int;
}

/// A destructor of a thread-local, whose library stays loaded until it has run.
struct Pending {
    destructor: Destructor,
    object: *mut c_void,
    library: Option<(Linker, LibraryId)>,
}

/// # Safety
/// As of the C function.
unsafe extern "C" fn thread_atexit(destructor: Destructor, object: *mut c_void, dso: *mut c_void) -> c_int {
    let library = caller((dso as u64).wrapping_add(1));
    if let Some((linker, id)) = &library {
        linker.pin(*id);
    }
    let pending = Box::new(Pending { destructor, object, library });
    let own = std::ptr::from_ref(&FUNCTIONS).cast_mut().cast();
    // SAFETY: `run` takes what is passed here; the last argument is an address of this module.
    unsafe { __cxa_thread_atexit_impl(run, Box::into_raw(pending).cast(), own) }
}

unsafe extern "C" fn run(pending: *mut c_void) {
    // SAFETY: made by `thread_atexit`, and given back once.
    let pending = unsafe { Box::from_raw(pending.cast::<Pending>()) };
    // SAFETY: who registered it promised that it can be called with the object; its library is pinned.
    unsafe { (pending.destructor)(pending.object) };
    if let Some((linker, id)) = &pending.library {
        linker.unpin(*id);
    }
}
