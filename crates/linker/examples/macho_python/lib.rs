//! A C interface of the Mach-O linker, small enough for `ctypes`: with `macho_import.py` beside it, CPython on Linux
//! imports extension modules that were built for macOS.
//!
//! ```console
//! $ cargo build --release -p livepatch-linker --example macho_python
//! $ PYTHONPATH=crates/linker/examples/macho_python python3 -c '
//! import macho_import; macho_import.install("target/release/examples/libmacho_python.so", "wheels")
//! import lz4.block; print(lz4.block.decompress(lz4.block.compress(b"text")))'
//! ```

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod c {
    use livepatch_linker::macho::{Library, Linker, LinkerBuilder, Mode};
    use livepatch_linker::trace::{Detail, Trace};
    use livepatch_linker::{Precedence, Trap, darwin};
    use std::ffi::{CStr, CString, c_char, c_int, c_void};
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    static ERROR: Mutex<Option<CString>> = Mutex::new(None);

    fn failed<T>(error: &dyn std::fmt::Display, nothing: T) -> T {
        let text = CString::new(error.to_string()).unwrap_or_default();
        *ERROR.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        nothing
    }

    /// All images of the process have one linker; what nobody defines is trapped when it is called.
    fn linker() -> &'static Linker {
        static LINKER: OnceLock<Linker> = OnceLock::new();
        LINKER.get_or_init(|| {
            let trace = Trace::new(Detail::Phases);
            let folders = std::env::var("LIVEPATCH_MACHO_PATH").unwrap_or_default();
            let folders = folders.split(':').filter(|folder| !folder.is_empty());
            let builder = folders.fold(Linker::builder(), |builder, folder| builder.search_path(folder));
            let builder: LinkerBuilder = darwin::add_to(builder).trace(&trace);
            builder.provider(Precedence::Last, Arc::new(Trap::new())).build()
        })
    }

    /// Loads an image; null if it cannot be loaded. Images stay for good.
    ///
    /// # Safety
    /// A text that ends with a NUL. Its initializers run.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn macho_open(path: *const c_char, lazily: c_int) -> *const c_void {
        // SAFETY: the caller's text.
        let path = unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned();
        let mode = if lazily != 0 { Mode::Lazy } else { Mode::Now };
        match linker().dlopen(path, mode) {
            Ok(library) => Box::into_raw(Box::new(library)).cast_const().cast(),
            Err(error) => failed(&error, std::ptr::null()),
        }
    }

    /// The address of a symbol of an image; null if it has none.
    ///
    /// # Safety
    /// What `macho_open` has returned, and a text that ends with a NUL.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn macho_symbol(image: *const c_void, name: *const c_char) -> *const c_void {
        // SAFETY: the caller's image and text.
        let (image, name) = unsafe { (&*image.cast::<Library>(), CStr::from_ptr(name)) };
        match image.symbol(&name.to_string_lossy()) {
            Ok(at) => at.0 as usize as *const c_void,
            Err(error) => failed(&error, std::ptr::null()),
        }
    }

    /// How often the binder was called for an image.
    ///
    /// # Safety
    /// What `macho_open` has returned.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn macho_binder_calls(image: *const c_void) -> u64 {
        // SAFETY: the caller's image.
        unsafe { &*image.cast::<Library>() }.binder_calls()
    }

    /// What went wrong last; the text stays until something else does.
    #[unsafe(no_mangle)]
    extern "C" fn macho_error() -> *const c_char {
        let error = ERROR.lock().unwrap_or_else(PoisonError::into_inner);
        error.as_ref().map_or(c"".as_ptr(), |text| text.as_ptr())
    }
}
