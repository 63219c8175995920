//! Characters and texts: the table of character classes that Darwin's headers read themselves, and functions of
//! BSD's.

use super::Symbols;
use std::ffi::{c_char, c_int};
use std::sync::LazyLock;

/// `_CTYPE_*` (`runetype.h`).
const ALPHA: u32 = 0x100;
const CONTROL: u32 = 0x200;
const DIGIT: u32 = 0x400;
const GRAPH: u32 = 0x800;
const LOWER: u32 = 0x1000;
const PUNCTUATION: u32 = 0x2000;
const SPACE: u32 = 0x4000;
const UPPER: u32 = 0x8000;
const HEXADECIMAL: u32 = 0x1_0000;
const BLANK: u32 = 0x2_0000;
const PRINTABLE: u32 = 0x4_0000;

fn classes(c: u8) -> u32 {
    let when = |is: bool, class| if is { class } else { 0 };
    let value = match c {
        b'0'..=b'9' => u32::from(c - b'0'),
        b'a'..=b'f' => u32::from(c - b'a') + 10,
        b'A'..=b'F' => u32::from(c - b'A') + 10,
        _ => 0,
    };
    value
        | when(c.is_ascii_alphabetic(), ALPHA)
        | when(c.is_ascii_control(), CONTROL)
        | when(c.is_ascii_digit(), DIGIT)
        | when(c.is_ascii_graphic(), GRAPH)
        | when(c.is_ascii_lowercase(), LOWER)
        | when(c.is_ascii_punctuation(), PUNCTUATION)
        | when(c.is_ascii_whitespace() || c == 0x0b, SPACE)
        | when(c.is_ascii_uppercase(), UPPER)
        | when(c.is_ascii_hexdigit(), HEXADECIMAL)
        | when(c == b' ' || c == b'\t', BLANK)
        | when(c.is_ascii_graphic() || c == b' ', PRINTABLE)
}

/// `_RuneLocale` of the C locale: what is before the tables is not used by headers.
#[repr(C)]
struct Locale {
    before: [u32; 15],
    classes: [u32; 256],
    lower: [i32; 256],
    upper: [i32; 256],
    after: [u64; 16],
}

static LOCALE: LazyLock<Box<Locale>> = LazyLock::new(|| {
    let mut locale =
        Locale { before: [0; 15], classes: [0; 256], lower: [0; 256], upper: [0; 256], after: [0; 16] };
    for index in 0..256usize {
        let c = index as u8;
        locale.classes[index] = if c.is_ascii() { classes(c) } else { 0 };
        locale.lower[index] = c.to_ascii_lowercase().into();
        locale.upper[index] = c.to_ascii_uppercase().into();
    }
    Box::new(locale)
});

extern "C" fn maskrune(c: c_int, mask: u64) -> c_int {
    let classes = u8::try_from(c).ok().filter(u8::is_ascii).map_or(0, classes);
    (classes & mask as u32) as c_int
}

extern "C" fn tolower(c: c_int) -> c_int {
    // SAFETY: it takes any number.
    unsafe { libc::tolower(c) }
}

extern "C" fn toupper(c: c_int) -> c_int {
    // SAFETY: it takes any number.
    unsafe { libc::toupper(c) }
}

unsafe extern "C" fn strlcpy(to: *mut c_char, from: *const c_char, room: usize) -> usize {
    // SAFETY: the caller's room and text.
    unsafe {
        let length = libc::strlen(from);
        if room > 0 {
            let count = length.min(room - 1);
            to.copy_from_nonoverlapping(from, count);
            *to.add(count) = 0;
        }
        length
    }
}

unsafe extern "C" fn strlcat(to: *mut c_char, from: *const c_char, room: usize) -> usize {
    // SAFETY: the caller's room and texts.
    unsafe {
        let before = libc::strnlen(to, room);
        before + strlcpy(to.add(before), from, room - before)
    }
}

unsafe extern "C" fn strlcpy_chk(to: *mut c_char, from: *const c_char, room: usize, _all: usize) -> usize {
    // SAFETY: the caller's room and text.
    unsafe { strlcpy(to, from, room) }
}

unsafe extern "C" fn strlcat_chk(to: *mut c_char, from: *const c_char, room: usize, _all: usize) -> usize {
    // SAFETY: the caller's room and texts.
    unsafe { strlcat(to, from, room) }
}

unsafe extern "C" fn strnstr(text: *const c_char, wanted: *const c_char, length: usize) -> *mut c_char {
    // SAFETY: the caller's texts.
    unsafe {
        let length = libc::strnlen(text, length);
        let count = libc::strlen(wanted);
        let found = (0..=length.saturating_sub(count))
            .find(|&at| at + count <= length && libc::strncmp(text.add(at), wanted, count) == 0);
        found.map_or(std::ptr::null_mut(), |at| text.add(at).cast_mut())
    }
}

/// Of the numbers of `nl_langinfo`, those that are asked for: `CODESET` and `RADIXCHAR`.
unsafe extern "C" fn nl_langinfo(item: c_int) -> *const c_char {
    let real = match item {
        0 => libc::CODESET,
        50 => libc::RADIXCHAR,
        51 => libc::THOUSEP,
        _ => return c"".as_ptr(),
    };
    // SAFETY: it takes any of these.
    unsafe { libc::nl_langinfo(real) }
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("_DefaultRuneLocale", (&raw const **LOCALE).cast()),
        ("__maskrune", maskrune as *const ()),
        ("__tolower", tolower as *const ()),
        ("__toupper", toupper as *const ()),
        ("strlcpy", strlcpy as *const ()),
        ("strlcat", strlcat as *const ()),
        ("__strlcpy_chk", strlcpy_chk as *const ()),
        ("__strlcat_chk", strlcat_chk as *const ()),
        ("strnstr", strnstr as *const ()),
        ("nl_langinfo", nl_langinfo as *const ()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_headers_look() {
        assert_eq!(std::mem::offset_of!(Locale, classes), 60);
        assert_eq!(std::mem::offset_of!(Locale, lower), 60 + 1024);
    }

    /// glibc's functions, in the C locale.
    #[test]
    fn classes_are_those_of_c() {
        for c in 0..128u8 {
            let number = c_int::from(c);
            // SAFETY: they take any of these numbers.
            let real = unsafe {
                [
                    (libc::isalpha(number), ALPHA),
                    (libc::iscntrl(number), CONTROL),
                    (libc::isdigit(number), DIGIT),
                    (libc::isgraph(number), GRAPH),
                    (libc::islower(number), LOWER),
                    (libc::ispunct(number), PUNCTUATION),
                    (libc::isspace(number), SPACE),
                    (libc::isupper(number), UPPER),
                    (libc::isxdigit(number), HEXADECIMAL),
                    (libc::isblank(number), BLANK),
                    (libc::isprint(number), PRINTABLE),
                ]
            };
            for (is, class) in real {
                assert_eq!(is != 0, classes(c) & class != 0, "{c} {class:#x}");
            }
        }
    }

    #[test]
    fn texts_that_are_cut() {
        let mut room = [0x55u8; 6];
        // SAFETY: so much room, and texts.
        unsafe {
            assert_eq!(strlcpy(room.as_mut_ptr().cast(), c"abc".as_ptr(), 6), 3);
            assert_eq!(strlcat(room.as_mut_ptr().cast(), c"defg".as_ptr(), 6), 7);
            assert_eq!(&room, b"abcde\0");
            let text = c"one two";
            assert_eq!(strnstr(text.as_ptr(), c"two".as_ptr(), 7), text.as_ptr().add(4).cast_mut());
            assert!(strnstr(text.as_ptr(), c"two".as_ptr(), 6).is_null());
        }
    }
}
