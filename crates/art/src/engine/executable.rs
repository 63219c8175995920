//! Memory with code in it that was made here.

use super::trampoline::SIZE;
use std::io;

/// Places pieces of code, each of which begins at a multiple of its size, in memory of their own, and says where they
/// are. It is written, and then made executable, and stays for good: a thread may be in it at any time.
pub(super) fn place(pieces: &[[u8; SIZE]]) -> io::Result<Vec<usize>> {
    let bytes = pieces.concat();
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    // SAFETY: a new mapping, at no address that anything is at.
    let memory = unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        libc::mmap(std::ptr::null_mut(), bytes.len(), access, kind, -1, 0)
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is as long as the bytes, and nobody else knows it yet.
    let made = unsafe {
        memory.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        libc::mprotect(memory, bytes.len(), libc::PROT_READ | libc::PROT_EXEC)
    };
    if made != 0 {
        let error = io::Error::last_os_error();
        // SAFETY: the mapping from above, which nobody was told of.
        unsafe { libc::munmap(memory, bytes.len()) };
        return Err(error);
    }
    written(memory.cast(), bytes.len());
    let start = memory.expose_provenance();
    Ok((0..pieces.len()).map(|nth| start + nth * SIZE).collect())
}

/// Lets processors fetch what was written, where they do not see that by themselves.
#[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
fn written(start: *mut u8, length: usize) {
    unsafe extern "C" {
        /// Of the compiler's own library (`libgcc`, `compiler-rt`).
        fn __clear_cache(start: *mut u8, end: *mut u8);
    }
    // SAFETY: the range is that of a mapping.
    unsafe { __clear_cache(start, start.add(length)) };
}

#[cfg(not(any(target_arch = "arm", target_arch = "aarch64")))]
fn written(_start: *mut u8, _length: usize) {}
