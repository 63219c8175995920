//! Loading a patch library. Hazard: its constructors run, and nothing of it may be used once it is closed.

use std::ffi::{CStr, CString, c_void};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A library that this process has loaded, and keeps unless [`Library::close`] is called.
#[derive(Debug)]
pub(crate) struct Library(*mut c_void);

impl Library {
    /// Loads the library at `path`, which must not be loaded yet. Nothing in it is found by others' names, nor
    /// are its own names looked for later than now.
    ///
    /// # Safety
    ///
    /// What runs when the library is loaded must be sound to run now.
    pub(crate) unsafe fn open(path: &Path) -> Result<Self, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "a path with a zero byte")?;
        let open = |flags| {
            // SAFETY: the name is NUL-terminated; the caller vouches for what runs.
            let handle = unsafe { libc::dlopen(name.as_ptr(), flags | libc::RTLD_NOW | libc::RTLD_LOCAL) };
            (!handle.is_null()).then_some(Self(handle))
        };
        if let Some(loaded) = open(libc::RTLD_NOLOAD) {
            loaded.close();
            return Err("this file is loaded already".to_owned());
        }
        // What the first attempt complained about is of no interest.
        let _ = last_error();
        open(0).ok_or_else(last_error)
    }

    /// As [`Library::open`], of bytes: they lie in a file of their own while they are loaded.
    ///
    /// # Safety
    ///
    /// As for [`Library::open`].
    pub(crate) unsafe fn open_bytes(bytes: &[u8], folder: &Path) -> Result<Self, String> {
        let (path, mut file) =
            fresh_file(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let written = file.write_all(bytes).map_err(|error| format!("{}: {error}", path.display()));
        drop(file);
        // SAFETY: the caller vouches for the library.
        let opened = written.and_then(|()| unsafe { Self::open(&path) });
        // The dynamic linker has mapped what it needs; a file that cannot be removed does no harm.
        let _ = std::fs::remove_file(&path);
        opened
    }

    /// The run-time address of one of its own symbols.
    pub(crate) fn symbol(&self, name: &CStr) -> Option<usize> {
        // SAFETY: the handle is open; `dlsym` only reads the name.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) } as usize;
        (address != 0).then_some(address)
    }

    /// Unloads the library, which nothing points into.
    pub(crate) fn close(self) {
        // SAFETY: the handle came from `dlopen` and is used no more.
        unsafe { libc::dlclose(self.0) };
    }
}

/// A file that did not exist before, which only this user can read.
fn fresh_file(folder: &Path) -> io::Result<(PathBuf, File)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("livepatch-{}-{number}.so", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (path, file)),
        }
    }
}

/// What the dynamic linker last complained about in this thread.
fn last_error() -> String {
    // SAFETY: `dlerror` returns null or a string that stays until this thread's next dl* call.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            "no reason given".to_owned()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}

/// Where the program's references to a name lead, as far as the dynamic linker knows.
pub(crate) fn global_symbol(name: &str) -> Option<u64> {
    let name = CString::new(name).ok()?;
    // SAFETY: `dlsym` only reads the name; resolvers of indirect functions may run at any time.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as u64;
    (address != 0).then_some(address)
}
