//! Android's runtime inside this process, on Linux: Debian's `android-libart`, a boot class path of generated
//! classes, and nothing else of Android. For tests and for the demonstration; a process can have one, and keeps it.

mod boot;
mod classes;
mod corrected;
pub mod demo;
mod dynamic;
mod loader;
mod package;
mod probe;
mod processor;
mod stub;

pub use boot::{BootError, Machine, Setup};
pub use classes::boot_classes;
pub use corrected::UnknownBuild;
pub use loader::Loader;
pub use package::Package;
pub use probe::{PROBE, PROBE_TEXT, probe_class};
