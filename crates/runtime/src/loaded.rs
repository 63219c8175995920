//! What is loaded at an address. Hazard: the dynamic linker's own records, read while it holds them still.

use std::ops::Range;

/// A loaded module, as far as a jump table is concerned.
#[derive(Clone, Default, Debug)]
pub(crate) struct LoadedModule {
    /// Its executable segments; none where this platform does not tell.
    pub(crate) code: Vec<Range<usize>>,
    /// Its build id; empty where it has none or this platform does not tell.
    pub(crate) build_id: Vec<u8>,
}

impl LoadedModule {
    /// Whether a function may begin at an address: what the module itself knows, taken for granted where it
    /// does not.
    pub(crate) fn may_have_code_at(&self, address: usize) -> bool {
        address != 0 && (self.code.is_empty() || self.code.iter().any(|range| range.contains(&address)))
    }
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod elf {
    use super::LoadedModule;
    use crate::build_id::find_build_id;
    use std::ffi::{c_int, c_void};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[cfg(target_pointer_width = "32")]
    use libc::Elf32_Phdr as ProgramHeader;
    #[cfg(target_pointer_width = "64")]
    use libc::Elf64_Phdr as ProgramHeader;

    struct Search {
        address: usize,
        found: Option<LoadedModule>,
    }

    /// The module with a byte at `address`.
    pub(crate) fn module_at(address: usize) -> Option<LoadedModule> {
        let mut search = Search { address, found: None };
        // SAFETY: `shown` gets the very pointer it expects, which lives until `dl_iterate_phdr` returns.
        unsafe { libc::dl_iterate_phdr(Some(shown), (&raw mut search).cast()) };
        search.found
    }

    extern "C" fn shown(info: *mut libc::dl_phdr_info, _size: libc::size_t, search: *mut c_void) -> c_int {
        // SAFETY: the C library passes a filled-in record, valid during this call, and the pointer from above.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: `dlpi_phdr` points to `dlpi_phnum` program headers of a module that stays loaded during this
        // call.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        // A panic must not pass through the C library's frames.
        let found = catch_unwind(AssertUnwindSafe(|| read(info.dlpi_addr as usize, headers, search.address)));
        search.found = found.ok().flatten();
        c_int::from(search.found.is_some())
    }

    fn read(bias: usize, headers: &[ProgramHeader], address: usize) -> Option<LoadedModule> {
        let range = |header: &ProgramHeader| {
            let start = bias.wrapping_add(header.p_vaddr as usize);
            start..start.saturating_add(header.p_memsz as usize)
        };
        let loads = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        loads().find(|header| range(header).contains(&address))?;
        let code = loads().filter(|header| header.p_flags & libc::PF_X != 0).map(range).collect();
        let notes = headers.iter().filter(|header| {
            let note = range(header);
            header.p_type == libc::PT_NOTE
                && loads().any(|load| range(load).start <= note.start && note.end <= range(load).end)
        });
        let mut ids = notes.filter_map(|header| {
            let range = range(header);
            // SAFETY: the note lies in a loaded segment of this module, as was checked, which stays loaded
            // during this call; notes are read-only data.
            let bytes = unsafe { std::slice::from_raw_parts(range.start as *const u8, range.len()) };
            find_build_id(bytes, if header.p_align == 8 { 8 } else { 4 }).map(<[u8]>::to_vec)
        });
        Some(LoadedModule { code, build_id: ids.next().unwrap_or_default() })
    }
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
pub(crate) use elf::module_at;

/// Other platforms do not tell.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
pub(crate) fn module_at(_address: usize) -> Option<LoadedModule> {
    Some(LoadedModule::default())
}

#[cfg(test)]
mod tests {
    use super::module_at;

    #[test]
    fn code_is_where_functions_are() {
        static DATA: u8 = 1;
        let own = module_at(&raw const DATA as usize).expect("the test is loaded");
        assert!(own.may_have_code_at(module_at as *const () as usize));
        assert!(!own.may_have_code_at(0));
        if cfg!(target_os = "linux") {
            assert!(!own.may_have_code_at(&raw const DATA as usize));
            assert!(module_at(1).is_none());
        }
    }
}
