//! What a program may ask for. The agent is found by name at run time, so nothing links against it.

use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The number of the patch that this process is at: 0 for the program as it was started, and where
/// nothing patches it.
pub fn version() -> u32 {
    // SAFETY: the agent exports `livepatch_version` with this very signature, and is never unloaded.
    find(c"livepatch_version")
        .map_or(0, |symbol| unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> u32>(symbol)() })
}

/// Has `callback` called with [`version`] after every patch and every rollback.
///
/// It is called on the agent's thread, which serves nothing else meanwhile: keep it short. A panic in
/// it is caught. Returns false, and drops the callback, where nothing patches this process.
pub fn on_patch(callback: impl Fn(u32) + Send + Sync + 'static) -> bool {
    type Callback = Box<dyn Fn(u32) + Send + Sync>;
    type Register = extern "C" fn(extern "C" fn(*const c_void, u32), *const c_void);

    extern "C" fn call(callback: *const c_void, patch: u32) {
        // SAFETY: the agent passes back the pointer that was registered with this function below: a
        // leaked `Callback`, which is `Sync`.
        let callback = unsafe { &*callback.cast::<Callback>() };
        // The panic's message went where the program's panics go.
        drop(catch_unwind(AssertUnwindSafe(|| callback(patch))));
    }

    let Some(symbol) = find(c"livepatch_on_patch") else { return false };
    // SAFETY: the agent exports `livepatch_on_patch` with this very signature, and is never unloaded.
    let register = unsafe { std::mem::transmute::<*mut c_void, Register>(symbol) };
    let callback: Callback = Box::new(callback);
    register(call, (&raw const *Box::leak(Box::new(callback))).cast());
    true
}

fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `dlsym` only reads the NUL-terminated name.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}
