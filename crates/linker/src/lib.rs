//! Loads images into this process: ELF the way Android's linker does, Mach-O the way dyld did, with every step visible.
//!
//! ```no_run
//! use livepatch_linker::{Flags, Linker, trace::{Detail, Trace}};
//!
//! let trace = Trace::new(Detail::Phases);
//! let linker = Linker::builder().trace(&trace).build();
//! let library = linker.dlopen("libz.so.1", Flags::NOW)?;
//! println!("zlibVersion is at {}", library.symbol("zlibVersion")?);
//! print!("{trace}");
//! # Ok::<(), livepatch_linker::LinkerError>(())
//! ```
//!
//! Opening a library goes through phases, each a file: `find`, `read`, `prelink`, `link`, `construct`; and
//! `close` undoes them. What can be decided from bytes is decided in `livepatch_object::loadable`. `unsafe` is
//! in modules named for what can go wrong there: `c_abi`, `memory`, `rebinder`, `call`, `process`, `tls`, `resolver`,
//! `interpose`, `unwind`, `debugger`, and under `bionic` and `darwin`.

#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_os = "linux", target_env = "gnu"))]
pub mod bionic;
#[cfg(feature = "c-abi")]
pub mod c_abi;
mod call;
mod close;
mod construct;
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub mod darwin;
mod debugger;
mod dlerror;
mod error;
mod ext_info;
mod find;
mod flags;
mod host;
mod interpose;
mod library;
mod link;
mod linker;
mod loaded;
mod lock;
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub mod macho;
mod memory;
mod module;
mod namespace;
mod open;
mod page;
mod prelink;
mod process;
mod provider;
mod read;
pub mod rebinder;
mod registry;
mod resolver;
mod state;
mod tls;
pub mod trace;
mod trap;
mod unwind;

pub use debugger::TellDebugger;
pub use error::LinkerError;
pub use ext_info::{ExtInfo, Reserved, SharedRelro};
pub use find::search::system_paths;
pub use flags::Flags;
pub use library::{Library, SymbolInfo};
pub use linker::{Linker, LinkerBuilder};
pub use loaded::LibraryId;
pub use namespace::{NamespaceConfig, NamespaceId, NamespaceLink};
pub use page::size as page_size;
pub use provider::{ExplicitMap, Precedence, SymbolProvider};
pub use trap::Trap;
