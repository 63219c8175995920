//! The program and its environment, random bytes, and what glibc has in its static part.

use super::Symbols;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

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
        ("qsort_r", qsort_r as *const ()),
        ("setlocale", setlocale as *const ()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_stay_below() {
        assert!((0..100).all(|_| random_below(7) < 7));
        assert_eq!(random_below(1), 0);
    }
}
