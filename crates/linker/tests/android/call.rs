//! Calling what was loaded.

use livepatch_linker::{Flags, Library, Linker, bionic};
use std::path::Path;

/// Loads a library of a package's folder for x86-64, with those of another package beside it.
pub(crate) fn load(fixtures: &Path, package: &str, name: &str) -> Library {
    let folder = |package: &str| fixtures.join(package).join("jni/x86_64");
    let builder = Linker::builder().search_path(folder(package)).search_path(folder(REACT_NATIVE));
    let linker = bionic::add_to(builder).build();
    let path = folder(package).join(name);
    match linker.dlopen(path, Flags::NOW) {
        Ok(library) => library,
        Err(error) => panic!("{error}"),
    }
}

/// Has the libraries that the others need: libc++_shared, libfbjni, libjsi.
pub(crate) const REACT_NATIVE: &str = "react-native-0.70.15";

/// A function of a library.
pub(crate) fn address(library: &Library, name: &str) -> *const () {
    library.symbol(name).expect("the library's function").0 as usize as *const ()
}

/// A function by its name and type.
macro_rules! function {
    ($library:expr, $name:literal, fn($($argument:ty),*) $(-> $result:ty)?) => {
        // SAFETY: the function has this type in the library's own headers, in this ABI.
        unsafe {
            std::mem::transmute::<*const (), unsafe extern "C" fn($($argument),*) $(-> $result)?>(
                crate::call::address($library, $name),
            )
        }
    };
}
pub(crate) use function;
