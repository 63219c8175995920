//! Patches as patch libraries: what a [`crate::write`] image is where the target's own linker is to make it.
//!
//! The patch is the same to its last function (`diff`, `gate`, `resolve`), and so is the redirection of entries. What
//! differs is how it comes to be in the process: its sections become a relocatable object, whose references to
//! everything outside go to a stub object; the captured link, edited, makes a shared object of both; the process
//! loads it wherever its dynamic linker likes, and says where that was.
//!
//! ```text
//! closure ─► object ─► adapt ─► stub object ─► linker ─► the process loads it ─► places of all parts
//! ```
//!
//! | module | answers |
//! | --- | --- |
//! | `object` | how are the sections of a patch one relocatable object? |
//! | `frames`, `debug` | and its unwind entries and debug sections? |
//! | `leads` | where does each name outside lead in one process? |
//! | `link` | which command makes the library? |
//! | `whole` | what of processes that ask a jump table, where patches are whole crates? |

mod debug;
mod error;
mod frames;
mod leads;
mod link;
mod object;
mod whole;

pub use error::LibraryError;
pub use link::LibraryLink;
pub use whole::{WholeLinked, WholePatch, WholeProcess, WholeProgram};

use crate::place::Layout;
use crate::process::LibraryPart;
use crate::resolve::Closure;
use crate::stubs::compute_needed_symbols;
use crate::write::Bind;
use livepatch_object::demangle;
use livepatch_object::host::Host;
use livepatch_object::relocatable::SectionKind;
use object::{PatchObject, part_symbol};
use std::path::Path;

/// Where a process has loaded a library.
#[derive(Clone, Debug)]
pub struct LoadedLibrary {
    /// Its load bias: run-time minus link-time addresses (modulo 2^64).
    pub bias: u64,
    /// From its first to after its last byte.
    pub range: livepatch_proto::WireRange,
    /// What is free in the process now.
    pub free_ranges: Vec<livepatch_proto::WireRange>,
}

/// Makes the library of a patch for one process, at `path`. Returns where each part is in it, ascending by place in
/// the layout; none where nothing of the patch takes room.
pub(crate) fn make(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
    host: &Host,
    link: &LibraryLink,
    path: &Path,
) -> Result<Option<Vec<LibraryPart>>, LibraryError> {
    let Some(PatchObject { bytes, outside }) = object::write(closure, layout, host)? else { return Ok(None) };
    let target = link.target(closure.architecture);
    let leads = leads::leads(&outside, bind, host, target)?;
    let adapted = leads.adapt(&bytes)?;
    let stub = leads.stub(&compute_needed_symbols(&adapted.bytes)?)?;
    if let Some((name, why)) = stub.report.unresolved().next() {
        let outside = outside.iter().find(|one| one.symbol == name);
        let name = outside.map_or(name, |one| &one.name);
        return Err(LibraryError::Unreachable { name: demangle(name), why: why.clone() });
    }
    link.link(&[("patch", &adapted.bytes), ("stub", &stub.bytes)], path)?;
    parts(closure, layout, path).map(Some)
}

/// Where the linker has put the parts.
fn parts(closure: &Closure, layout: &Layout, path: &Path) -> Result<Vec<LibraryPart>, LibraryError> {
    let bytes = std::fs::read(path).map_err(LibraryError::io("read", path))?;
    let library = Host::parse(bytes).map_err(LibraryError::Damaged)?;
    let mut parts = Vec::new();
    for (id, (part, &start)) in closure.parts.iter().zip(&layout.parts).enumerate() {
        let section = part.object.image.section(part.section);
        if !object::is_held(section.kind) {
            continue;
        }
        let symbol = library.definitions(&part_symbol(id)).next().map(|symbol| symbol.address);
        let link = symbol.ok_or(LibraryError::Lost)?;
        let code = section.kind == SectionKind::Text;
        parts.push(LibraryPart { start, length: section.size, link, code });
    }
    parts.sort_unstable_by_key(|part| part.start);
    Ok(parts)
}
