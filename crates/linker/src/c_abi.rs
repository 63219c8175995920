//! Loading and closing as C functions: for the agent of a live process, which loads a shared library of this crate to
//! have patch libraries loaded through it.

use crate::{Flags, Library, Linker, TellDebugger};
use std::ffi::{CStr, c_char, c_int};
use std::sync::LazyLock;

/// One for the process: libraries that are loaded later find what earlier ones brought.
static LINKER: LazyLock<Linker> = LazyLock::new(|| Linker::builder().debugger(TellDebugger::Always).build());

/// A library, and where it is.
#[repr(C)]
pub struct Loaded {
    /// What [`livepatch_linker_close`] is given.
    library: *mut Library,
    /// Run-time minus link-time addresses.
    slide: u64,
    /// Its first byte.
    start: u64,
    /// How many bytes from there it takes.
    size: u64,
}

/// Loads the library at `path`, and describes it in `loaded`. Returns 0, or another number where it cannot be loaded:
/// then `message` has the reason, as much of it as fits into `room` bytes, with a zero byte at the end.
///
/// # Safety
/// `path` is a text with a zero byte at its end, `loaded` and `message` are what the function may write to. The
/// library's initialisers run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livepatch_linker_open(
    path: *const c_char,
    loaded: *mut Loaded,
    message: *mut c_char,
    room: usize,
) -> c_int {
    // SAFETY: as the caller promises.
    let path = unsafe { CStr::from_ptr(path) };
    let opened = path.to_str().map_err(|error| error.to_string());
    let opened = opened.and_then(|path| LINKER.dlopen(path, Flags::NOW).map_err(|error| error.to_string()));
    let described = opened.and_then(|library| {
        let (slide, memory) = (library.slide(), library.memory());
        let ((start, size), slide) = memory.zip(slide).ok_or("it is a library of the program's own")?;
        let library = Box::into_raw(Box::new(library));
        Ok(Loaded { library, slide: slide.bits(), start: start.0, size })
    });
    match described {
        Ok(described) => {
            // SAFETY: as the caller promises.
            unsafe { loaded.write(described) };
            0
        }
        Err(reason) => {
            let length = reason.len().min(room.saturating_sub(1));
            if room > 0 {
                // SAFETY: as many bytes as the caller says that there are, or fewer.
                unsafe {
                    message.copy_from_nonoverlapping(reason.as_ptr().cast(), length);
                    message.add(length).write(0);
                }
            }
            1
        }
    }
}

/// Closes a library, and unloads it if nothing else uses it.
///
/// # Safety
/// The library is of [`livepatch_linker_open`], and not closed yet; none of its code is in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livepatch_linker_close(library: *mut Library) {
    // SAFETY: it was made so, once, and is used no more.
    drop(unsafe { Box::from_raw(library) });
}
