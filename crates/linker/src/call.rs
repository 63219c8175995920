//! Calling functions of libraries that were loaded: what they do is theirs.
//!
//! Callers pass addresses of which they checked that they are executable code of a library that is relocated.

use livepatch_object::address::RuntimeAddress;
use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

type Initialiser = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);
type Finaliser = unsafe extern "C" fn();

static ARGC: AtomicI32 = AtomicI32::new(0);
static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Keeps the program's arguments, which initialisers of libraries are given too.
extern "C" fn keep_arguments(argc: c_int, argv: *mut *const c_char, _: *const *const c_char) {
    ARGC.store(argc, Ordering::Relaxed);
    ARGV.store(argv, Ordering::Release);
}

#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static KEEP_ARGUMENTS: extern "C" fn(c_int, *mut *const c_char, *const *const c_char) = keep_arguments;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Calls a function of `DT_INIT` or `DT_INIT_ARRAY`.
///
/// # Safety
/// It must be the address of such a function, of a library that is relocated and stays loaded meanwhile.
pub(crate) unsafe fn initialiser(at: RuntimeAddress) {
    static NONE: [usize; 1] = [0];
    let mut argv = ARGV.load(Ordering::Acquire).cast_const();
    if argv.is_null() {
        argv = NONE.as_ptr().cast();
    }
    // SAFETY: the caller's promise about the function; it is given what the C library gives those that it
    // calls: the program's own arguments, which stay where they are, and its environment.
    unsafe {
        let function: Initialiser = std::mem::transmute(at.0 as usize as *const ());
        function(ARGC.load(Ordering::Relaxed), argv, environ);
    }
}

/// Calls an initializer of a Mach-O image: it gets what dyld gives it.
///
/// # Safety
/// As for [`initialiser`].
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub(crate) unsafe fn darwin_initialiser(at: RuntimeAddress) {
    static NONE: [usize; 1] = [0];
    type Initialiser = unsafe extern "C" fn(
        c_int,
        *const *const c_char,
        *const *const c_char,
        *const *const c_char,
        *const [usize; 8],
    );
    /// `struct ProgramVars`: nothing is known of a main program of Darwin's.
    static VARIABLES: [usize; 8] = [0; 8];
    let none = NONE.as_ptr().cast::<*const c_char>();
    let argv = ARGV.load(Ordering::Acquire).cast_const();
    let argv = if argv.is_null() { none } else { argv };
    // SAFETY: the caller's promise about the function; the program's own arguments and environment, and lists that are
    // ended by a null.
    unsafe {
        let function: Initialiser = std::mem::transmute(at.0 as usize as *const ());
        function(ARGC.load(Ordering::Relaxed), argv, environ, none, &raw const VARIABLES);
    }
}

/// Calls what was registered with `__cxa_atexit` for a handle.
///
/// # Safety
/// The functions that were registered are still there.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub(crate) unsafe fn registered_finalisers(handle: RuntimeAddress) {
    unsafe extern "C" {
        fn __cxa_finalize(handle: *const std::ffi::c_void);
    }
    // SAFETY: the caller's promise; a handle that is not null, which would mean all.
    unsafe { __cxa_finalize(handle.0 as usize as *const std::ffi::c_void) };
}

/// Calls the main function of a Mach-O executable.
///
/// # Safety
/// It must be the address of such a function, of an image that is bound.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub(crate) unsafe fn main(at: RuntimeAddress, arguments: &[std::ffi::CString]) -> c_int {
    type Main = unsafe extern "C" fn(
        c_int,
        *const *const c_char,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int;
    let mut argv: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    let count = c_int::try_from(argv.len()).unwrap_or(c_int::MAX);
    argv.push(std::ptr::null());
    let apple: [*const c_char; 1] = [std::ptr::null()];
    // SAFETY: the caller's promise; lists that are ended by a null, and live as long as the call.
    unsafe {
        let function: Main = std::mem::transmute(at.0 as usize as *const ());
        function(count, argv.as_ptr(), environ, apple.as_ptr())
    }
}

/// Calls a function of `DT_FINI` or `DT_FINI_ARRAY`.
///
/// # Safety
/// As for [`initialiser`].
pub(crate) unsafe fn finaliser(at: RuntimeAddress) {
    // SAFETY: the caller's promise.
    unsafe {
        let function: Finaliser = std::mem::transmute(at.0 as usize as *const ());
        function();
    }
}

/// Asks a function where the function is that it stands for (`STT_GNU_IFUNC`, `R_*_IRELATIVE`).
///
/// # Safety
/// It must be the address of such a function, of a module that is relocated.
pub(crate) unsafe fn resolver(at: RuntimeAddress) -> RuntimeAddress {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's promise; what it is given is as the platform's ABI says ("GNU C Library IFUNC
    // interface").
    unsafe {
        #[repr(C)]
        struct Features {
            size: u64,
            hwcap: u64,
            hwcap2: u64,
        }
        const HAS_FEATURES: u64 = 1 << 62;
        let hwcap = libc::getauxval(libc::AT_HWCAP);
        let hwcap2 = libc::getauxval(libc::AT_HWCAP2);
        let features = Features { size: size_of::<Features>() as u64, hwcap, hwcap2 };
        let function: unsafe extern "C" fn(u64, *const Features) -> u64 =
            std::mem::transmute(at.0 as usize as *const ());
        RuntimeAddress(function(hwcap | HAS_FEATURES, &raw const features))
    }
    #[cfg(not(target_arch = "aarch64"))]
    // SAFETY: the caller's promise; such a function takes nothing.
    unsafe {
        let function: unsafe extern "C" fn() -> usize = std::mem::transmute(at.0 as usize as *const ());
        RuntimeAddress(function() as u64)
    }
}
