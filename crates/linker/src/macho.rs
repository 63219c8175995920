//! Mach-O images, loaded into this process the way dyld did while it bound lazily (x86-64).
//!
//! ```no_run
//! use livepatch_linker::{darwin, macho, trace::{Detail, Trace}};
//!
//! let trace = Trace::new(Detail::Bindings);
//! let linker = darwin::add_to(macho::Linker::builder().trace(&trace)).build();
//! let library = linker.dlopen("libdemo.dylib", macho::Mode::Lazy)?;
//! println!("demo is at {}", library.symbol("_demo")?);
//! print!("{trace}");
//! # Ok::<(), macho::Error>(())
//! ```
//!
//! Loading goes through phases, each a file, as for shared objects: `find`, `read`, `link`, `construct`, and `close`
//! undoes them. What can be decided from bytes is decided in [`livepatch_object::macho`].
//!
//! A call of an import goes through a stub and a slot. In [`Mode::Lazy`] the slot leads to a stub helper at first, as the
//! image's own linker has laid it out, and from there to `dyld_stub_binder`, which is `link::lazy` here: it decodes what
//! the helper has pushed, looks the symbol up, stores to the slot, and jumps to the function.

mod close;
mod construct;
mod error;
mod find;
mod library;
mod link;
mod linker;
mod loaded;
mod read;
mod registry;
mod slots;
mod state;
mod unwind;

pub use error::Error;
pub use library::Library;
pub use linker::{Linker, LinkerBuilder};

pub(crate) use link::lazy::bind;
pub(crate) use loaded::Loaded;
pub(crate) use registry::{all as images, caller};
pub(crate) use slots::Images;
pub(crate) use unwind::function as unwinder_function;

/// When imported functions are bound.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// At the first call, where the image allows that.
    #[default]
    Lazy,
    /// When the image is loaded.
    Now,
    /// At the first call, but looked up when the image is loaded too: what is missing is found out then, and each
    /// binding is compared with what was found before; one that differs is a warning of the trace.
    PreboundCheck,
}
