//! What code that was compiled with `_FORTIFY_SOURCE` calls in place of simple functions. Those that glibc has with
//! the same arguments are glibc's.

use super::Symbols;
use std::ffi::{c_char, c_int, c_void};

/// Ends the process, in bionic's words, if more is asked for than there is room for.
pub(super) fn fits(function: &str, asked: usize, room: usize) {
    if asked > room {
        super::log::fatal(
            "FORTIFY",
            &format!("{function}: prevented {asked}-byte access to {room}-byte buffer"),
        );
    }
}

unsafe extern "C" fn strlen_chk(text: *const c_char, room: usize) -> usize {
    // SAFETY: the caller's text.
    let length = unsafe { libc::strlen(text) };
    fits("strlen", length + 1, room);
    length
}

unsafe extern "C" fn strchr_chk(text: *const c_char, wanted: c_int, room: usize) -> *mut c_char {
    // SAFETY: the caller's text.
    unsafe {
        fits("strchr", libc::strlen(text) + 1, room);
        libc::strchr(text, wanted)
    }
}

unsafe extern "C" fn strrchr_chk(text: *const c_char, wanted: c_int, room: usize) -> *mut c_char {
    // SAFETY: the caller's text.
    unsafe {
        fits("strrchr", libc::strlen(text) + 1, room);
        libc::strrchr(text, wanted)
    }
}

unsafe extern "C" fn memchr_chk(from: *const c_void, wanted: c_int, n: usize, room: usize) -> *mut c_void {
    fits("memchr", n, room);
    // SAFETY: so many bytes are the caller's.
    unsafe { libc::memchr(from, wanted, n) }
}

unsafe extern "C" fn memrchr_chk(from: *const c_void, wanted: c_int, n: usize, room: usize) -> *mut c_void {
    fits("memrchr", n, room);
    // SAFETY: so many bytes are the caller's.
    unsafe { libc::memrchr(from, wanted, n) }
}

unsafe extern "C" fn strncpy_chk2(
    to: *mut c_char,
    from: *const c_char,
    n: usize,
    room: usize,
    from_room: usize,
) -> *mut c_char {
    fits("strncpy", n, room);
    // SAFETY: the caller's text, and as much room as was just checked.
    unsafe {
        fits("strncpy", libc::strnlen(from, n), from_room);
        libc::strncpy(to, from, n)
    }
}

/// `strlcpy` of BSD, which glibc has from 2.38 on only.
unsafe extern "C" fn strlcpy(to: *mut c_char, from: *const c_char, room: usize) -> usize {
    // SAFETY: the caller's text; at most `room` bytes are written.
    unsafe {
        let length = libc::strlen(from);
        if let Some(most) = room.checked_sub(1) {
            let copied = length.min(most);
            std::ptr::copy_nonoverlapping(from, to, copied);
            to.add(copied).write(0);
        }
        length
    }
}

unsafe extern "C" fn strlcat(to: *mut c_char, from: *const c_char, room: usize) -> usize {
    // SAFETY: the caller's texts; at most `room` bytes are written, from the first one's end on.
    unsafe {
        let length = libc::strnlen(to, room);
        match room - length {
            0 => room + libc::strlen(from),
            left => length + strlcpy(to.add(length), from, left),
        }
    }
}

unsafe extern "C" fn strlcpy_chk(to: *mut c_char, from: *const c_char, size: usize, room: usize) -> usize {
    fits("strlcpy", size, room);
    // SAFETY: the caller's text, and as much room as was just checked.
    unsafe { strlcpy(to, from, size) }
}

unsafe extern "C" fn strlcat_chk(to: *mut c_char, from: *const c_char, size: usize, room: usize) -> usize {
    fits("strlcat", size, room);
    // SAFETY: the caller's texts, and as much room as was just checked.
    unsafe { strlcat(to, from, size) }
}

unsafe extern "C" fn umask_chk(mask: libc::mode_t) -> libc::mode_t {
    if mask & !0o777 != 0 {
        super::log::fatal("FORTIFY", &format!("umask: called with invalid mask {mask:o}"));
    }
    // SAFETY: it takes any number.
    unsafe { libc::umask(mask) }
}

unsafe extern "C" fn write_chk(file: c_int, from: *const c_void, n: usize, room: usize) -> isize {
    fits("write", n, room);
    // SAFETY: so many bytes are the caller's.
    unsafe { libc::write(file, from, n) }
}

unsafe extern "C" fn pwrite_chk(file: c_int, from: *const c_void, n: usize, at: i64, room: usize) -> isize {
    fits("pwrite", n, room);
    // SAFETY: so many bytes are the caller's.
    unsafe { libc::pwrite(file, from, n, at) }
}

unsafe extern "C" fn sendto_chk(
    socket: c_int,
    from: *const c_void,
    n: usize,
    room: usize,
    flags: c_int,
    to: *const libc::sockaddr,
    length: libc::socklen_t,
) -> isize {
    fits("sendto", n, room);
    // SAFETY: so many bytes are the caller's, and the address is.
    unsafe { libc::sendto(socket, from, n, flags, to, length) }
}

/// A file's number, if a set has a place for it.
fn place(function: &str, file: c_int, room: usize) -> usize {
    fits(function, size_of::<libc::fd_set>(), room);
    match usize::try_from(file) {
        Ok(file) if file < libc::FD_SETSIZE => file,
        _ => super::log::fatal("FORTIFY", &format!("{function}: file descriptor {file} >= FD_SETSIZE")),
    }
}

unsafe extern "C" fn fd_set_chk(file: c_int, set: *mut u64, room: usize) {
    let file = place("FD_SET", file, room);
    // SAFETY: the set has so many bits.
    unsafe { *set.add(file / 64) |= 1 << (file % 64) };
}

unsafe extern "C" fn fd_clr_chk(file: c_int, set: *mut u64, room: usize) {
    let file = place("FD_CLR", file, room);
    // SAFETY: the set has so many bits.
    unsafe { *set.add(file / 64) &= !(1 << (file % 64)) };
}

unsafe extern "C" fn fd_isset_chk(file: c_int, set: *const u64, room: usize) -> c_int {
    let file = place("FD_ISSET", file, room);
    // SAFETY: the set has so many bits.
    c_int::from(unsafe { *set.add(file / 64) } & (1 << (file % 64)) != 0)
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("__strlen_chk", strlen_chk as *const ()),
        ("__strchr_chk", strchr_chk as *const ()),
        ("__strrchr_chk", strrchr_chk as *const ()),
        ("__memchr_chk", memchr_chk as *const ()),
        ("__memrchr_chk", memrchr_chk as *const ()),
        ("__strncpy_chk2", strncpy_chk2 as *const ()),
        ("strlcpy", strlcpy as *const ()),
        ("strlcat", strlcat as *const ()),
        ("__strlcpy_chk", strlcpy_chk as *const ()),
        ("__strlcat_chk", strlcat_chk as *const ()),
        ("__umask_chk", umask_chk as *const ()),
        ("__write_chk", write_chk as *const ()),
        ("__pwrite_chk", pwrite_chk as *const ()),
        ("__pwrite64_chk", pwrite_chk as *const ()),
        ("__sendto_chk", sendto_chk as *const ()),
        ("__FD_SET_chk", fd_set_chk as *const ()),
        ("__FD_CLR_chk", fd_clr_chk as *const ()),
        ("__FD_ISSET_chk", fd_isset_chk as *const ()),
    ]
}
