//! The libraries that Java has loaded.

use livepatch_linker::{Flags, Library, Linker, LinkerError};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Libraries that stay, by handles, and the linkers that have loaded them.
#[derive(Default)]
struct Libraries {
    /// By the folders that they look into, and whether they are for Android's libraries.
    linkers: HashMap<(String, bool), Linker>,
    /// Handle 1 is the first.
    opened: Vec<Library>,
}

static LIBRARIES: LazyLock<Mutex<Libraries>> = LazyLock::new(Mutex::default);

/// Loads one, looking into folders that are separated by colons, and returns its handle.
pub(crate) fn open(path: &str, folders: &str, bionic: bool) -> Result<i64, LinkerError> {
    let linker = {
        let mut all = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || linker(folders, bionic);
        all.linkers.entry((folders.to_owned(), bionic)).or_insert_with(make).clone()
    };
    // Its initialisers may load libraries, too: nothing is locked here meanwhile.
    let library = linker.dlopen(path, Flags::NOW)?;
    let mut all = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    all.opened.push(library);
    Ok(i64::try_from(all.opened.len()).unwrap_or(i64::MAX))
}

fn linker(folders: &str, bionic: bool) -> Linker {
    let folders = folders.split(':').filter(|folder| !folder.is_empty());
    let builder = folders.fold(Linker::builder(), |builder, folder| builder.search_path(folder));
    #[cfg(all(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        target_os = "linux",
        target_env = "gnu"
    ))]
    if bionic {
        return livepatch_linker::bionic::add_to(builder).build();
    }
    let _ = bionic;
    builder.build()
}

fn with<T>(handle: i64, look: impl FnOnce(&Library) -> T) -> Option<T> {
    let all = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    let index = usize::try_from(handle).ok()?.checked_sub(1)?;
    all.opened.get(index).map(look)
}

/// The functions for native methods that a library exports itself.
pub(crate) fn natives(handle: i64) -> Vec<String> {
    let exported = |library: &Library| library.exported();
    let names = with(handle, exported).unwrap_or_default().into_iter().map(|(name, _)| name);
    names.filter(|name| name.starts_with("Java_")).collect()
}

/// The function of a name that a library exports itself: what it needs has its own `JNI_OnLoad`.
pub(crate) fn symbol(handle: i64, name: &str) -> Option<*mut c_void> {
    let own = |library: &Library| {
        let exports = library.exported().iter().any(|(exported, _)| exported == name);
        exports.then(|| library.symbol(name).ok()).flatten()
    };
    with(handle, own).flatten().map(|at| at.0 as usize as *mut c_void)
}
