//! The dynamic linker: what it has loaded, and loading patch images through it.

use super::address::{CodeSegment, Span};
use super::memory::SystemError;
use livepatch_proto::{ApplyError, WireAddress};
use std::ffi::{CStr, CString, c_int, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// A loaded module, seen while the dynamic linker holds its list still.
pub(crate) struct Module<'a> {
    /// Run-time address minus link-time address.
    pub(crate) bias: u64,
    headers: &'a [libc::Elf64_Phdr],
    /// How often modules were loaded and unloaded so far.
    pub(crate) generation: (u64, u64),
    /// Where this thread's instance of the module's thread-local block is; 0 if there is none.
    pub(crate) tls_block: u64,
    /// The number by which `__tls_get_addr` knows the module; 0 if it has no thread-locals.
    pub(crate) tls_module: u64,
    /// The name by which the dynamic linker knows it; empty for the main program.
    pub(crate) name: &'a CStr,
}

impl Module<'_> {
    fn segments(&self, kind: u32) -> impl Iterator<Item = (Span, &libc::Elf64_Phdr)> {
        self.headers.iter().filter(move |header| header.p_type == kind).filter_map(|header| {
            Some((Span::new(self.bias.wrapping_add(header.p_vaddr), header.p_memsz)?, header))
        })
    }

    /// From the first mapped byte to the last.
    pub(crate) fn span(&self) -> Option<Span> {
        self.segments(libc::PT_LOAD).map(|(span, _)| span).reduce(Span::through)
    }

    /// Whether an address is in one of its segments.
    pub(crate) fn contains(&self, address: u64) -> bool {
        Span::new(address, 1)
            .is_some_and(|at| self.segments(libc::PT_LOAD).any(|(span, _)| span.contains(at)))
    }

    /// Segments that can be read and executed.
    pub(crate) fn code(&self) -> impl Iterator<Item = CodeSegment> {
        self.segments(libc::PT_LOAD)
            .filter(|(_, header)| header.p_flags & libc::PF_X != 0 && header.p_flags & libc::PF_R != 0)
            .map(|(span, header)| CodeSegment { span, writable: header.p_flags & libc::PF_W != 0 })
    }

    /// The initial contents of its thread-locals.
    pub(crate) fn tls_image(&self) -> Option<Span> {
        let (_, header) = self.segments(libc::PT_TLS).next()?;
        Span::new(self.bias.wrapping_add(header.p_vaddr), header.p_filesz)
    }

    /// What is made read-only after relocation.
    pub(crate) fn relro(&self) -> Option<Span> {
        self.segments(libc::PT_GNU_RELRO).next().map(|(span, _)| span)
    }

    /// Where its dynamic section is.
    fn dynamic(&self) -> Option<u64> {
        self.segments(libc::PT_DYNAMIC).next().map(|(span, _)| span.start())
    }

    /// The contents of its note segments, with their alignments.
    pub(crate) fn notes(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.segments(libc::PT_NOTE)
            .filter(|(span, header)| {
                header.p_filesz == header.p_memsz
                    && self.segments(libc::PT_LOAD).any(|(load, _)| load.contains(*span))
            })
            .map(|(span, header)| {
                // SAFETY: the notes lie in a loaded segment of this module, which stays loaded while the
                // dynamic linker holds its list; notes are read-only data.
                let bytes =
                    unsafe { std::slice::from_raw_parts(span.start() as *const u8, span.length() as usize) };
                (bytes, header.p_align)
            })
    }
}

/// Shows every loaded module to `visit`, the main program first, until it breaks.
pub(crate) fn visit_modules<B>(mut visit: impl FnMut(&Module<'_>) -> ControlFlow<B>) -> Option<B> {
    let mut found = None;
    let mut each = |module: &Module<'_>| match visit(module) {
        ControlFlow::Continue(()) => true,
        ControlFlow::Break(value) => {
            found = Some(value);
            false
        }
    };
    let mut each: &mut dyn FnMut(&Module<'_>) -> bool = &mut each;
    // SAFETY: `shown` gets the very pointer it expects, which lives until `dl_iterate_phdr` returns.
    unsafe { libc::dl_iterate_phdr(Some(shown), (&raw mut each).cast()) };
    found
}

extern "C" fn shown(info: *mut libc::dl_phdr_info, _size: usize, each: *mut c_void) -> c_int {
    // SAFETY: glibc passes a filled-in record, valid during this call, and the pointer from above.
    let (info, each) = unsafe { (&*info, &mut *each.cast::<&mut dyn FnMut(&Module<'_>) -> bool>()) };
    let headers = if info.dlpi_phdr.is_null() {
        &[]
    } else {
        // SAFETY: `dlpi_phdr` points to `dlpi_phnum` program headers of a module that stays loaded
        // during this call.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) }
    };
    let name = if info.dlpi_name.is_null() {
        c""
    } else {
        // SAFETY: `dlpi_name` is the name of a module that stays loaded during this call.
        unsafe { CStr::from_ptr(info.dlpi_name) }
    };
    let module = Module {
        bias: info.dlpi_addr,
        headers,
        generation: (info.dlpi_adds, info.dlpi_subs),
        tls_block: info.dlpi_tls_data as u64,
        tls_module: info.dlpi_tls_modid as u64,
        name,
    };
    // A panic must not pass through the C library's frames.
    match catch_unwind(AssertUnwindSafe(|| each(&module))) {
        Ok(true) => 0,
        Ok(false) | Err(_) => 1,
    }
}

/// How often modules were loaded and unloaded so far.
pub(crate) fn generation() -> (u64, u64) {
    visit_modules(|module| ControlFlow::Break(module.generation)).unwrap_or_default()
}

/// Whether an address is in the agent itself.
pub(crate) fn is_own(address: u64) -> bool {
    static OWN: OnceLock<Option<Span>> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let here = is_own as *const () as u64;
        visit_modules(|module| match module.contains(here) {
            true => ControlFlow::Break(module.span()),
            false => ControlFlow::Continue(()),
        })
        .flatten()
    });
    Span::new(address, 1).zip(*own).is_some_and(|(at, own)| own.contains(at))
}

/// Whether an address is in the main program, and that has no search path for itself alone
/// (`DT_RUNPATH`; gABI, "Shared Object Dependencies").
pub(crate) fn is_program_without_search_path(address: u64) -> bool {
    const DT_NULL: u64 = 0;
    const DT_RUNPATH: u64 = 29;
    let answer = visit_modules(|program| {
        let Some((dynamic, _)) = program.segments(libc::PT_DYNAMIC).next() else {
            return ControlFlow::Break(false);
        };
        // SAFETY: the dynamic section is mapped and aligned, and stays as the dynamic linker read it; it is
        // a list of pairs of words.
        let tags = unsafe {
            std::slice::from_raw_parts(dynamic.start() as *const [u64; 2], dynamic.length() as usize / 16)
        };
        let mut tags = tags.iter().map(|[tag, _]| *tag).take_while(|tag| *tag != DT_NULL);
        ControlFlow::Break(program.contains(address) && tags.all(|tag| tag != DT_RUNPATH))
    });
    answer.unwrap_or(false)
}

/// An image that a dynamic linker loaded for a patch.
#[derive(Debug)]
pub(crate) enum LoadedImage {
    /// The process's own.
    Own(Handle),
    /// Another one.
    Other(super::linker::Library),
}

/// A reference to something that is loaded.
#[derive(Debug)]
pub(crate) struct Handle(*mut c_void);

/// Where an image came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Placement {
    /// Its load bias.
    pub(crate) bias: u64,
    /// From its first to its last mapped byte.
    pub(crate) span: Span,
}

/// The public start of glibc's `struct link_map` (link.h).
#[repr(C)]
struct LinkMap {
    l_addr: u64,
    l_name: *const libc::c_char,
    l_ld: *const c_void,
}

impl LoadedImage {
    /// Loads the image at `path`, which must not be loaded yet.
    pub(crate) fn open(path: &str) -> Result<Self, ApplyError> {
        let name = CString::new(path).map_err(|_| rejected("a path with a zero byte".to_owned()))?;
        let before = generation().0;
        // SAFETY: loading runs the image's initialisers; images of patches have none, and what the
        // server sends as a patch it means to run here.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(rejected(last_error()));
        }
        let image = Self::Own(Handle(handle));
        if generation().0 == before {
            image.close();
            return Err(rejected("this file is loaded already".to_owned()));
        }
        Ok(image)
    }

    /// Unloads the image, which nothing points into: its patch did not go live.
    pub(crate) fn close(self) {
        match self {
            Self::Own(handle) => handle.close(),
            Self::Other(library) => library.close(),
        }
    }

    /// Where the image is.
    pub(crate) fn placement(&self) -> Result<Placement, ApplyError> {
        let handle = match self {
            Self::Own(handle) => handle,
            Self::Other(library) => return Ok(library.placement()),
        };
        let (bias, dynamic) = handle.link_map().ok_or_else(|| rejected(last_error()))?;
        visit_modules(|module| {
            if module.bias == bias && module.dynamic() == Some(dynamic) {
                return ControlFlow::Break(module.span());
            }
            ControlFlow::Continue(())
        })
        .flatten()
        .map(|span| Placement { bias, span })
        .ok_or_else(|| rejected("its program headers are not listed".to_owned()))
    }
}

impl Handle {
    /// A reference to the loaded module of that name and load bias.
    pub(crate) fn of_loaded(name: &CStr, bias: u64) -> Option<Self> {
        // SAFETY: RTLD_NOLOAD loads nothing, so no code runs.
        let handle =
            unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY | libc::RTLD_LOCAL) };
        let handle = (!handle.is_null()).then_some(Self(handle))?;
        if handle.link_map().is_some_and(|(found, _)| found == bias) {
            return Some(handle);
        }
        handle.close();
        None
    }

    /// Gives the reference back.
    pub(crate) fn close(self) {
        // SAFETY: the handle came from `dlopen` and is used no more.
        unsafe { libc::dlclose(self.0) };
    }

    /// Where the module, or what it depends on, has a symbol; null where none of them has it.
    fn symbol(&self, name: &CStr) -> u64 {
        // SAFETY: `dlsym` only reads the name; resolvers of indirect functions may run at any time.
        unsafe { libc::dlsym(self.0, name.as_ptr()) as u64 }
    }

    /// Its load bias, and where its dynamic section is.
    fn link_map(&self) -> Option<(u64, u64)> {
        let mut map: *const LinkMap = std::ptr::null();
        // SAFETY: RTLD_DI_LINKMAP stores one pointer to where it is told.
        let done = unsafe { libc::dlinfo(self.0, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) };
        if done != 0 || map.is_null() {
            return None;
        }
        // SAFETY: the link map of an open handle stays where it is; these two fields never change.
        Some(unsafe { ((*map).l_addr, (*map).l_ld as u64) })
    }
}

/// An image that cannot be loaded, and why.
pub(crate) fn rejected(detail: String) -> ApplyError {
    ApplyError::ImageRejected { detail }
}

/// Takes what `dlopen` or `dlsym` last complained about in this thread.
pub(crate) fn last_error() -> String {
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

/// The C library's mathematics: std calls it, and programs that do not are linked without it.
const MATHEMATICS: &CStr = c"libm.so.6";

/// Where the global scope has a function or an object of that name, or else the scope of a module.
/// Indirect functions are resolved.
pub(crate) fn resolve(name: &str, within: Option<&Handle>) -> Option<WireAddress> {
    // Rust's own names are in no library.
    let is_rust = name.starts_with("_ZN") || name.starts_with("_R");
    let name = CString::new(name).ok()?;
    // SAFETY: `dlsym` only reads the name; resolvers of indirect functions may run at any time.
    let mut address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as u64;
    if let (0, Some(module)) = (address, within) {
        address = module.symbol(&name);
    }
    match address {
        0 if is_rust => None,
        0 => resolve_late(&name),
        found => in_module(found),
    }
}

/// Looks in a library that comes with the C library, and loads it if it has the name.
fn resolve_late(name: &CStr) -> Option<WireAddress> {
    // SAFETY: the C library's own libraries may be loaded at any time; the handle is used here only, and
    // given back where nothing of the library is used.
    unsafe {
        let library = libc::dlopen(MATHEMATICS.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if library.is_null() {
            return None;
        }
        let found = in_module(libc::dlsym(library, name.as_ptr()) as u64);
        if found.is_none() {
            libc::dlclose(library);
        }
        found
    }
}

fn in_module(address: u64) -> Option<WireAddress> {
    if address == 0 {
        return None;
    }
    // The address of a thread-local would be this thread's, in no module: worth nothing to others.
    visit_modules(|module| {
        if module.contains(address) {
            ControlFlow::Break(WireAddress(address))
        } else {
            ControlFlow::Continue(())
        }
    })
}

/// The path by which the dynamic linker knows the agent.
pub(crate) fn own_path() -> Option<CString> {
    // SAFETY: `Dl_info` is plain data for which all zeros is a value; `dladdr` fills it in.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        let found = libc::dladdr(own_path as *const c_void, &raw mut info);
        (found != 0 && !info.dli_fname.is_null()).then(|| CStr::from_ptr(info.dli_fname).to_owned())
    }
}

/// Writes bytes to a fresh anonymous file and loads it.
pub(crate) fn open_bytes(bytes: &[u8], unique: u32) -> Result<LoadedImage, ApplyError> {
    use std::io::Write as _;
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    // SAFETY: the name is NUL-terminated; a descriptor that is returned is owned by nobody else.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"livepatch".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(SystemError::last("memfd_create").into());
        }
        std::fs::File::from_raw_fd(fd)
    };
    file.write_all(bytes).map_err(|_| SystemError::last("write"))?;
    LoadedImage::open(&unique_path(file.as_raw_fd(), unique))
}

/// A path of descriptor `fd` that no earlier image had: the dynamic linker takes equal names for the
/// same file, and descriptor numbers come again. `/` and `/./` mean the same to the kernel.
fn unique_path(fd: c_int, unique: u32) -> String {
    let digits: String = (0..u32::BITS - unique.leading_zeros())
        .map(|bit| if unique >> bit & 1 == 1 { "./" } else { "/" })
        .collect();
    format!("/proc/self/fd/{digits}{fd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_unique() {
        let paths: std::collections::HashSet<_> = (1..5000).map(|n| unique_path(7, n)).collect();
        assert_eq!(paths.len(), 4999);
    }

    #[test]
    fn finds_itself_and_functions() {
        let here = resolve as *const () as u64;
        assert!(is_own(here) && !is_own(0) && is_program_without_search_path(here));
        assert!(!is_program_without_search_path(libc::malloc as *const () as u64));
        let resolve = |name| resolve(name, None);
        assert!(resolve("malloc").is_some());
        assert_eq!(resolve("no_such_function_anywhere"), None);
        assert_eq!(resolve("errno"), None, "a thread-local has no one address");
        assert!(resolve("lgammaf_r").is_some(), "it is of libm");
    }
}
