//! Files and folders: flags of `open` and `fcntl`, and the layouts of `stat`, `dirent` and `flock`.

use super::Symbols;
use super::errno::fail;
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_long, c_void};

/// Darwin's flags of `open`, and Linux's (`sys/fcntl.h`).
const FLAGS: [(c_int, c_int); 11] = [
    (0x4, libc::O_NONBLOCK),
    (0x8, libc::O_APPEND),
    (0x80, libc::O_SYNC),
    (0x100, libc::O_NOFOLLOW),
    (0x200, libc::O_CREAT),
    (0x400, libc::O_TRUNC),
    (0x800, libc::O_EXCL),
    (0x2_0000, libc::O_NOCTTY),
    (0x10_0000, libc::O_DIRECTORY),
    (0x40_0000, libc::O_DSYNC),
    (0x100_0000, libc::O_CLOEXEC),
];

fn flags_to_linux(flags: c_int) -> c_int {
    FLAGS.iter().filter(|(darwin, _)| flags & darwin != 0).fold(flags & 3, |all, (_, linux)| all | linux)
}

fn flags_to_darwin(flags: c_int) -> c_int {
    FLAGS.iter().filter(|(_, linux)| flags & linux == *linux).fold(flags & 3, |all, (darwin, _)| all | darwin)
}

/// The mode is a variadic argument, which is where a third one is.
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: the caller's text.
    unsafe { libc::open(path, flags_to_linux(flags), mode) }
}

unsafe extern "C" fn openat(at: c_int, path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: the caller's text.
    unsafe { libc::openat(folder(at), path, flags_to_linux(flags), mode) }
}

/// `AT_FDCWD` is another number.
fn folder(at: c_int) -> c_int {
    if at == -2 { libc::AT_FDCWD } else { at }
}

/// `struct flock`.
#[repr(C)]
struct Lock {
    start: i64,
    length: i64,
    pid: i32,
    kind: i16,
    whence: i16,
}

/// Linux's kinds of locks, by Darwin's less 1.
const LOCKS: [c_int; 3] = [libc::F_RDLCK, libc::F_UNLCK, libc::F_WRLCK];

/// # Safety
/// As of `fcntl` with such a command.
unsafe fn lock(file: c_int, command: c_int, lock: *mut Lock) -> c_int {
    // SAFETY: the caller's structure, and one of Linux's.
    unsafe {
        let Some(&kind) = usize::try_from((*lock).kind - 1).ok().and_then(|kind| LOCKS.get(kind)) else {
            return fail(libc::EINVAL);
        };
        let mut real: libc::flock = std::mem::zeroed();
        real.l_type = kind as i16;
        real.l_whence = (*lock).whence;
        (real.l_start, real.l_len) = ((*lock).start, (*lock).length);
        let result = libc::fcntl(file, command, &raw mut real);
        if command == libc::F_GETLK {
            let kind = LOCKS.iter().position(|&kind| kind == c_int::from(real.l_type)).unwrap_or(1);
            let (start, length, pid, whence) = (real.l_start, real.l_len, real.l_pid, real.l_whence);
            *lock = Lock { start, length, pid, kind: kind as i16 + 1, whence };
        }
        result
    }
}

unsafe extern "C" fn fcntl(file: c_int, command: c_int, argument: c_long) -> c_int {
    // SAFETY: arguments as the command takes them: numbers, or the caller's structures and room.
    unsafe {
        match command {
            0..=2 => libc::fcntl(file, command, argument),
            3 => match libc::fcntl(file, libc::F_GETFL) {
                -1 => -1,
                flags => flags_to_darwin(flags),
            },
            4 => libc::fcntl(file, libc::F_SETFL, flags_to_linux(argument as c_int)),
            7 => lock(file, libc::F_GETLK, argument as *mut Lock),
            8 => lock(file, libc::F_SETLK, argument as *mut Lock),
            9 => lock(file, libc::F_SETLKW, argument as *mut Lock),
            // Advice: F_RDADVISE, F_RDAHEAD, F_NOCACHE.
            44 | 45 | 48 => 0,
            50 => {
                let link = format!("/proc/self/fd/{file}\0");
                let got = libc::readlink(link.as_ptr().cast(), argument as *mut c_char, 1023);
                usize::try_from(got).map_or(-1, |length| {
                    *(argument as *mut c_char).add(length) = 0;
                    0
                })
            }
            // F_FULLFSYNC, F_BARRIERFSYNC.
            51 | 85 => libc::fsync(file),
            67 => libc::fcntl(file, libc::F_DUPFD_CLOEXEC, argument),
            _ => fail(libc::EINVAL),
        }
    }
}

/// `struct stat` with inodes of 64 bits.
#[repr(C)]
#[derive(Default)]
struct Stat {
    device: i32,
    mode: u16,
    links: u16,
    inode: u64,
    user: u32,
    group: u32,
    of_device: i32,
    times: [i64; 8],
    size: i64,
    blocks: i64,
    block_size: i32,
    flags: u32,
    generation: u32,
    spare: [i32; 5],
}

/// # Safety
/// Room for Darwin's structure.
unsafe fn filled(result: c_int, real: &libc::stat, to: *mut Stat) -> c_int {
    if result == 0 {
        let times = [
            real.st_atime,
            real.st_atime_nsec,
            real.st_mtime,
            real.st_mtime_nsec,
            real.st_ctime,
            real.st_ctime_nsec,
            // When it was made is not known: not after it was last changed.
            real.st_mtime,
            real.st_mtime_nsec,
        ];
        let stat = Stat {
            device: real.st_dev as i32,
            mode: real.st_mode as u16,
            links: real.st_nlink as u16,
            inode: real.st_ino,
            user: real.st_uid,
            group: real.st_gid,
            of_device: real.st_rdev as i32,
            times,
            size: real.st_size,
            blocks: real.st_blocks,
            block_size: real.st_blksize as i32,
            ..Stat::default()
        };
        // SAFETY: the caller's promise.
        unsafe { to.write(stat) };
    }
    result
}

unsafe extern "C" fn stat(path: *const c_char, to: *mut Stat) -> c_int {
    // SAFETY: the caller's text and room.
    unsafe {
        let mut real = std::mem::zeroed();
        let result = libc::stat(path, &raw mut real);
        filled(result, &real, to)
    }
}

unsafe extern "C" fn lstat(path: *const c_char, to: *mut Stat) -> c_int {
    // SAFETY: the caller's text and room.
    unsafe {
        let mut real = std::mem::zeroed();
        let result = libc::lstat(path, &raw mut real);
        filled(result, &real, to)
    }
}

unsafe extern "C" fn fstat(file: c_int, to: *mut Stat) -> c_int {
    // SAFETY: the caller's room.
    unsafe {
        let mut real = std::mem::zeroed();
        let result = libc::fstat(file, &raw mut real);
        filled(result, &real, to)
    }
}

unsafe extern "C" fn fstatat(at: c_int, path: *const c_char, to: *mut Stat, flags: c_int) -> c_int {
    // AT_SYMLINK_NOFOLLOW is 0x20.
    let flags = if flags & 0x20 != 0 { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    // SAFETY: the caller's text and room.
    unsafe {
        let mut real = std::mem::zeroed();
        let result = libc::fstatat(folder(at), path, &raw mut real, flags);
        filled(result, &real, to)
    }
}

/// `struct dirent` with inodes of 64 bits.
#[repr(C)]
struct Entry {
    inode: u64,
    offset: u64,
    length: u16,
    name_length: u16,
    kind: u8,
    name: [u8; 1024],
}

/// What `readdir` returned last is the caller's until it is called again.
unsafe extern "C" fn readdir(folder: *mut libc::DIR) -> *mut Entry {
    thread_local! {
        static ENTRY: UnsafeCell<Entry> = const {
            UnsafeCell::new(Entry { inode: 0, offset: 0, length: 0, name_length: 0, kind: 0, name: [0; 1024] })
        };
    }
    // SAFETY: the caller's folder; this thread's entry, of which only the caller has a pointer; a name of Linux has
    // 255 bytes at most, and fits.
    unsafe {
        let real = libc::readdir(folder);
        if real.is_null() {
            return std::ptr::null_mut();
        }
        ENTRY.with(|entry| {
            let to = entry.get();
            let name = (&raw const (*real).d_name).cast::<c_char>();
            let length = libc::strnlen(name, 255);
            (*to).inode = (*real).d_ino;
            (*to).kind = (*real).d_type;
            (*to).offset = (*real).d_off as u64;
            (*to).name_length = length as u16;
            (*to).length = (21 + length + 1).next_multiple_of(4) as u16;
            let at = (&raw mut (*to).name).cast::<u8>();
            at.copy_from_nonoverlapping(name.cast(), length);
            *at.add(length) = 0;
            to
        })
    }
}

/// Darwin's own warning about it applies.
unsafe extern "C" fn readdir_r(folder: *mut libc::DIR, to: *mut Entry, result: *mut *mut Entry) -> c_int {
    // SAFETY: the caller's folder and room.
    unsafe {
        let entry = readdir(folder);
        if !entry.is_null() {
            to.copy_from_nonoverlapping(entry, 1);
        }
        *result = if entry.is_null() { entry } else { to };
    }
    0
}

unsafe extern "C" fn basename(path: *mut c_char) -> *mut c_char {
    unsafe extern "C" {
        fn __xpg_basename(path: *mut c_char) -> *mut c_char;
    }
    // SAFETY: the caller's text.
    unsafe { __xpg_basename(path) }
}

/// `struct rlimit` is the same; resources have other numbers, and no limit is another number.
const RESOURCES: [libc::__rlimit_resource_t; 9] = [
    libc::RLIMIT_CPU,
    libc::RLIMIT_FSIZE,
    libc::RLIMIT_DATA,
    libc::RLIMIT_STACK,
    libc::RLIMIT_CORE,
    libc::RLIMIT_AS,
    libc::RLIMIT_MEMLOCK,
    libc::RLIMIT_NPROC,
    libc::RLIMIT_NOFILE,
];
const NO_LIMIT: u64 = i64::MAX as u64;

unsafe extern "C" fn getrlimit(resource: c_int, to: *mut libc::rlimit) -> c_int {
    let Some(&resource) = usize::try_from(resource).ok().and_then(|index| RESOURCES.get(index)) else {
        return fail(libc::EINVAL);
    };
    // SAFETY: the caller's room.
    unsafe {
        let result = libc::getrlimit(resource, to);
        if result == 0 {
            (*to).rlim_cur = (*to).rlim_cur.min(NO_LIMIT);
            (*to).rlim_max = (*to).rlim_max.min(NO_LIMIT);
        }
        result
    }
}

unsafe extern "C" fn setrlimit(resource: c_int, from: *const libc::rlimit) -> c_int {
    let Some(&resource) = usize::try_from(resource).ok().and_then(|index| RESOURCES.get(index)) else {
        return fail(libc::EINVAL);
    };
    let limit = |limit| if limit == NO_LIMIT { libc::RLIM_INFINITY } else { limit };
    // SAFETY: the caller's structure.
    unsafe {
        let limits = libc::rlimit { rlim_cur: limit((*from).rlim_cur), rlim_max: limit((*from).rlim_max) };
        libc::setrlimit(resource, &raw const limits)
    }
}

/// `struct utsname` has five texts of 256 bytes.
unsafe extern "C" fn uname(to: *mut c_void) -> c_int {
    let texts = [c"Darwin", c"localhost", c"20.6.0", c"Darwin Kernel Version 20.6.0 (livepatch)", c"x86_64"];
    for (index, text) in texts.into_iter().enumerate() {
        // SAFETY: the caller's room.
        unsafe { libc::strcpy(to.cast::<c_char>().add(index * 256), text.as_ptr()) };
    }
    0
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("open", open as *const ()),
        ("openat", openat as *const ()),
        ("fcntl", fcntl as *const ()),
        ("stat$INODE64", stat as *const ()),
        ("lstat$INODE64", lstat as *const ()),
        ("fstat$INODE64", fstat as *const ()),
        ("fstatat$INODE64", fstatat as *const ()),
        ("readdir$INODE64", readdir as *const ()),
        ("readdir_r$INODE64", readdir_r as *const ()),
        ("basename", basename as *const ()),
        ("getrlimit", getrlimit as *const ()),
        ("setrlimit", setrlimit as *const ()),
        ("uname", uname as *const ()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Apple's headers lay them out.
    #[test]
    fn layouts() {
        assert_eq!(size_of::<Stat>(), 144);
        assert_eq!(std::mem::offset_of!(Stat, inode), 8);
        assert_eq!(std::mem::offset_of!(Stat, times), 32);
        assert_eq!(std::mem::offset_of!(Stat, size), 96);
        assert_eq!(std::mem::offset_of!(Stat, block_size), 112);
        assert_eq!(std::mem::offset_of!(Entry, name), 21);
        assert_eq!(size_of::<Lock>(), 24);
    }

    #[test]
    fn flags() {
        assert_eq!(
            flags_to_linux(0x100_0601),
            libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC
        );
        assert_eq!(flags_to_darwin(libc::O_RDWR | libc::O_APPEND | libc::O_NONBLOCK), 2 | 8 | 4);
    }
}
