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
