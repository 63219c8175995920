//! What the shared object exports: functions for C (`include/livepatch_art.h`), and the native methods of
//! `livepatch.art.NativePatcher`. Pointers of callers are turned into values here, and nowhere else.

mod state;

use crate::engine::{Change, MethodName};
use crate::jni::{Environment, Thrown};
use jni_sys::{JNIEnv, JavaVM, jbyteArray, jclass, jint, jobject, jobjectArray, jstring};
use std::ffi::{CStr, c_char, c_void};
use std::panic::AssertUnwindSafe;

/// Loads with `System.loadLibrary`.
///
/// # Safety
/// Called by the virtual machine.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn JNI_OnLoad(_machine: *mut JavaVM, _reserved: *mut c_void) -> jint {
    jni_sys::JNI_VERSION_1_6
}

/// Does something without letting a panic out into C or Java.
fn guarded<T>(something: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let caught = std::panic::catch_unwind(AssertUnwindSafe(something));
    caught.unwrap_or_else(|_| Err("livepatch has a bug: it panicked".to_owned()))
}

/// See `livepatch_art.h`.
///
/// # Safety
/// This thread's environment, and a class of its.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livepatch_art_start(env: *mut JNIEnv, api_level: u32, probe: jclass) -> i32 {
    // SAFETY: as the caller says.
    let env = unsafe { Environment::new(env) };
    state::code(guarded(|| state::start(env, api_level, probe)).map(|()| 0))
}

/// See `livepatch_art.h`.
///
/// # Safety
/// This thread's environment, classes of its, and texts that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livepatch_art_replace(
    env: *mut JNIEnv,
    target: jclass,
    fix: jclass,
    name: *const c_char,
    signature: *const c_char,
    is_static: bool,
) -> i64 {
    // SAFETY: as the caller says.
    let (env, name, signature) = unsafe { (Environment::new(env), text(name), text(signature)) };
    let replaced = guarded(|| {
        let name = MethodName { name, signature, is_static };
        state::with(|engine| {
            let change =
                Change { target: engine.method(env, target, &name)?, fix: engine.method(env, fix, &name)? };
            engine.apply(env, &[change])
        })
    });
    state::long_code(replaced.map(|patch| patch.number.into()))
}

/// # Safety
/// Null, or a text that ends with a NUL.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// See `livepatch_art.h`.
///
/// # Safety
/// This thread's environment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livepatch_art_roll_back(env: *mut JNIEnv, patch: u32) -> i32 {
    // SAFETY: as the caller says.
    let env = unsafe { Environment::new(env) };
    state::code(guarded(|| state::with(|engine| engine.roll_back(env, patch))).map(|()| 0))
}

/// See `livepatch_art.h`.
///
/// # Safety
/// This thread's environment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livepatch_art_roll_back_all(env: *mut JNIEnv) -> i32 {
    // SAFETY: as the caller says.
    let env = unsafe { Environment::new(env) };
    state::code(guarded(|| state::with(|engine| engine.roll_back_all(env))).map(|()| 0))
}

/// See `livepatch_art.h`.
#[unsafe(no_mangle)]
pub extern "C" fn livepatch_art_refresh() -> i64 {
    let refreshed = guarded(|| state::with(|engine| Ok(engine.refresh())));
    state::long_code(refreshed.map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
}

/// See `livepatch_art.h`.
///
/// # Safety
/// Room for so many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livepatch_art_list(buffer: *mut c_char, size: usize) -> usize {
    let text = guarded(state::list).unwrap_or_default();
    if !buffer.is_null() && size > 0 {
        let count = text.len().min(size - 1);
        // SAFETY: there is room for `size` bytes, of which one less are copied, and a NUL follows.
        unsafe {
            text.as_ptr().cast::<c_char>().copy_to(buffer, count);
            *buffer.add(count) = 0;
        }
    }
    text.len() + 1
}

/// See `livepatch_art.h`.
#[unsafe(no_mangle)]
pub extern "C" fn livepatch_art_error() -> *const c_char {
    state::last_error()
}

/// `NativePatcher.start`
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_art_NativePatcher_start(
    env: *mut JNIEnv,
    _class: jclass,
    api_level: jint,
    probe: jclass,
) {
    // SAFETY: the machine's own environment, of this thread.
    let env = unsafe { Environment::new(env) };
    let started = guarded(|| state::start(env, u32::try_from(api_level).unwrap_or(0), probe));
    if let Err(said) = started {
        env.throw("java/lang/IllegalStateException", &said);
    }
}

/// `NativePatcher.verify`: the name, the time, and the dex file.
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_art_NativePatcher_verify(
    env: *mut JNIEnv,
    _class: jclass,
    patch: jstring,
    certificate: jbyteArray,
    folder: jstring,
) -> jobjectArray {
    // SAFETY: the machine's own environment, of this thread.
    let env = unsafe { Environment::new(env) };
    let verified = guarded(|| {
        let certificate = env.bytes(certificate).map_err(|thrown| thrown.to_string())?;
        let texts = state::verify(env.text(patch).as_ref(), &certificate, env.text(folder).as_ref())?;
        env.texts(&texts).map_err(|thrown| thrown.to_string())
    });
    verified.unwrap_or_else(|said| {
        env.throw("java/io/IOException", &said);
        std::ptr::null_mut()
    })
}

/// `NativePatcher.toDefine`: names of classes.
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_art_NativePatcher_toDefine(
    env: *mut JNIEnv,
    _class: jclass,
    dex: jstring,
) -> jobjectArray {
    // SAFETY: the machine's own environment, of this thread.
    let env = unsafe { Environment::new(env) };
    let names = guarded(|| {
        let names = state::to_define(env.text(dex).as_ref())?;
        env.texts(&names).map_err(|thrown| thrown.to_string())
    });
    names.unwrap_or_else(|said| {
        env.throw("java/lang/IllegalStateException", &said);
        std::ptr::null_mut()
    })
}

/// `NativePatcher.refresh`
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_art_NativePatcher_refresh(
    env: *mut JNIEnv,
    _patcher: jobject,
) -> jint {
    // SAFETY: the machine's own environment, of this thread.
    let env = unsafe { Environment::new(env) };
    match guarded(|| state::with(|engine| Ok(engine.refresh()))) {
        Ok(count) => jint::try_from(count).unwrap_or(jint::MAX),
        Err(said) => {
            env.throw("java/lang/IllegalStateException", &said);
            0
        }
    }
}

/// `NativePatcher.apply`
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_art_NativePatcher_apply(
    env: *mut JNIEnv,
    _class: jclass,
    loader: jobject,
    classes: jobjectArray,
    names: jobjectArray,
    dex: jstring,
) -> jint {
    // SAFETY: the machine's own environment, of this thread.
    let env = unsafe { Environment::new(env) };
    let applied = guarded(|| {
        let thrown = |thrown: Thrown| thrown.to_string();
        let names = env.of_elements(names, |name| Ok(env.text(name))).map_err(thrown)?;
        let defined = names.into_iter().zip(env.elements(classes).map_err(thrown)?).collect();
        state::apply(env, loader, defined, env.text(dex).as_ref())
    });
    applied.map(|number| jint::try_from(number).unwrap_or(jint::MAX)).unwrap_or_else(|said| {
        env.throw("java/lang/IllegalStateException", &said);
        0
    })
}

/// `NativePatcher.rollBack`
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_art_NativePatcher_rollBack(
    env: *mut JNIEnv,
    _patcher: jobject,
    number: jint,
) {
    // SAFETY: the machine's own environment, of this thread.
    let env = unsafe { Environment::new(env) };
    let number = u32::try_from(number).unwrap_or(0);
    if let Err(said) = guarded(|| state::with(|engine| engine.roll_back(env, number))) {
        env.throw("java/lang/IllegalStateException", &said);
    }
}
