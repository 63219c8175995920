//! Loading libraries into this process, with whatever their initialisers do.

use crate::jni::Environment;
use jni_sys::{JavaVM, JavaVMInitArgs, JavaVMOption, jint};
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A library that stays loaded.
pub(super) struct Library(*mut c_void);

/// Loads a library for good; its symbols serve those that are loaded later.
pub(super) fn load(path: &Path) -> Result<Library, String> {
    open(path, 0)
}

/// The same, but what it needs finds its symbols there first, before the program's and the C library's own.
pub(super) fn load_first(path: &Path) -> Result<Library, String> {
    open(path, DEEP_BIND)
}

/// glibc's `RTLD_DEEPBIND`; Android's linker has nothing like it.
#[cfg(target_env = "gnu")]
const DEEP_BIND: libc::c_int = libc::RTLD_DEEPBIND;
#[cfg(not(target_env = "gnu"))]
const DEEP_BIND: libc::c_int = 0;

fn open(path: &Path, flags: libc::c_int) -> Result<Library, String> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "a path with a NUL in it")?;
    // SAFETY: a text that ends with a NUL. What runs in it are initialisers of Debian's packages and of empty
    // libraries, which expect nothing but a process.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL | flags) };
    match handle.is_null() {
        false => Ok(Library(handle)),
        true => Err(last_error()),
    }
}

fn last_error() -> String {
    // SAFETY: the text is this thread's until it calls the linker again.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the linker refuses it".to_owned();
    }
    // SAFETY: it is a text that ends with a NUL.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

type Create = unsafe extern "system" fn(*mut *mut JavaVM, *mut *mut c_void, *mut c_void) -> jint;

/// Starts a runtime (Invocation API, `JNI_CreateJavaVM`): its environment for this thread. The function is the
/// library's own: helpers that are loaded beside it have one of that name, too.
pub(super) fn create(runtime: &Library, options: &[CString]) -> Result<Environment, String> {
    // SAFETY: a library that stays loaded, and a text that ends with a NUL.
    let create = unsafe { libc::dlsym(runtime.0, c"JNI_CreateJavaVM".as_ptr()) };
    if create.is_null() {
        return Err("the runtime has no JNI_CreateJavaVM".to_owned());
    }
    let mut options: Vec<JavaVMOption> = options
        .iter()
        .map(|text| JavaVMOption {
            optionString: text.as_ptr().cast::<c_char>().cast_mut(),
            extraInfo: std::ptr::null_mut(),
        })
        .collect();
    let mut arguments = JavaVMInitArgs {
        version: jni_sys::JNI_VERSION_1_6,
        nOptions: jint::try_from(options.len()).map_err(|_| "too many options")?,
        options: options.as_mut_ptr(),
        ignoreUnrecognized: false,
    };
    let (mut machine, mut env) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the function of this name has this type in every Java virtual machine; all pointers are to values that
    // live until it returns.
    let code = unsafe {
        let create: Create = std::mem::transmute(create);
        create(&raw mut machine, &raw mut env, (&raw mut arguments).cast())
    };
    match code {
        // SAFETY: the runtime gave it to this thread, and keeps it attached.
        0 => Ok(unsafe { Environment::new(env.cast()) }),
        code => Err(format!("the runtime did not start (JNI_CreateJavaVM returned {code})")),
    }
}
