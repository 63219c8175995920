//! What the system is asked: numbers of `sysconf`, names of `sysctl`, clocks, random bytes, the program.

use super::Symbols;
use super::errno::fail;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::sync::OnceLock;

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

/// Linux's clock for one of Darwin's.
fn clock(id: c_int) -> Option<libc::clockid_t> {
    Some(match id {
        0 => libc::CLOCK_REALTIME,
        4 | 5 => libc::CLOCK_MONOTONIC_RAW,
        6 | 8 | 9 => libc::CLOCK_MONOTONIC,
        12 => libc::CLOCK_PROCESS_CPUTIME_ID,
        16 => libc::CLOCK_THREAD_CPUTIME_ID,
        _ => return None,
    })
}

unsafe extern "C" fn clock_gettime(id: c_int, to: *mut libc::timespec) -> c_int {
    match clock(id) {
        // SAFETY: the caller's room.
        Some(id) => unsafe { libc::clock_gettime(id, to) },
        None => fail(libc::EINVAL),
    }
}

unsafe extern "C" fn clock_getres(id: c_int, to: *mut libc::timespec) -> c_int {
    match clock(id) {
        // SAFETY: the caller's room, or none.
        Some(id) => unsafe { libc::clock_getres(id, to) },
        None => fail(libc::EINVAL),
    }
}

extern "C" fn nanoseconds(id: c_int) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a time.
    unsafe { clock_gettime(id, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(super) extern "C" fn absolute_time() -> u64 {
    nanoseconds(6)
}

/// Absolute times are nanoseconds.
unsafe extern "C" fn timebase(to: *mut [u32; 2]) -> c_int {
    // SAFETY: the caller's room for two numbers.
    unsafe { to.write([1, 1]) };
    0
}

extern "C" fn host() -> u32 {
    1
}

unsafe extern "C" fn random(to: *mut c_void, length: usize) -> c_int {
    let mut done = 0;
    while done < length {
        // SAFETY: the caller's room.
        let got = unsafe { libc::getrandom(to.cast::<u8>().add(done).cast(), length - done, 0) };
        match usize::try_from(got) {
            Ok(got) => done += got,
            Err(_) => std::process::abort(),
        }
    }
    0
}

unsafe extern "C" fn random_buffer(to: *mut c_void, length: usize) {
    // SAFETY: the caller's room.
    unsafe { random(to, length) };
}

extern "C" fn random_number() -> u32 {
    let mut number = 0u32;
    // SAFETY: room for a number.
    unsafe { random((&raw mut number).cast(), 4) };
    number
}

extern "C" fn random_below(bound: u32) -> u32 {
    if bound < 2 {
        return 0;
    }
    // Numbers below this would make small results more frequent.
    let least = bound.wrapping_neg() % bound;
    loop {
        let number = random_number();
        if number >= least {
            return number % bound;
        }
    }
}

/// The first argument is a generator, of which there is one.
unsafe extern "C" fn random_of(_generator: *const c_void, length: usize, to: *mut c_void) -> c_int {
    // SAFETY: the caller's room.
    unsafe { random(to, length) }
}

extern "C" fn no() -> c_int {
    0
}

unsafe extern "C" {
    static program_invocation_short_name: *const c_char;
}

extern "C" fn program_name() -> *const c_char {
    // SAFETY: glibc's variable.
    unsafe { program_invocation_short_name }
}

unsafe extern "C" fn executable_path(to: *mut c_char, room: *mut u32) -> c_int {
    let path = std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned() + "\0";
    // SAFETY: the caller's numbers and room.
    unsafe {
        if (*room as usize) < path.len() {
            *room = path.len() as u32;
            return -1;
        }
        to.copy_from_nonoverlapping(path.as_ptr().cast(), path.len());
    }
    0
}

extern "C" fn environment() -> *const c_void {
    unsafe extern "C" {
        static environ: *const c_void;
    }
    &raw const environ as *const c_void
}

/// The program's arguments, as `_NSGetArgv` has them.
struct Arguments {
    count: c_int,
    texts: *const *const c_char,
}

// SAFETY: numbers and texts that are made once, and never change.
unsafe impl Sync for Arguments {}
// SAFETY: as above.
unsafe impl Send for Arguments {}

fn arguments() -> &'static Arguments {
    static ARGUMENTS: OnceLock<Arguments> = OnceLock::new();
    ARGUMENTS.get_or_init(|| {
        use std::os::unix::ffi::OsStrExt as _;
        let text = |text: std::ffi::OsString| std::ffi::CString::new(text.as_bytes()).unwrap_or_default();
        let mut texts: Vec<_> =
            std::env::args_os().map(|argument| text(argument).into_raw().cast_const()).collect();
        let count = texts.len() as c_int;
        texts.push(std::ptr::null());
        Arguments { count, texts: Vec::leak(texts).as_ptr() }
    })
}

extern "C" fn argument_count() -> *const c_int {
    &raw const arguments().count
}

extern "C" fn argument_texts() -> *const c_void {
    (&raw const arguments().texts).cast()
}

/// glibc has these two in the part that is linked statically.
unsafe extern "C" fn atexit(function: extern "C" fn()) -> c_int {
    // SAFETY: the caller's function.
    unsafe { libc::atexit(function) }
}

type Handler = unsafe extern "C" fn();

unsafe extern "C" fn atfork(
    before: Option<Handler>,
    parent: Option<Handler>,
    child: Option<Handler>,
) -> c_int {
    // SAFETY: the caller's functions.
    unsafe { libc::pthread_atfork(before, parent, child) }
}

unsafe extern "C" fn assertion(
    function: *const c_char,
    file: *const c_char,
    line: c_int,
    expression: *const c_char,
) -> ! {
    let text = |at: *const c_char| match at.is_null() || at as isize == -1 {
        true => std::borrow::Cow::Borrowed("?"),
        // SAFETY: the caller's texts, or none.
        false => unsafe { CStr::from_ptr(at) }.to_string_lossy(),
    };
    eprintln!(
        "Assertion failed: ({}), function {}, file {}, line {line}.",
        text(expression),
        text(function),
        text(file)
    );
    std::process::abort();
}

/// Code with large frames calls it before it uses them, with the size in `rax`, and nothing may change.
#[unsafe(naked)]
unsafe extern "C" fn check_stack() {
    std::arch::naked_asm!("ret")
}

extern "C" fn longest_character() -> c_int {
    unsafe extern "C" {
        fn __ctype_get_mb_cur_max() -> usize;
    }
    // SAFETY: it takes nothing.
    unsafe { __ctype_get_mb_cur_max() as c_int }
}

extern "C" fn clock_service(_host: u32, clock: c_int, to: *mut u32) -> c_int {
    // SAFETY: the caller's room. CALENDAR_CLOCK is 1, which is REALTIME; the others are monotonic.
    unsafe { *to = if clock == 1 { 0 } else { 6 } };
    0
}

/// `mach_timespec_t` has 32 bits for each part.
unsafe extern "C" fn clock_time(clock: u32, to: *mut [u32; 2]) -> c_int {
    let all = nanoseconds(clock as c_int);
    // SAFETY: the caller's room.
    unsafe { to.write([(all / 1_000_000_000) as u32, (all % 1_000_000_000) as u32]) };
    0
}

extern "C" fn port_done(_task: u32, _port: u32) -> c_int {
    0
}

type Compare = unsafe extern "C" fn(*mut c_void, *const c_void, *const c_void) -> c_int;

/// The context is an argument before the function, and its first one.
unsafe extern "C" fn qsort_r(
    at: *mut c_void,
    count: usize,
    size: usize,
    context: *mut c_void,
    compare: Compare,
) {
    struct Both(*mut c_void, Compare);
    unsafe extern "C" fn turned(a: *const c_void, b: *const c_void, both: *mut c_void) -> c_int {
        // SAFETY: what is passed below.
        unsafe {
            let both = &*both.cast::<Both>();
            (both.1)(both.0, a, b)
        }
    }
    unsafe extern "C" {
        #[link_name = "qsort_r"]
        fn real(
            at: *mut c_void,
            count: usize,
            size: usize,
            compare: unsafe extern "C" fn(*const c_void, *const c_void, *mut c_void) -> c_int,
            context: *mut c_void,
        );
    }
    let mut both = Both(context, compare);
    // SAFETY: the caller's array and function.
    unsafe { real(at, count, size, turned, (&raw mut both).cast()) };
}

/// Categories, by Darwin's numbers.
const CATEGORIES: [c_int; 7] = [
    libc::LC_ALL,
    libc::LC_COLLATE,
    libc::LC_CTYPE,
    libc::LC_MONETARY,
    libc::LC_NUMERIC,
    libc::LC_TIME,
    libc::LC_MESSAGES,
];

unsafe extern "C" fn setlocale(category: c_int, name: *const c_char) -> *mut c_char {
    match usize::try_from(category).ok().and_then(|category| CATEGORIES.get(category)) {
        // SAFETY: the caller's text, or none.
        Some(&category) => unsafe { libc::setlocale(category, name) },
        None => std::ptr::null_mut(),
    }
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("sysconf", sysconf as *const ()),
        ("sysctlbyname", sysctlbyname as *const ()),
        ("sysctl", sysctl as *const ()),
        ("clock_gettime", clock_gettime as *const ()),
        ("clock_getres", clock_getres as *const ()),
        ("clock_gettime_nsec_np", nanoseconds as *const ()),
        ("mach_absolute_time", absolute_time as *const ()),
        ("mach_continuous_time", absolute_time as *const ()),
        ("mach_timebase_info", timebase as *const ()),
        ("mach_host_self", host as *const ()),
        ("arc4random", random_number as *const ()),
        ("arc4random_buf", random_buffer as *const ()),
        ("arc4random_uniform", random_below as *const ()),
        ("getentropy", random as *const ()),
        ("CCRandomGenerateBytes", random as *const ()),
        ("SecRandomCopyBytes", random_of as *const ()),
        ("issetugid", no as *const ()),
        ("getprogname", program_name as *const ()),
        ("_NSGetExecutablePath", executable_path as *const ()),
        ("_NSGetEnviron", environment as *const ()),
        ("_NSGetArgc", argument_count as *const ()),
        ("_NSGetArgv", argument_texts as *const ()),
        ("atexit", atexit as *const ()),
        ("pthread_atfork", atfork as *const ()),
        ("__assert_rtn", assertion as *const ()),
        ("___chkstk_darwin", check_stack as *const ()),
        ("__mb_cur_max", longest_character as *const ()),
        ("host_get_clock_service", clock_service as *const ()),
        ("clock_get_time", clock_time as *const ()),
        ("mach_port_deallocate", port_done as *const ()),
        ("qsort_r", qsort_r as *const ()),
        ("setlocale", setlocale as *const ()),
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

    #[test]
    fn random_numbers_stay_below() {
        assert!((0..100).all(|_| random_below(7) < 7));
        assert_eq!(random_below(1), 0);
    }
}
