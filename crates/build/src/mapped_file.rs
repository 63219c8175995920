//! Files as bytes that nobody has read: of a mapped file only what is looked at comes into memory.
//!
//! The hazard: the bytes of a mapped file are the file. Whoever writes to it changes them under a `&[u8]`,
//! and whoever cuts it short turns the next look at what is gone into a SIGBUS.
//!
//! 1. Only [`map`] a file that nothing writes to once it has this name: it is written elsewhere, and linked or
//!    renamed to the name as a whole. That other names of it are removed, or made to name another file, does
//!    no harm: the file stays for as long as it is mapped.

use bytes::Bytes;
use memmap2::Mmap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Up to this many bytes a file is read: it would not take less room when mapped, and a process has a limited
/// number of mappings (65,530 by default).
const READ: u64 = 16 << 10;

/// The bytes of the file at `path`, which obeys rule 1.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > READ {
        // SAFETY: nothing writes to the file while it is mapped (rule 1). The callers, all in this crate, map
        // * objects of codegen units, under names in our own folders (`base`, `rebuild`). Their files are
        //   rustc's: it writes each one under a name that is new, in a folder of this one run; then gives it
        //   its name in the incremental folder by a hard link; and for a unit that did not change makes
        //   another link. What it removes, it removes by name. So nothing that rustc, cargo or a user's `cargo
        //   clean` does changes the file. Where there are no hard links, ours is a copy that nobody knows of;
        // * the host, under a name in our folder `link`: the linker shim removes the output's name before a
        //   linker runs, so that every link makes a new file.
        // Someone who cuts such a file short on purpose, or a disk that fails, ends this process by SIGBUS,
        // as it ends any program whose own file that happens to: no memory is read that is not the file's.
        return Ok(Bytes::from_owner(unsafe { Mmap::map(&file)? }));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
