//! Classes that all threads see as initialised.
//!
//! Where processors do not keep the order in which memory is written, a class that is initialised is not at once one
//! that every thread may take for that (11 and later, `ClassStatus::kVisiblyInitialized`). The runtime waits until all
//! threads have passed a point at which they do, some time later, for many classes at once; and then gives the class's
//! static methods the entries that they have from then on, whatever they were given before.

use super::lookup::{self, Method};
use crate::jni::{Environment, Receiver, Thrown};
use crate::release::Release;
use jni_sys::jvalue;

/// From here on (11).
const FIRST: u32 = 30;
/// The runtime does not wait any longer after a thread has met classes of that kind so often
/// (`Thread::kMakeVisiblyInitializedCounterTriggerCount`).
const OFTEN: u32 = 128;

/// Whether a class that is initialised is not at once that for all threads.
pub(super) fn is_late(release: Release) -> bool {
    release.level() >= FIRST && cfg!(any(target_arch = "arm", target_arch = "aarch64"))
}

/// Has the runtime make a method's class visible, with all others that wait for it. It has done so when all threads have
/// passed a point at which they can be held.
pub(super) fn ask(env: Environment, method: &Method) -> Result<(), Thrown> {
    let loader = lookup::class_loader(env, method.class.class())?;
    let (class, find) = lookup::for_name(env)?;
    let name = env.string(&method.class_name)?;
    let arguments = [jvalue { l: name }, jvalue { z: true }, jvalue { l: loader }];
    for _ in 0..OFTEN {
        env.delete_local(env.call_object(Receiver::Class(class), find, &arguments)?);
    }
    [loader, class, name].into_iter().for_each(|object| env.delete_local(object));
    Ok(())
}
