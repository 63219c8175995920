//! Classes that all threads see as initialised.
//!
//! Where processors do not keep the order in which memory is written, a class that is initialised is not at once one
//! that every thread may take for that (11 and later, `ClassStatus::kVisiblyInitialized`). The runtime waits until all
//! threads have passed a point at which they do, some time later, for many classes at once; and then gives the class's
//! static methods the entries that they have from then on, whatever they were given before.

use super::lookup;
use super::suspension::Suspension;
use crate::jni::{Environment, Receiver, Thrown};
use crate::release::Release;
use jni_sys::{jclass, jvalue};
use std::time::Duration;

/// From here on (11).
const FIRST: u32 = 30;
/// The runtime does not wait any longer after a thread has met classes of that kind so often
/// (`Thread::kMakeVisiblyInitializedCounterTriggerCount`).
const OFTEN: u32 = 128;
/// How long it is waited where it is not known how to hold threads.
const UNHELD: Duration = Duration::from_millis(20);

/// Whether a class that is initialised is not at once that for all threads.
pub(super) fn is_late(release: Release) -> bool {
    release.level() >= FIRST && cfg!(any(target_arch = "arm", target_arch = "aarch64"))
}

/// Has the runtime make a class visible that has this name with dots, with all others that wait for it. It has done so
/// when all threads have passed a point at which they can be held.
pub(super) fn ask(env: Environment, class: jclass, name: &str) -> Result<(), Thrown> {
    let loader = lookup::class_loader(env, class)?;
    let (of_class, find) = lookup::for_name(env)?;
    let name = env.string(name)?;
    let arguments = [jvalue { l: name }, jvalue { z: true }, jvalue { l: loader }];
    for _ in 0..OFTEN {
        env.delete_local(env.call_object(Receiver::Class(of_class), find, &arguments)?);
    }
    [loader, of_class, name].into_iter().for_each(|object| env.delete_local(object));
    Ok(())
}

/// Waits until all threads have passed such a point.
pub(super) fn wait(suspension: Option<&Suspension>) {
    match suspension {
        Some(suspension) => suspension.while_others_wait(|| ()),
        None => std::thread::sleep(UNHELD),
    }
}
