//! What a program may ask for. The agent is found by name at run time, so nothing links against it.

use crate::callbacks::{self, Callback};
use crate::{anchor, apply, device, loaded};
use livepatch_proto::BuildId;
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// The number of the patch that this process is at: 0 for the program as it was started, and where
/// nothing patches it.
///
/// ```
/// assert_eq!(livepatch::version(), 0);
/// ```
pub fn version() -> u32 {
    // SAFETY: the agent exports `livepatch_version` with this very signature, and is never unloaded.
    find(c"livepatch_version").map_or_else(apply::current, |symbol| unsafe {
        std::mem::transmute::<*mut c_void, extern "C" fn() -> u32>(symbol)()
    })
}

/// The build id of the module that contains this crate; empty where it has none or where this platform
/// does not tell.
///
/// ```
/// println!("build {}", livepatch::build_id());
/// ```
pub fn build_id() -> BuildId {
    BuildId(loaded::module_at(anchor::aslr_reference()).unwrap_or_default().build_id)
}

/// Has `callback` called with [`version`] after every patch and every rollback.
///
/// It is called on the thread that applies patches, which does nothing else meanwhile: keep it short. A
/// panic in it is caught. Returns whether anything can patch this process yet: an agent, or a server that
/// the program [dialled](crate::connect); it is called after [`apply`](crate::apply) as well.
///
/// ```
/// livepatch::on_patch(|patch| eprintln!("now at patch {patch}"));
/// ```
pub fn on_patch(callback: impl Fn(u32) + Send + Sync + 'static) -> bool {
    type Register = extern "C" fn(extern "C" fn(*const c_void, u32), *const c_void);

    extern "C" fn call(callback: *const c_void, patch: u32) {
        // SAFETY: the agent passes back the pointer that was registered with this function below: a
        // leaked `Callback`, which is `Sync`.
        let callback = unsafe { &*callback.cast::<Callback>() };
        callbacks::call(callback, patch);
    }

    let callback: Callback = Arc::new(callback);
    callbacks::register(callback.clone());
    let Some(symbol) = find(c"livepatch_on_patch") else { return device::is_open() };
    // SAFETY: the agent exports `livepatch_on_patch` with this very signature, and is never unloaded.
    let register = unsafe { std::mem::transmute::<*mut c_void, Register>(symbol) };
    register(call, (&raw const *Box::leak(Box::new(callback))).cast());
    true
}

fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `dlsym` only reads the NUL-terminated name.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}
