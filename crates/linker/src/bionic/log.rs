//! Logging, on standard error, one line for each message as `logcat -v brief` shows it; and messages of processes
//! that end themselves.

use super::Symbols;
use std::arch::naked_asm;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write as _;

const FATAL: c_int = 7;

/// Writes a message.
fn write(priority: c_int, tag: &str, text: &str) -> c_int {
    // `android_LogPriority`.
    let letter = match priority {
        2 => 'V',
        3 => 'D',
        4 => 'I',
        5 => 'W',
        6 => 'E',
        FATAL => 'F',
        _ => '?',
    };
    let line = format!("{letter}/{tag}: {}\n", text.trim_end_matches('\n'));
    // Whoever reads it may have gone.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    1
}

/// Says why, and ends the process as `abort` does.
pub(super) fn fatal(tag: &str, text: &str) -> ! {
    write(FATAL, tag, text);
    std::process::abort()
}

/// A text that may not be there.
fn text(at: *const c_char) -> String {
    match at.is_null() {
        true => String::new(),
        // SAFETY: what callers pass is a text ended by a NUL; see the module's callers.
        false => unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned(),
    }
}

/// A text with values put in, as `vsnprintf` does it; `list` is a `va_list`.
fn formatted(format: *const c_char, list: *mut c_void) -> String {
    unsafe extern "C" {
        fn vsnprintf(to: *mut c_char, room: usize, format: *const c_char, list: *mut c_void) -> c_int;
    }
    // As long as bionic's own messages can be.
    let mut room = vec![0u8; 1024];
    // SAFETY: as much room as is said, the caller's format, and the arguments that go with it.
    unsafe { vsnprintf(room.as_mut_ptr().cast(), room.len(), format, list) };
    CStr::from_bytes_until_nul(&room).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A function with further arguments behind its named ones, of which there are three or four: puts all argument
/// registers where a `va_list` says they are, and passes that on behind the named ones. (System V ABI, AMD64 supplement,
/// "Variable Argument Lists"; Procedure Call Standard for the Arm 64-bit Architecture, "Variable argument lists".)
macro_rules! with_list {
    ($name:ident, $named:literal, $list:literal, $wide:literal, $to:path) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "sub rsp, 208",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], rcx",
                "mov [rsp + 32], r8",
                "mov [rsp + 40], r9",
                "test al, al",
                "je 2f",
                "movaps [rsp + 48], xmm0",
                "movaps [rsp + 64], xmm1",
                "movaps [rsp + 80], xmm2",
                "movaps [rsp + 96], xmm3",
                "movaps [rsp + 112], xmm4",
                "movaps [rsp + 128], xmm5",
                "movaps [rsp + 144], xmm6",
                "movaps [rsp + 160], xmm7",
                "2: mov dword ptr [rsp + 176], 8 * {named}",
                "mov dword ptr [rsp + 180], 48",
                "lea r10, [rbp + 16]",
                "mov [rsp + 184], r10",
                "mov [rsp + 192], rsp",
                concat!("lea ", $list, ", [rsp + 176]"),
                "call {to}",
                "leave",
                "ret",
                named = const $named,
                to = sym $to,
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                "stp x29, x30, [sp, -16]!",
                "mov x29, sp",
                "sub sp, sp, 224",
                "stp x0, x1, [sp]",
                "stp x2, x3, [sp, 16]",
                "stp x4, x5, [sp, 32]",
                "stp x6, x7, [sp, 48]",
                "stp q0, q1, [sp, 64]",
                "stp q2, q3, [sp, 96]",
                "stp q4, q5, [sp, 128]",
                "stp q6, q7, [sp, 160]",
                // Where those on the stack begin, where the saved registers end, and how far behind their beginnings.
                "add x9, x29, 16",
                "str x9, [sp, 192]",
                "add x9, sp, 64",
                "str x9, [sp, 200]",
                "add x9, sp, 192",
                "str x9, [sp, 208]",
                "mov w9, 8 * ({named} - 8)",
                "str w9, [sp, 216]",
                "mov w9, -128",
                "str w9, [sp, 220]",
                concat!("add ", $wide, ", sp, 192"),
                "bl {to}",
                "mov sp, x29",
                "ldp x29, x30, [sp], 16",
                "ret",
                named = const $named,
                to = sym $to,
            )
        }
    };
}

with_list!(print, 3, "rcx", "x3", vprint);
with_list!(assert, 3, "rcx", "x3", vassert);
with_list!(buf_print, 4, "r8", "x4", buf_vprint);

unsafe extern "C" fn vprint(
    priority: c_int,
    tag: *const c_char,
    format: *const c_char,
    list: *mut c_void,
) -> c_int {
    write(priority, &text(tag), &formatted(format, list))
}

unsafe extern "C" fn buf_vprint(
    _buffer: c_int,
    priority: c_int,
    tag: *const c_char,
    format: *const c_char,
    list: *mut c_void,
) -> c_int {
    write(priority, &text(tag), &formatted(format, list))
}

unsafe extern "C" fn vassert(
    condition: *const c_char,
    tag: *const c_char,
    format: *const c_char,
    list: *mut c_void,
) -> c_int {
    let message = match format.is_null() {
        false => formatted(format, list),
        true if condition.is_null() => "Unspecified assertion failed".to_owned(),
        true => format!("Assertion failed: {}", text(condition)),
    };
    fatal(&text(tag), &message)
}

unsafe extern "C" fn log_write(priority: c_int, tag: *const c_char, message: *const c_char) -> c_int {
    write(priority, &text(tag), &text(message))
}

unsafe extern "C" fn buf_write(
    _buffer: c_int,
    priority: c_int,
    tag: *const c_char,
    message: *const c_char,
) -> c_int {
    write(priority, &text(tag), &text(message))
}

unsafe extern "C" fn is_loggable(priority: c_int, _tag: *const c_char, default: c_int) -> c_int {
    c_int::from(priority >= default)
}

unsafe extern "C" fn set_abort_message(message: *const c_char) {
    write(FATAL, "abort message", &text(message));
}

unsafe extern "C" fn assert2(
    file: *const c_char,
    line: c_int,
    function: *const c_char,
    expression: *const c_char,
) -> ! {
    let (file, function, expression) = (text(file), text(function), text(expression));
    fatal("libc", &format!("{file}:{line}: {function}: assertion \"{expression}\" failed"))
}

unsafe extern "C" fn assert1(file: *const c_char, line: c_int, expression: *const c_char) -> ! {
    fatal("libc", &format!("{}:{line}: assertion \"{}\" failed", text(file), text(expression)))
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("__android_log_print", print as *const ()),
        ("__android_log_vprint", vprint as *const ()),
        ("__android_log_write", log_write as *const ()),
        ("__android_log_assert", assert as *const ()),
        ("__android_log_buf_print", buf_print as *const ()),
        ("__android_log_buf_write", buf_write as *const ()),
        ("__android_log_is_loggable", is_loggable as *const ()),
        ("android_set_abort_message", set_abort_message as *const ()),
        ("__assert2", assert2 as *const ()),
        ("__assert", assert1 as *const ()),
    ]
}
