//! The part of livepatch that is inside the live process.
//!
//! A program needs none of it to be patched. Without features this is the small API that a program *may*
//! use:
//!
//! * [`version`] and [`on_patch`], to know about its patches. They ask an agent, where one is present, and
//!   have neutral answers where nothing patches the program, so they can stay in a release build.
//! * [`connect`], to be patched where no agent can be: on a device, on another operating system, by a dev
//!   server of your own. Patches come as libraries that the dynamic linker loads, and reach callers that
//!   ask a jump table: [`call`] and [`HotFn`].
//! * [`apply`] and [`aslr_reference`], to do even that by oneself.
//! * `import_slot` (feature `import-slots`), to have calls of other libraries' functions go somewhere else (Linux with
//!   glibc).
//!
//! With the feature `agent`, built as a `cdylib`, it is the agent itself: a library to be preloaded
//! into a program (`LD_PRELOAD`). See the `agent` module.

mod anchor;
mod api;
mod apply;
mod build_id;
mod callbacks;
mod device;
mod hot;
// Apart, as programs that do not use it had better not have its code: patches of theirs would have to bring what it needs.
#[cfg(all(
    feature = "import-slots",
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub mod import_slot;
mod jump_table;
mod library;
mod loaded;
mod published;

pub use anchor::aslr_reference;
pub use api::{build_id, on_patch, version};
pub use apply::apply;
pub use device::{Connection, Server, UnknownServer, connect, connect_from_env, connect_with};
pub use hot::{HotFn, HotFnPtr, HotFunction, call};
/// What is said between a program and its server.
pub use livepatch_proto as proto;

#[cfg(all(
    feature = "agent",
    not(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))
))]
compile_error!("the agent exists for Linux with glibc on x86_64 and aarch64 only");

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    any(feature = "agent", test)
))]
#[cfg_attr(not(feature = "agent"), expect(dead_code, reason = "tests without it reach parts only"))]
mod agent;
