//! What the system is asked about itself: numbers of `sysconf`, names of `sysctl`.

use super::Symbols;
use super::errno::fail;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};

/// `_SC_*`: Darwin's, and glibc's (`unistd.h`).
const SYSCONF: [(c_int, c_int); 28] = [
    (1, libc::_SC_ARG_MAX),
    (2, libc::_SC_CHILD_MAX),
    (3, libc::_SC_CLK_TCK),
    (4, libc::_SC_NGROUPS_MAX),
    (5, libc::_SC_OPEN_MAX),
    (6, libc::_SC_JOB_CONTROL),
    (7, libc::_SC_SAVED_IDS),
    (8, libc::_SC_VERSION),
    (15, libc::_SC_LINE_MAX),
    (26, libc::_SC_STREAM_MAX),
    (27, libc::_SC_TZNAME_MAX),
    (29, libc::_SC_PAGESIZE),
    (47, libc::_SC_MAPPED_FILES),
    (56, libc::_SC_IOV_MAX),
    (57, libc::_SC_NPROCESSORS_CONF),
    (58, libc::_SC_NPROCESSORS_ONLN),
    (70, libc::_SC_GETGR_R_SIZE_MAX),
    (71, libc::_SC_GETPW_R_SIZE_MAX),
    (72, libc::_SC_HOST_NAME_MAX),
    (73, libc::_SC_LOGIN_NAME_MAX),
    (74, libc::_SC_MONOTONIC_CLOCK),
    (85, libc::_SC_THREAD_DESTRUCTOR_ITERATIONS),
    (86, libc::_SC_THREAD_KEYS_MAX),
    (93, libc::_SC_THREAD_STACK_MIN),
    (96, libc::_SC_THREADS),
    (101, libc::_SC_TTY_NAME_MAX),
    (120, libc::_SC_SYMLOOP_MAX),
    (200, libc::_SC_PHYS_PAGES),
];

unsafe extern "C" fn sysconf(name: c_int) -> c_long {
    match SYSCONF.iter().find(|(own, _)| *own == name) {
        // SAFETY: it takes any number.
        Some((_, real)) => unsafe { libc::sysconf(*real) },
        None => fail(libc::EINVAL).into(),
    }
}

fn asked(name: c_int) -> u64 {
    // SAFETY: it takes any number.
    u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(0)
}

/// What `sysctl` knows: a number of so many bytes, or a text.
enum Value {
    Int(u64),
    Long(u64),
    Text(&'static CStr),
}

fn processor_has(feature: &str) -> Option<bool> {
    use std::arch::is_x86_feature_detected as has;
    Some(match feature {
        "mmx" | "sse" | "sse2" | "x86_64" | "floatingpoint" => true,
        "sse3" => has!("sse3"),
        "supplementalsse3" => has!("ssse3"),
        "sse4_1" => has!("sse4.1"),
        "sse4_2" => has!("sse4.2"),
        "aes" => has!("aes"),
        "avx1_0" => has!("avx"),
        "f16c" => has!("f16c"),
        "fma" => has!("fma"),
        "avx2_0" => has!("avx2"),
        "bmi1" => has!("bmi1"),
        "bmi2" => has!("bmi2"),
        "adx" => has!("adx"),
        "rdrand" => has!("rdrand"),
        "avx512f" => has!("avx512f"),
        "avx512cd" => has!("avx512cd"),
        "avx512dq" => has!("avx512dq"),
        "avx512bw" => has!("avx512bw"),
        "avx512vl" => has!("avx512vl"),
        _ => return None,
    })
}

fn value(name: &str) -> Option<Value> {
    let processors = || asked(libc::_SC_NPROCESSORS_ONLN);
    Some(match name {
        "hw.ncpu"
        | "hw.logicalcpu"
        | "hw.logicalcpu_max"
        | "hw.physicalcpu"
        | "hw.physicalcpu_max"
        | "hw.activecpu"
        | "machdep.cpu.core_count"
        | "machdep.cpu.thread_count" => Value::Int(processors()),
        "hw.packages" => Value::Int(1),
        "hw.memsize" => Value::Long(asked(libc::_SC_PHYS_PAGES) * asked(libc::_SC_PAGESIZE)),
        "hw.pagesize" => Value::Long(asked(libc::_SC_PAGESIZE)),
        "hw.cachelinesize" => Value::Long(64),
        "hw.l1icachesize" => Value::Long(asked(libc::_SC_LEVEL1_ICACHE_SIZE)),
        "hw.l1dcachesize" => Value::Long(asked(libc::_SC_LEVEL1_DCACHE_SIZE)),
        "hw.l2cachesize" => Value::Long(asked(libc::_SC_LEVEL2_CACHE_SIZE)),
        "hw.l3cachesize" => Value::Long(asked(libc::_SC_LEVEL3_CACHE_SIZE)),
        "hw.cputype" => Value::Int(7),
        "hw.cpu64bit_capable" => Value::Int(1),
        "hw.machine" => Value::Text(c"x86_64"),
        "kern.ostype" => Value::Text(c"Darwin"),
        "kern.osrelease" => Value::Text(c"20.6.0"),
        "kern.osproductversion" => Value::Text(c"11.6"),
        "kern.osversion" => Value::Text(c"20G165"),
        _ => Value::Int(processor_has(name.strip_prefix("hw.optional.")?)?.into()),
    })
}

/// # Safety
/// As of `sysctl`: room for `*length` bytes, if there is any, and for a length.
unsafe fn answer(value: &Value, to: *mut c_void, length: *mut usize) -> c_int {
    let bytes = match value {
        Value::Int(number) => (*number as u32).to_le_bytes().to_vec(),
        Value::Long(number) => number.to_le_bytes().to_vec(),
        Value::Text(text) => text.to_bytes_with_nul().to_vec(),
    };
    // SAFETY: the caller's promise; no more is written than there is room for.
    unsafe {
        if length.is_null() {
            return 0;
        }
        let room = *length;
        if !to.is_null() {
            if room < bytes.len() && !matches!(value, Value::Long(_)) {
                return fail(libc::ENOMEM);
            }
            // A number may be asked for in fewer bytes: its lowest.
            let count = bytes.len().min(room);
            to.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), count);
            *length = count;
            return 0;
        }
        *length = bytes.len();
    }
    0
}

unsafe extern "C" fn sysctlbyname(
    name: *const c_char,
    to: *mut c_void,
    length: *mut usize,
    new: *const c_void,
    _new_length: usize,
) -> c_int {
    // SAFETY: the caller's text.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    match value(&name) {
        Some(_) if !new.is_null() => fail(libc::EPERM),
        // SAFETY: the caller's room.
        Some(value) => unsafe { answer(&value, to, length) },
        None => fail(libc::ENOENT),
    }
}

unsafe extern "C" fn sysctl(
    name: *const c_int,
    parts: u32,
    to: *mut c_void,
    length: *mut usize,
    new: *const c_void,
    _new_length: usize,
) -> c_int {
    const KERN: c_int = 1;
    const HW: c_int = 6;
    if parts < 2 || !new.is_null() {
        return fail(libc::EINVAL);
    }
    // SAFETY: so many parts.
    let (first, second) = unsafe { (*name, *name.add(1)) };
    let known = match (first, second) {
        (HW, 1) => "hw.machine",
        (HW, 3 | 25) => "hw.ncpu",
        (HW, 7) => "hw.pagesize",
        (HW, 24) => "hw.memsize",
        (KERN, 1) => "kern.ostype",
        (KERN, 2) => "kern.osrelease",
        _ => return fail(libc::ENOENT),
    };
    match value(known) {
        // SAFETY: the caller's room.
        Some(value) => unsafe { answer(&value, to, length) },
        None => fail(libc::ENOENT),
    }
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("sysconf", sysconf as *const ()),
        ("sysctlbyname", sysctlbyname as *const ()),
        ("sysctl", sysctl as *const ()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sysctl() {
        let (mut number, mut length) = (0u64, 8usize);
        let mut ask = |name: &CStr| {
            // SAFETY: room for a number.
            unsafe {
                sysctlbyname(name.as_ptr(), (&raw mut number).cast(), &raw mut length, std::ptr::null(), 0)
            }
        };
        assert_eq!(ask(c"hw.memsize"), 0);
        assert_eq!(ask(c"hw.nothing"), -1);
        assert_eq!(length, 8);
        assert!(number > 1 << 20);
    }
}
