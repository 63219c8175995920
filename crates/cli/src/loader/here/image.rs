//! What was loaded, whatever its format.

use super::super::arguments::LoadArgs;
use livepatch_linker::Library;
use livepatch_linker::trace::Trace;
use livepatch_object::address::RuntimeAddress;
use std::io::Read as _;
use std::path::Path;

/// An image that was loaded.
pub(super) enum Image {
    Elf(Library),
    #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
    Macho(livepatch_linker::macho::Library),
}

impl Image {
    pub(super) fn path(&self) -> String {
        match self {
            Self::Elf(library) => library.path(),
            #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
            Self::Macho(library) => library.path().to_owned(),
        }
    }

    /// The address of a function, by its name of C or the file's.
    pub(super) fn symbol(&self, name: &str) -> Result<RuntimeAddress, String> {
        match self {
            Self::Elf(library) => library.symbol(name).map_err(|error| error.to_string()),
            #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
            Self::Macho(library) => library.symbol(name).map_err(|error| error.to_string()),
        }
    }

    /// Has a symbol bound as its first call would; nothing where it is bound already.
    pub(super) fn bind(&self, symbol: &str) -> Result<(), String> {
        match self {
            Self::Elf(_) => {
                let _ = symbol;
                Ok(())
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
            Self::Macho(library) => library.bind(symbol).map(|_| ()).map_err(|error| error.to_string()),
        }
    }

    /// Runs an executable, if it is one and its main function was asked for; what that returned.
    pub(super) fn run_main(&self, name: &str) -> Option<i32> {
        match self {
            Self::Elf(_) => None,
            #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
            Self::Macho(library) => {
                let path = library.path().to_owned();
                let is_main = name == "main" || name == "_main";
                // SAFETY: the user says so; this process exists for this call only.
                is_main.then(|| unsafe { library.run_main(&[&path]) }.ok()).flatten()
            }
        }
    }

    /// What it has started may run on: it is not unloaded under it.
    pub(super) fn leak(self) {
        match self {
            Self::Elf(library) => library.leak(),
            #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
            Self::Macho(library) => library.leak(),
        }
    }
}

/// Whether a file begins as a Mach-O image, or as a fat file of such.
pub(super) fn is_macho(path: &Path) -> bool {
    use object::macho::{FAT_MAGIC, FAT_MAGIC_64, MH_CIGAM, MH_CIGAM_64, MH_MAGIC, MH_MAGIC_64};
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    let magics = [FAT_MAGIC, FAT_MAGIC_64, MH_CIGAM, MH_CIGAM_64, MH_MAGIC, MH_MAGIC_64];
    read.is_ok() && magics.contains(&u32::from_be_bytes(magic))
}

/// Loads a Mach-O image, with what the system has of Darwin's. What nobody defines is trapped, and said.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub(super) fn load_macho(arguments: &LoadArgs, trace: &Trace) -> Result<Image, String> {
    use livepatch_linker::macho::{Linker, LinkerBuilder, Mode};
    use livepatch_linker::{Precedence, Trap, darwin};
    use std::sync::Arc;
    let trap = Arc::new(Trap::new());
    let given: Arc<Trap> = Arc::clone(&trap);
    let builder = arguments.search.iter().fold(Linker::builder(), LinkerBuilder::search_path);
    let builder = darwin::add_to(builder).provider(Precedence::Last, given).trace(trace);
    let mode = if arguments.lazy { Mode::Lazy } else { Mode::Now };
    let loaded = builder.build().dlopen(&arguments.path, mode);
    let missing = trap.asked();
    if !missing.is_empty() {
        eprintln!("warning: nothing defines {}: whoever calls one ends the process", missing.join(", "));
    }
    loaded.map(Image::Macho).map_err(|error| error.to_string())
}

/// It is run where its instructions are the machine's, and its C library has what is expected.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
pub(super) fn load_macho(_arguments: &LoadArgs, _trace: &Trace) -> Result<Image, String> {
    Err("Mach-O images are run on x86-64 with glibc only".to_owned())
}
