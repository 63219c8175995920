//! The patch image: an ELF shared object, pre-linked for one address of one process.
//!
//! It has no relocations and looks no symbol up: every word in it is final. It has what a shared object
//! needs to be known to unwinder, backtraces, debuggers and profilers: unwind entries with their search
//! header, a symbol table with the real names, and the debug sections of its objects.
//!
//! | file | writes |
//! | --- | --- |
//! | `bind` | addresses of targets in one process |
//! | `content` | code, constants, variables, stubs, cells |
//! | `frames` | `.eh_frame`, `.eh_frame_hdr` |
//! | `debug` | `.debug_*` |
//! | `machine` | what an instruction set makes of calls that are far |
//! | `elf` | headers and tables around it all |

mod bind;
mod content;
mod debug;
mod elf;
mod frames;
mod machine;

pub use bind::Bind;

use crate::place::Layout;
use crate::resolve::Closure;
use livepatch_object::relocation::RelocationError;
use thiserror::Error;

/// The load bias a patch image gets: run-time minus link-time address.
///
/// It is not 0, because std's backtraces take 0 for the program itself. glibc maps an image whose first
/// segment asks for an address and an alignment of two pages one page further up when the address is an
/// odd page, so the bias is one page, known in advance.
pub const BIAS: u64 = 0x1000;

/// What an image's first run-time address must be a multiple of.
pub const IMAGE_ALIGN: u64 = 0x2000;

/// Bytes at the start of every image: program headers and the tables that `dlopen` asks for.
pub const HEADERS: u64 = elf::HEADERS;

/// An image could not be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// A reference cannot be made.
    #[error("`{from}` cannot refer to `{to}`")]
    Reference {
        /// Who refers, demangled.
        from: String,
        /// To what, demangled.
        to: String,
        /// Why not.
        source: RelocationError,
    },
    /// A name that was resolved for one process is not in another.
    #[error("the process does not have `{0}`")]
    Absent(String),
    /// An access to a thread-local of a library that was loaded late.
    #[error(
        "a thread-local of a library that was loaded late cannot be had by its offset from the thread pointer"
    )]
    StaticThreadLocal,
    /// Two parts of the plan do not fit together.
    #[error("the patch contradicts itself: {0}")]
    Inconsistent(&'static str),
}

/// Writes the file of a patch image.
pub fn write(closure: &Closure, layout: &Layout, bind: &Bind<'_>) -> Result<Vec<u8>, WriteError> {
    let mut image = content::write(closure, layout, bind)?;
    frames::write(closure, layout, bind, &mut image)?;
    let debug = debug::write(closure, layout, bind);
    elf::write(closure, layout, bind.link_base(), &image, debug)
}

/// The initial values of a patch's new thread-locals: offset in the agent's reserve, bytes.
pub fn thread_locals(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
) -> Result<Vec<(u64, Vec<u8>)>, WriteError> {
    let values = closure.thread_locals.iter();
    let values = values.map(|&(part, offset)| {
        let part = closure.parts.get(part.0).ok_or(WriteError::Inconsistent("a thread-local's part"))?;
        Ok((offset, content::thread_local(closure, layout, bind, part)?))
    });
    values.collect()
}
