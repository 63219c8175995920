//! Another dynamic linker than the process's own: a shared library with two C functions (`livepatch-linker`, feature
//! `c-abi`), which stays loaded once it is.

use super::address::Span;
use super::loader::{self, LoadedImage, Placement, rejected};
use livepatch_proto::ApplyError;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// Room for the reason why something is not loaded.
const MESSAGE: usize = 1024;

/// What the linker says of a library (`livepatch_linker::c_abi::Loaded`).
#[repr(C)]
struct Loaded {
    library: *mut c_void,
    slide: u64,
    start: u64,
    size: u64,
}

type Open = unsafe extern "C" fn(*const c_char, *mut Loaded, *mut c_char, usize) -> c_int;
type Close = unsafe extern "C" fn(*mut c_void);

/// The linker's functions.
#[derive(Clone, Copy)]
pub(crate) struct Linker {
    open: Open,
    close: Close,
}

/// A library that it has loaded.
#[derive(Debug)]
pub(crate) struct Library {
    library: *mut c_void,
    close: Close,
    placement: Placement,
}

impl Linker {
    /// The linker of this process: the library at `path`, where none was loaded before.
    pub(crate) fn get(path: &str) -> Result<Self, ApplyError> {
        static LINKER: OnceLock<Linker> = OnceLock::new();
        if let Some(linker) = LINKER.get() {
            return Ok(*linker);
        }
        let linker = Self::load(path)?;
        Ok(*LINKER.get_or_init(|| linker))
    }

    fn load(path: &str) -> Result<Self, ApplyError> {
        let name = CString::new(path).map_err(|_| rejected("a path with a zero byte".to_owned()))?;
        // SAFETY: what the server sends it means to run here, and this library's initialisers are Rust's. The two
        // functions are of these types, as its source says; a library that has only one is not it. It is never
        // unloaded.
        unsafe {
            let handle = libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            if handle.is_null() {
                return Err(rejected(loader::last_error()));
            }
            let open = libc::dlsym(handle, c"livepatch_linker_open".as_ptr());
            let close = libc::dlsym(handle, c"livepatch_linker_close".as_ptr());
            if open.is_null() || close.is_null() {
                return Err(rejected(format!("{path} is no linker: {}", loader::last_error())));
            }
            Ok(Self {
                open: std::mem::transmute::<*mut c_void, Open>(open),
                close: std::mem::transmute::<*mut c_void, Close>(close),
            })
        }
    }

    /// Loads a library.
    pub(crate) fn open(self, path: &str) -> Result<(LoadedImage, Placement), ApplyError> {
        let name = CString::new(path).map_err(|_| rejected("a path with a zero byte".to_owned()))?;
        let mut loaded = Loaded { library: std::ptr::null_mut(), slide: 0, start: 0, size: 0 };
        let mut message = [0u8; MESSAGE];
        // SAFETY: a text, and room for what is written; the library's initialisers are those of a patch.
        let failed = unsafe {
            (self.open)(name.as_ptr(), &raw mut loaded, message.as_mut_ptr().cast(), message.len())
        };
        if failed != 0 {
            let end = message.iter().position(|&byte| byte == 0).unwrap_or(0);
            return Err(rejected(String::from_utf8_lossy(&message[..end]).into_owned()));
        }
        let Loaded { library, slide, start, size } = loaded;
        let close = self.close;
        let Some(span) = Span::new(start, size) else {
            // SAFETY: just opened, and not used.
            unsafe { close(library) };
            return Err(rejected("its memory is no range".to_owned()));
        };
        let placement = Placement { bias: slide, span };
        Ok((LoadedImage::Other(Library { library, close, placement }), placement))
    }
}

impl Library {
    /// Where it is.
    pub(crate) fn placement(&self) -> Placement {
        self.placement
    }

    /// Unloads it: nothing points into it.
    pub(crate) fn close(self) {
        // SAFETY: it is open, and given back once.
        unsafe { (self.close)(self.library) };
    }
}
