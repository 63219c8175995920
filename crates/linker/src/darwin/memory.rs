//! Memory: mappings, advice, filling, and zones of the allocator.

use super::Symbols;
use std::ffi::{c_char, c_int, c_void};

/// Darwin's flags of `mmap`; the others mean the same.
const MAP_NORESERVE: c_int = 0x40;
const MAP_ANON: c_int = 0x1000;

unsafe extern "C" fn mmap(
    at: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    let mut real = flags & (libc::MAP_SHARED | libc::MAP_PRIVATE | libc::MAP_FIXED);
    let mut file = file;
    if flags & MAP_NORESERVE != 0 {
        real |= libc::MAP_NORESERVE;
    }
    if flags & MAP_ANON != 0 {
        real |= libc::MAP_ANONYMOUS;
        // What is there is a tag for tools.
        file = -1;
    }
    // SAFETY: what the caller asks for.
    unsafe { libc::mmap(at, length, protection, real, file, offset) }
}

/// Advice that Linux takes as an order to forget is none on Darwin.
unsafe extern "C" fn madvise(at: *mut c_void, length: usize, advice: c_int) -> c_int {
    let real = match advice {
        0..=3 => advice,
        5 => libc::MADV_FREE,
        _ => return 0,
    };
    // SAFETY: the caller's memory.
    unsafe { libc::madvise(at, length, real) }
}

unsafe extern "C" fn msync(at: *mut c_void, length: usize, flags: c_int) -> c_int {
    let flags = (flags & 3) | if flags & 0x10 != 0 { libc::MS_SYNC } else { 0 };
    // SAFETY: the caller's memory.
    unsafe { libc::msync(at, length, flags) }
}

unsafe extern "C" fn memset_s(at: *mut c_void, room: usize, value: c_int, length: usize) -> c_int {
    if at.is_null() {
        return 22;
    }
    // SAFETY: the caller's room; no more than that.
    unsafe { libc::memset(at, value, length.min(room)) };
    std::hint::black_box(at);
    // EOVERFLOW, as Darwin numbers it.
    if length > room { 84 } else { 0 }
}

/// # Safety
/// Room for `length` bytes, and a pattern of `size`.
unsafe fn fill(at: *mut u8, pattern: *const u8, size: usize, length: usize) {
    // SAFETY: the caller's promise. The pattern may be in the room: it is copied first.
    unsafe {
        let mut copy = [0; 16];
        copy.as_mut_ptr().copy_from_nonoverlapping(pattern, size);
        let mut done = 0;
        while done < length {
            let part = size.min(length - done);
            at.add(done).copy_from_nonoverlapping(copy.as_ptr(), part);
            done += part;
        }
    }
}

unsafe extern "C" fn pattern4(at: *mut u8, pattern: *const u8, length: usize) {
    // SAFETY: the caller's room and pattern.
    unsafe { fill(at, pattern, 4, length) };
}

unsafe extern "C" fn pattern8(at: *mut u8, pattern: *const u8, length: usize) {
    // SAFETY: the caller's room and pattern.
    unsafe { fill(at, pattern, 8, length) };
}

unsafe extern "C" fn pattern16(at: *mut u8, pattern: *const u8, length: usize) {
    // SAFETY: the caller's room and pattern.
    unsafe { fill(at, pattern, 16, length) };
}

unsafe extern "C" fn bzero(at: *mut c_void, length: usize) {
    // SAFETY: the caller's room.
    unsafe { libc::memset(at, 0, length) };
}

unsafe extern "C" fn reallocf(at: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's memory, which it gives up.
    unsafe {
        let new = libc::realloc(at, size);
        if new.is_null() && size > 0 {
            libc::free(at);
        }
        new
    }
}

unsafe extern "C" fn malloc_size(at: *const c_void) -> usize {
    // SAFETY: the caller's memory.
    unsafe { libc::malloc_usable_size(at.cast_mut()) }
}

extern "C" fn good_size(size: usize) -> usize {
    size.next_multiple_of(16)
}

/// There is one zone: nothing is known of it but where it is.
static ZONE: [u64; 32] = [0; 32];

extern "C" fn zone() -> *const c_void {
    ZONE.as_ptr().cast()
}

unsafe extern "C" fn zone_of(at: *const c_void) -> *const c_void {
    if at.is_null() { std::ptr::null() } else { zone() }
}

unsafe extern "C" fn zone_malloc(_zone: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: it takes any number.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn zone_calloc(_zone: *mut c_void, count: usize, size: usize) -> *mut c_void {
    // SAFETY: it takes any numbers.
    unsafe { libc::calloc(count, size) }
}

unsafe extern "C" fn zone_realloc(_zone: *mut c_void, at: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's memory.
    unsafe { libc::realloc(at, size) }
}

unsafe extern "C" fn zone_memalign(_zone: *mut c_void, align: usize, size: usize) -> *mut c_void {
    // SAFETY: it takes any numbers.
    unsafe { libc::memalign(align, size) }
}

unsafe extern "C" fn zone_free(_zone: *mut c_void, at: *mut c_void) {
    // SAFETY: the caller's memory.
    unsafe { libc::free(at) };
}

unsafe extern "C" fn zone_name(_zone: *mut c_void, _name: *const c_char) {}

pub(super) fn symbols() -> Symbols {
    vec![
        ("mmap", mmap as *const ()),
        ("madvise", madvise as *const ()),
        ("posix_madvise", madvise as *const ()),
        ("msync", msync as *const ()),
        ("memset_s", memset_s as *const ()),
        ("memset_pattern4", pattern4 as *const ()),
        ("memset_pattern8", pattern8 as *const ()),
        ("memset_pattern16", pattern16 as *const ()),
        ("bzero", bzero as *const ()),
        ("__bzero", bzero as *const ()),
        ("reallocf", reallocf as *const ()),
        ("malloc_size", malloc_size as *const ()),
        ("malloc_good_size", good_size as *const ()),
        ("malloc_default_zone", zone as *const ()),
        ("malloc_create_zone", zone as *const ()),
        ("malloc_zone_from_ptr", zone_of as *const ()),
        ("malloc_zone_malloc", zone_malloc as *const ()),
        ("malloc_zone_calloc", zone_calloc as *const ()),
        ("malloc_zone_realloc", zone_realloc as *const ()),
        ("malloc_zone_memalign", zone_memalign as *const ()),
        ("malloc_zone_free", zone_free as *const ()),
        ("malloc_set_zone_name", zone_name as *const ()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let mut room = [0u8; 11];
        // SAFETY: room and patterns of these sizes.
        unsafe {
            pattern4(room.as_mut_ptr(), b"abcd".as_ptr(), 10);
            assert_eq!(&room, b"abcdabcdab\0");
            assert_eq!(memset_s(room.as_mut_ptr().cast(), 3, 1, 5), 84);
            assert_eq!(&room[..5], &[1, 1, 1, b'd', b'a']);
        }
    }

    #[test]
    fn anonymous_mappings() {
        // SAFETY: a mapping of its own, which is unmapped again.
        unsafe {
            let at = mmap(std::ptr::null_mut(), 4096, 3, 0x1002, 0x0f00_0000, 0);
            assert_ne!(at, libc::MAP_FAILED);
            assert_eq!(*at.cast::<u8>(), 0);
            libc::munmap(at, 4096);
        }
    }
}
