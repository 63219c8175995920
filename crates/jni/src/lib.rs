//! The native part of `livepatch.Loader` (`java/livepatch`): what Java cannot do itself. Which library may be loaded by
//! whom, what of it is remembered and which errors are thrown is decided in Java.
//!
//! Handles that Java has are addresses of libraries that are never closed, as Android never closes those of class
//! loaders that live on.

mod environment;
mod libraries;

use environment::Environment;
use jni_sys::{JNIEnv, jclass, jint, jlong, jobjectArray, jstring};

/// `Loader.open`: loads a library; or throws an `UnsatisfiedLinkError` with the linker's message.
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_Loader_open(
    env: *mut JNIEnv,
    _class: jclass,
    path: jstring,
    folders: jstring,
    bionic: jni_sys::jboolean,
) -> jlong {
    // SAFETY: the machine's own environment, of this thread, and its objects.
    let environment = unsafe { Environment::new(env) };
    let (path, folders) = (environment.text(path), environment.text(folders));
    match libraries::open(&path, &folders, bionic) {
        Ok(handle) => handle,
        Err(error) => {
            environment.throw_unsatisfied(&error.to_string());
            0
        }
    }
}

/// `Loader.natives`: the names of all functions that a library exports for native methods.
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_Loader_natives(
    env: *mut JNIEnv,
    _class: jclass,
    handle: jlong,
) -> jobjectArray {
    // SAFETY: the machine's own environment, of this thread.
    let environment = unsafe { Environment::new(env) };
    environment.texts(&libraries::natives(handle))
}

/// `Loader.register`: has a native method call a function of a library.
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_Loader_register(
    env: *mut JNIEnv,
    _class: jclass,
    of: jclass,
    name: jstring,
    signature: jstring,
    handle: jlong,
    symbol: jstring,
) {
    // SAFETY: the machine's own environment, of this thread, and its objects.
    let environment = unsafe { Environment::new(env) };
    if let Some(function) = libraries::symbol(handle, &environment.text(symbol)) {
        environment.register(of, &environment.text(name), &environment.text(signature), function);
    }
}

/// `Loader.onLoad`: calls `JNI_OnLoad` and returns what it returns; 0 if the library has none.
///
/// # Safety
/// Called by the virtual machine for the method of this name.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_livepatch_Loader_onLoad(
    env: *mut JNIEnv,
    _class: jclass,
    handle: jlong,
) -> jint {
    // SAFETY: the machine's own environment, of this thread.
    let environment = unsafe { Environment::new(env) };
    libraries::symbol(handle, "JNI_OnLoad").map_or(0, |function| environment.on_load(function))
}
