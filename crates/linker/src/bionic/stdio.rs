//! Streams. Android code before API level 23 has `stdin` and its kin as elements of `__sF`; glibc knows nothing of
//! such. Each function that takes a `FILE *` begins with a few instructions that put glibc's in place of them.

use super::Symbols;
use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};

/// `struct __sFILE` of bionic on 64-bit machines, of which only the size matters: its first word is used to
/// say which of glibc's streams it is.
#[repr(C)]
struct Stream {
    real: *mut c_void,
    rest: [u8; 144],
}

/// `__sF`: standard input, output and error.
#[repr(C, align(16))]
struct Streams(UnsafeCell<[Stream; 3]>);

// SAFETY: it is written by `prepare` only, always with the same values, before any library is loaded that knows of
// it.
unsafe impl Sync for Streams {}

const NONE: Stream = Stream { real: std::ptr::null_mut(), rest: [0; 144] };
static STREAMS: Streams = Streams(UnsafeCell::new([NONE; 3]));
/// Bytes of it.
const SIZE: usize = size_of::<Streams>();

unsafe extern "C" {
    static stdin: *mut c_void;
    static stdout: *mut c_void;
    static stderr: *mut c_void;
}

/// Writes down which of glibc's streams are meant.
pub(super) fn prepare() {
    let at = STREAMS.0.get().cast::<Stream>();
    // SAFETY: glibc's variables, and elements of an array of three; see `Streams` for who else uses it.
    unsafe {
        for (index, real) in [stdin, stdout, stderr].into_iter().enumerate() {
            (&raw mut (*at.add(index)).real).write(real);
        }
    }
}

/// Functions with the stream in that register (x86-64, AArch64), each under its own name: all registers but that one
/// and two that calls may change are as they were, so that any further arguments reach glibc's function.
macro_rules! streams {
    ($($register:literal $wide:literal: $($name:ident)*;)*) => {
        mod real {
            unsafe extern "C" {
                $($(pub(super) fn $name();)*)*
            }
        }

        mod ours {
            use super::{SIZE, STREAMS, naked_asm, real};
            $($(
                #[unsafe(naked)]
                pub(super) unsafe extern "C" fn $name() {
                    #[cfg(target_arch = "aarch64")]
                    naked_asm!(
                        "adrp x16, {streams}",
                        "add x16, x16, :lo12:{streams}",
                        concat!("sub x17, ", $wide, ", x16"),
                        "cmp x17, {size}",
                        "b.hs 2f",
                        concat!("ldr ", $wide, ", [", $wide, "]"),
                        "2: b {real}",
                        streams = sym STREAMS,
                        size = const SIZE,
                        real = sym real::$name,
                    );
                    #[cfg(target_arch = "x86_64")]
                    naked_asm!(
                        "lea r11, [rip + {streams}]",
                        concat!("mov r10, ", $register),
                        "sub r10, r11",
                        "cmp r10, {size}",
                        "jae 2f",
                        concat!("mov ", $register, ", [", $register, "]"),
                        "2: jmp qword ptr [rip + {real}@GOTPCREL]",
                        streams = sym STREAMS,
                        size = const SIZE,
                        real = sym real::$name,
                    )
                }
            )*)*
        }

        /// Those, and those that have more to do.
        pub(super) fn symbols() -> Symbols {
            let mut all: Symbols = vec![$($((stringify!($name), ours::$name as *const ()),)*)*];
            all.extend(others());
            all
        }
    };
}

streams! {
    "rdi" "x0":
        clearerr clearerr_unlocked fclose feof feof_unlocked ferror ferror_unlocked fflush fflush_unlocked fgetc
        fgetwc fileno fileno_unlocked flockfile fprintf fscanf fseek fseeko fseeko64 ftell ftello ftello64
        ftrylockfile funlockfile fwide fwprintf fwscanf getc getc_unlocked getw getwc pclose rewind setbuf setbuffer
        setlinebuf setvbuf vfprintf vfscanf vfwprintf vfwscanf __fpending __fpurge __freadable __freading
        __fwritable __fwriting __fbufsize __flbf __fsetlocking __fprintf_chk __vfprintf_chk;
    "rsi" "x1":
        fputc fputc_unlocked fputs fputs_unlocked fputwc fputws putc putc_unlocked putw putwc ungetc ungetwc;
    "rdx" "x2":
        fgets fgets_unlocked fgetws freopen freopen64 getline;
    "rcx" "x3":
        fread fread_unlocked fwrite fwrite_unlocked getdelim;
}

/// The stream that is meant.
fn real(stream: *mut c_void) -> *mut c_void {
    let offset = (stream as usize).wrapping_sub(STREAMS.0.get() as usize);
    match offset < SIZE {
        // SAFETY: an address within the array, whose elements begin with this.
        true => unsafe { stream.cast::<*mut c_void>().read() },
        false => stream,
    }
}

/// `fpos_t` is an offset for bionic; glibc's has more.
unsafe extern "C" fn fgetpos(stream: *mut c_void, position: *mut i64) -> c_int {
    // SAFETY: the caller's stream, and room for an offset.
    unsafe {
        let at = libc::ftello(real(stream).cast());
        if at < 0 {
            return -1;
        }
        position.write(at);
    }
    0
}

unsafe extern "C" fn fsetpos(stream: *mut c_void, position: *const i64) -> c_int {
    // SAFETY: the caller's stream, and an offset.
    unsafe { libc::fseeko(real(stream).cast(), position.read(), libc::SEEK_SET) }
}

/// bionic says the room at the end.
unsafe extern "C" fn fgets_chk(text: *mut u8, size: c_int, stream: *mut c_void, room: usize) -> *mut u8 {
    super::checks::fits("fgets", size.max(0).cast_unsigned() as usize, room);
    // SAFETY: the caller's stream, and so much room.
    unsafe { libc::fgets(text.cast(), size, real(stream).cast()).cast() }
}

unsafe extern "C" fn fread_chk(
    to: *mut c_void,
    size: usize,
    count: usize,
    stream: *mut c_void,
    room: usize,
) -> usize {
    super::checks::fits("fread", size.saturating_mul(count), room);
    // SAFETY: the caller's stream, and so much room.
    unsafe { libc::fread(to, size, count, real(stream).cast()) }
}

unsafe extern "C" fn fwrite_chk(
    from: *const c_void,
    size: usize,
    count: usize,
    stream: *mut c_void,
    room: usize,
) -> usize {
    super::checks::fits("fwrite", size.saturating_mul(count), room);
    // SAFETY: the caller's stream, and so many bytes.
    unsafe { libc::fwrite(from, size, count, real(stream).cast()) }
}

fn others() -> Symbols {
    vec![
        ("__sF", STREAMS.0.get() as *const ()),
        ("fgetpos", fgetpos as *const ()),
        ("fgetpos64", fgetpos as *const ()),
        ("fsetpos", fsetpos as *const ()),
        ("fsetpos64", fsetpos as *const ()),
        ("__fgets_chk", fgets_chk as *const ()),
        ("__fread_chk", fread_chk as *const ()),
        ("__fwrite_chk", fwrite_chk as *const ()),
    ]
}
