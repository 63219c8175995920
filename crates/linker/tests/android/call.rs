//! Calling what was loaded.

use livepatch_linker::trace::{Detail, Event, Trace};
use livepatch_linker::{Flags, Library, Linker, bionic};
use std::path::Path;

/// What Android calls this machine.
pub(crate) const ABI: &str = if cfg!(target_arch = "aarch64") { "arm64-v8a" } else { "x86_64" };

/// Loads a library of a package's folder for this machine, with those of another package beside it.
pub(crate) fn load(fixtures: &Path, package: &str, name: &str) -> Library {
    let folder = |package: &str| fixtures.join(package).join("jni").join(ABI);
    let trace = Trace::new(Detail::Phases);
    let builder = Linker::builder().search_path(folder(package)).search_path(folder(REACT_NATIVE));
    let linker = bionic::add_to(builder.trace(&trace)).build();
    let path = folder(package).join(name);
    match linker.dlopen(path, Flags::NOW) {
        Ok(library) => {
            say_relocations(&trace, name);
            library
        }
        Err(error) => panic!("{error}"),
    }
}

/// How many words were changed of which sort, for the table of `cargo xtask android-libraries`.
fn say_relocations(trace: &Trace, name: &str) {
    let counts = trace.records().into_iter().find_map(|record| match record.event {
        Event::Relocate { library, counts } if library.ends_with(name) => Some(counts),
        _ => None,
    });
    if let Some(counts) = counts {
        println!("relocations: {} + {}", counts.relative + counts.symbolic, counts.plt);
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
