//! The part of livepatch that is inside the live process.
//!
//! Without features this is the small API that a program *may* use to know about its patches; a
//! program needs none of it to be patched. It asks an agent, where one is present, and has neutral
//! answers where none is, so it can stay in a release build.
//!
//! With the feature `agent`, built as a `cdylib`, it is the agent itself: a library to be preloaded
//! into a program (`LD_PRELOAD`). See the `agent` module.

mod api;

pub use api::{on_patch, version};

#[cfg(all(feature = "agent", not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))))]
compile_error!("the agent exists for x86_64 Linux with glibc only");

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64", any(feature = "agent", test)))]
#[cfg_attr(not(feature = "agent"), expect(dead_code, reason = "tests without it reach parts only"))]
mod agent;
