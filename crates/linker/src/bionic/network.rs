//! Names of hosts: `addrinfo` has another order than glibc's, and flags and errors have other numbers.

use super::Symbols;
use libc::{addrinfo, c_char, c_int, sockaddr, socklen_t};

/// bionic's `struct addrinfo`.
#[repr(C)]
struct Info {
    flags: c_int,
    family: c_int,
    kind: c_int,
    protocol: c_int,
    length: socklen_t,
    name: *mut c_char,
    address: *mut sockaddr,
    next: *mut Info,
    /// Ours: all of glibc's list, in the first element only.
    real: *mut addrinfo,
    /// Ours: how many elements there are, in the first one.
    count: usize,
}

/// `AI_*`: bionic's, and glibc's.
const FLAGS: [(c_int, c_int); 7] = [
    (0x1, libc::AI_PASSIVE),
    (0x2, libc::AI_CANONNAME),
    (0x4, libc::AI_NUMERICHOST),
    (0x8, libc::AI_NUMERICSERV),
    (0x100, libc::AI_ALL),
    (0x400, libc::AI_ADDRCONFIG),
    (0x800, libc::AI_V4MAPPED),
];

/// `NI_*`: bionic's, and glibc's.
const NAME_FLAGS: [(c_int, c_int); 5] = [
    (0x1, libc::NI_NOFQDN),
    (0x2, libc::NI_NUMERICHOST),
    (0x4, libc::NI_NAMEREQD),
    (0x8, libc::NI_NUMERICSERV),
    (0x10, libc::NI_DGRAM),
];

/// `EAI_*`: bionic's, and glibc's.
const ERRORS: [(c_int, c_int); 10] = [
    (2, libc::EAI_AGAIN),
    (3, libc::EAI_BADFLAGS),
    (4, libc::EAI_FAIL),
    (5, libc::EAI_FAMILY),
    (6, libc::EAI_MEMORY),
    (7, libc::EAI_NODATA),
    (8, libc::EAI_NONAME),
    (9, libc::EAI_SERVICE),
    (10, libc::EAI_SOCKTYPE),
    (11, libc::EAI_SYSTEM),
];

fn flags(table: &[(c_int, c_int)], given: c_int) -> c_int {
    let all = table.iter().filter(|(own, _)| given & own != 0);
    all.fold(0, |flags, (_, real)| flags | real)
}

fn error(real: c_int) -> c_int {
    match ERRORS.iter().find(|(_, glibc)| *glibc == real) {
        Some((own, _)) => *own,
        None if real == 0 => 0,
        // EAI_FAIL
        None => 4,
    }
}

unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const Info,
    result: *mut *mut Info,
) -> c_int {
    // SAFETY: texts and hints of the caller's, and its room for an address; glibc's list stays until it is
    // freed with ours, which points into it.
    unsafe {
        let wanted = (!hints.is_null()).then(|| {
            let hints = &*hints;
            let mut wanted: addrinfo = std::mem::zeroed();
            wanted.ai_flags = flags(&FLAGS, hints.flags);
            (wanted.ai_family, wanted.ai_socktype) = (hints.family, hints.kind);
            wanted.ai_protocol = hints.protocol;
            wanted
        });
        let wanted = wanted.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let mut real = std::ptr::null_mut();
        let failed = libc::getaddrinfo(node, service, wanted, &raw mut real);
        if failed != 0 {
            return error(failed);
        }
        result.write(list(real));
    }
    0
}

/// The same list in bionic's order.
///
/// # Safety
/// A list that glibc has made, not empty.
unsafe fn list(real: *mut addrinfo) -> *mut Info {
    let mut all = Vec::new();
    let mut at = real;
    while !at.is_null() {
        // SAFETY: an element of the list.
        let info = unsafe { &*at };
        all.push(Info {
            flags: 0,
            family: info.ai_family,
            kind: info.ai_socktype,
            protocol: info.ai_protocol,
            length: info.ai_addrlen,
            name: info.ai_canonname,
            address: info.ai_addr,
            next: std::ptr::null_mut(),
            real,
            count: 0,
        });
        at = info.ai_next;
    }
    let count = all.len();
    let first = Box::into_raw(all.into_boxed_slice()).cast::<Info>();
    for index in 0..count {
        // SAFETY: elements of what was just made.
        unsafe {
            (*first.add(index)).count = count;
            if index + 1 < count {
                (*first.add(index)).next = first.add(index + 1);
            }
        }
    }
    first
}

unsafe extern "C" fn freeaddrinfo(first: *mut Info) {
    if first.is_null() {
        return;
    }
    // SAFETY: the first element of what `list` has made, which says how many there are.
    unsafe {
        let (real, count) = ((*first).real, (*first).count);
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(first, count)));
        libc::freeaddrinfo(real);
    }
}

unsafe extern "C" fn getnameinfo(
    address: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_room: usize,
    service: *mut c_char,
    service_room: usize,
    given: c_int,
) -> c_int {
    let room = |room: usize| socklen_t::try_from(room).unwrap_or(socklen_t::MAX);
    let given = flags(&NAME_FLAGS, given);
    // SAFETY: the caller's address and room.
    error(unsafe {
        libc::getnameinfo(address, length, host, room(host_room), service, room(service_room), given)
    })
}

unsafe extern "C" fn gai_strerror(own: c_int) -> *const c_char {
    let real = ERRORS.iter().find(|(number, _)| *number == own).map_or(own, |(_, real)| *real);
    // SAFETY: it takes any number.
    unsafe { libc::gai_strerror(real) }
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("getaddrinfo", getaddrinfo as *const ()),
        ("freeaddrinfo", freeaddrinfo as *const ()),
        ("getnameinfo", getnameinfo as *const ()),
        ("gai_strerror", gai_strerror as *const ()),
    ]
}
