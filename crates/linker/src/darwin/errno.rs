//! Error numbers. Darwin's are Linux's up to 34, but for one, and others from there on.

use std::cell::Cell;
use std::ffi::{c_char, c_int};

/// Linux's number, and Darwin's (`sys/errno.h`).
const NUMBERS: [(c_int, c_int); 47] = [
    (libc::EDEADLK, 11),
    (libc::EAGAIN, 35),
    (libc::EINPROGRESS, 36),
    (libc::EALREADY, 37),
    (libc::ENOTSOCK, 38),
    (libc::EDESTADDRREQ, 39),
    (libc::EMSGSIZE, 40),
    (libc::EPROTOTYPE, 41),
    (libc::ENOPROTOOPT, 42),
    (libc::EPROTONOSUPPORT, 43),
    (libc::ESOCKTNOSUPPORT, 44),
    // One number on Linux, two on Darwin: the one that files and memory give.
    (libc::ENOTSUP, 45),
    (libc::EPFNOSUPPORT, 46),
    (libc::EAFNOSUPPORT, 47),
    (libc::EADDRINUSE, 48),
    (libc::EADDRNOTAVAIL, 49),
    (libc::ENETDOWN, 50),
    (libc::ENETUNREACH, 51),
    (libc::ENETRESET, 52),
    (libc::ECONNABORTED, 53),
    (libc::ECONNRESET, 54),
    (libc::ENOBUFS, 55),
    (libc::EISCONN, 56),
    (libc::ENOTCONN, 57),
    (libc::ESHUTDOWN, 58),
    (libc::ETOOMANYREFS, 59),
    (libc::ETIMEDOUT, 60),
    (libc::ECONNREFUSED, 61),
    (libc::ELOOP, 62),
    (libc::ENAMETOOLONG, 63),
    (libc::EHOSTDOWN, 64),
    (libc::EHOSTUNREACH, 65),
    (libc::ENOTEMPTY, 66),
    (libc::EUSERS, 68),
    (libc::EDQUOT, 69),
    (libc::ESTALE, 70),
    (libc::ENOLCK, 77),
    (libc::ENOSYS, 78),
    (libc::EOVERFLOW, 84),
    (libc::ECANCELED, 89),
    (libc::EIDRM, 90),
    (libc::ENOMSG, 91),
    (libc::EILSEQ, 92),
    (libc::EBADMSG, 94),
    (libc::EPROTO, 100),
    (libc::ETIME, 101),
    (libc::EOWNERDEAD, 105),
];

/// As Darwin numbers it.
pub(super) fn to_darwin(number: c_int) -> c_int {
    let known = NUMBERS.iter().find(|(linux, _)| *linux == number);
    known.map_or(number, |&(_, darwin)| darwin)
}

/// As Linux does.
pub(super) fn to_linux(number: c_int) -> c_int {
    let known = NUMBERS.iter().find(|(_, darwin)| *darwin == number);
    known.map_or(number, |&(linux, _)| linux)
}

thread_local! {
    /// What code that was compiled for Darwin has as `errno`.
    static COPY: Cell<c_int> = const { Cell::new(0) };
}

/// `errno` of such code. Whatever glibc's functions have left in theirs since is moved to it, so that a number that
/// stays is told from one that comes again.
extern "C" fn error() -> *mut c_int {
    // SAFETY: this thread's variable.
    let linux = unsafe { &mut *libc::__errno_location() };
    COPY.with(|copy| {
        if *linux != 0 {
            copy.set(to_darwin(*linux));
            *linux = 0;
        }
        copy.as_ptr()
    })
}

/// Sets glibc's, for shims that fail.
pub(super) fn fail(number: c_int) -> c_int {
    // SAFETY: this thread's variable.
    unsafe { *libc::__errno_location() = number };
    -1
}

unsafe extern "C" fn strerror(number: c_int) -> *mut c_char {
    // SAFETY: it takes any number.
    unsafe { libc::strerror(to_linux(number)) }
}

unsafe extern "C" fn strerror_r(number: c_int, to: *mut c_char, room: usize) -> c_int {
    unsafe extern "C" {
        fn __xpg_strerror_r(number: c_int, to: *mut c_char, room: usize) -> c_int;
    }
    // SAFETY: the caller's room.
    to_darwin(unsafe { __xpg_strerror_r(to_linux(number), to, room) })
}

unsafe extern "C" fn perror(text: *const c_char) {
    // SAFETY: this thread's variables, and the caller's text.
    unsafe {
        *libc::__errno_location() = to_linux(*error());
        libc::perror(text);
    }
}

pub(super) fn symbols() -> super::Symbols {
    vec![
        ("__error", error as *const ()),
        ("strerror", strerror as *const ()),
        ("strerror_r", strerror_r as *const ()),
        ("perror", perror as *const ()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written, read, and come again, as code does that looks for what `strtol` says.
    #[test]
    fn a_number_that_comes_again_is_seen() {
        // SAFETY: this thread's variables.
        unsafe {
            *libc::__errno_location() = libc::EAGAIN;
            assert_eq!(*error(), 35);
            assert_eq!(*error(), 35);
            *error() = 0;
            assert_eq!(*error(), 0);
            *libc::__errno_location() = libc::EAGAIN;
            assert_eq!(*error(), 35);
        }
    }

    #[test]
    fn numbers_there_and_back() {
        for number in 1..=libc::EOWNERDEAD {
            let darwin = to_darwin(number);
            if NUMBERS.iter().any(|(linux, _)| *linux == number) || number <= 34 {
                assert_eq!(to_linux(darwin), number);
            }
        }
    }
}
