//! Slots of the modules of the program's own loader, as their dynamic sections describe them (gABI, "Dynamic
//! Section"). Hazard: the loader's records, and tables where they are mapped.

use super::{ImportSlot, Keep, SlotKind, SlotSource, Word};
use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// All modules of this process.
pub(super) struct Process;

impl SlotSource for Process {
    fn slots(&self, symbol: &str) -> Vec<ImportSlot> {
        let mut listing = Listing { symbol: symbol.as_bytes(), modules: Vec::new() };
        // SAFETY: `shown` gets the very pointer it expects, which lives until the function returns.
        unsafe { iterate()(Some(shown), (&raw mut listing).cast()) };
        let modules = listing.modules.into_iter();
        modules.flat_map(|(name, references)| resolved(&name, references, symbol)).collect()
    }
}

type Iterate = unsafe extern "C" fn(
    Option<unsafe extern "C" fn(*mut libc::dl_phdr_info, libc::size_t, *mut c_void) -> c_int>,
    *mut c_void,
) -> c_int;

/// The C library's `dl_iterate_phdr`, wherever this module's own slot for it leads by now.
fn iterate() -> Iterate {
    // SAFETY: a text ended by a NUL; what is found under this name is this function.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, c"dl_iterate_phdr".as_ptr());
        match found.is_null() {
            true => libc::dl_iterate_phdr,
            false => std::mem::transmute::<*mut c_void, Iterate>(found),
        }
    }
}

/// A slot as a module's tables describe it.
struct Reference {
    at: usize,
    kind: SlotKind,
    addend: i64,
    version: Option<CString>,
    /// Where the module itself defines the symbol, if it does.
    own: Option<usize>,
    /// What the slot holds, and whether that is inside the module.
    holds: usize,
    is_inside: bool,
}

struct Listing<'a> {
    symbol: &'a [u8],
    modules: Vec<(CString, Vec<Reference>)>,
}

extern "C" fn shown(info: *mut libc::dl_phdr_info, _size: libc::size_t, listing: *mut c_void) -> c_int {
    // SAFETY: the C library passes a filled-in record, valid during this call, and the pointer from above.
    let (info, listing) = unsafe { (&*info, &mut *listing.cast::<Listing<'_>>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    let name = match info.dlpi_name.is_null() {
        true => CString::default(),
        // SAFETY: the name of a module that stays loaded during this call.
        false => unsafe { CStr::from_ptr(info.dlpi_name) }.to_owned(),
    };
    // SAFETY: `dlpi_phdr` points to `dlpi_phnum` program headers of a module that stays loaded during this call.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let memory = Memory { bias: info.dlpi_addr as usize, headers };
    // A panic must not pass through the C library's frames.
    let found = catch_unwind(AssertUnwindSafe(|| references(&memory, listing.symbol)));
    match found.ok().flatten() {
        Some(found) if !found.is_empty() => listing.modules.push((name, found)),
        _ => {}
    }
    0
}

/// Keeps a module loaded.
struct Handle(usize);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: a handle that was opened by `Handle::open` and is closed once.
        unsafe { libc::dlclose(self.0 as *mut c_void) };
    }
}

impl Handle {
    fn open(name: &CStr) -> Option<Self> {
        // The program itself has no name.
        let name = if name.is_empty() { std::ptr::null() } else { name.as_ptr() };
        // SAFETY: a name as the C library has it; nothing is loaded that is not loaded already.
        let handle = unsafe { libc::dlopen(name, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(Self(handle as usize))
    }

    /// What the module's references to a name mean: what everyone finds, then what it has brought along.
    fn look_up(&self, name: &CStr, version: Option<&CStr>) -> Option<usize> {
        let ask = |handle: *mut c_void| {
            // SAFETY: texts ended by NULs, and a handle that is open, or stands for everything.
            let found = unsafe {
                match version {
                    Some(version) => libc::dlvsym(handle, name.as_ptr(), version.as_ptr()),
                    None => libc::dlsym(handle, name.as_ptr()),
                }
            };
            (!found.is_null()).then_some(found as usize)
        };
        ask(libc::RTLD_DEFAULT).or_else(|| ask(self.0 as *mut c_void))
    }
}

/// Finds out what each reference leads to. Modules that were unloaded in the meantime have none any more.
fn resolved(name: &CStr, references: Vec<Reference>, symbol: &str) -> Vec<ImportSlot> {
    let (Some(handle), Ok(text)) = (Handle::open(name), CString::new(symbol)) else { return Vec::new() };
    let handle = Arc::new(handle);
    let image: Arc<str> = name.to_string_lossy().into();
    let slot = |reference: Reference| {
        let Reference { at, kind, addend, version, own, holds, is_inside } = reference;
        let symbol_there = holds.wrapping_add_signed(-(addend as isize));
        // A lazy slot leads into its own module before it is bound.
        let is_bound = kind != SlotKind::Function || !is_inside || own == Some(symbol_there);
        let original = match is_bound {
            true => Some(symbol_there).filter(|&there| there != 0),
            false => handle.look_up(&text, version.as_deref()).or(own),
        };
        // SAFETY: in a segment of a module that `handle` keeps loaded.
        let word = unsafe { Word::new(at) }?;
        let version = version.map(|version| version.to_string_lossy().into_owned());
        let (image, symbol) = (Arc::clone(&image), symbol.to_owned());
        let keep = Keep::new(Arc::clone(&handle));
        Some(ImportSlot { image, symbol, version, kind, addend, is_bound, original, word, keep })
    };
    references.into_iter().filter_map(slot).collect()
}

/// A module's memory, by what its program headers say.
struct Memory<'a> {
    bias: usize,
    headers: &'a [libc::Elf64_Phdr],
}

impl Memory<'_> {
    fn segment(&self, at: usize, length: usize) -> Option<(&libc::Elf64_Phdr, Range<usize>)> {
        let end = at.checked_add(length)?;
        self.headers.iter().filter(|header| header.p_type == libc::PT_LOAD).find_map(|header| {
            let start = self.bias.wrapping_add(header.p_vaddr as usize);
            let range = start..start.checked_add(header.p_memsz as usize)?;
            let readable = header.p_flags & libc::PF_R != 0;
            (readable && range.start <= at && end <= range.end).then_some((header, range))
        })
    }

    /// Bytes that are mapped. What the module may write to is copied.
    fn bytes(&self, at: usize, length: usize) -> Option<Cow<'_, [u8]>> {
        let (header, _) = self.segment(at, length)?;
        // SAFETY: inside a readable segment of a module that stays loaded while `self` exists. Read-only segments do
        // not change; of others, the bytes are plain numbers, whatever they are at this moment.
        unsafe {
            if header.p_flags & libc::PF_W == 0 {
                return Some(Cow::Borrowed(std::slice::from_raw_parts(at as *const u8, length)));
            }
            let mut bytes = vec![0; length];
            (at as *const u8).copy_to_nonoverlapping(bytes.as_mut_ptr(), length);
            Some(Cow::Owned(bytes))
        }
    }

    /// Everything from an address to the end of its segment.
    fn rest(&self, at: usize) -> Option<Cow<'_, [u8]>> {
        let (_, range) = self.segment(at, 1)?;
        self.bytes(at, range.end - at)
    }

    /// Some loaders have put run-time addresses into the dynamic section, others have left link-time ones.
    fn address(&self, value: u64) -> usize {
        let value = value as usize;
        if self.segment(value, 1).is_some() { value } else { self.bias.wrapping_add(value) }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn quarter(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// What of a dynamic section matters here.
#[derive(Default)]
struct Dynamic {
    symbols: Option<u64>,
    strings: Option<u64>,
    strings_size: u64,
    plt: Option<u64>,
    plt_size: u64,
    relocations: Option<u64>,
    relocations_size: u64,
    versions: Option<u64>,
    needed_versions: Option<u64>,
}

impl Dynamic {
    fn read(bytes: &[u8]) -> Self {
        const DT_PLTRELSZ: u64 = 2;
        const DT_STRTAB: u64 = 5;
        const DT_SYMTAB: u64 = 6;
        const DT_RELA: u64 = 7;
        const DT_RELASZ: u64 = 8;
        const DT_STRSZ: u64 = 10;
        const DT_JMPREL: u64 = 23;
        const DT_VERSYM: u64 = 0x6fff_fff0;
        const DT_VERNEED: u64 = 0x6fff_fffe;
        let mut dynamic = Self::default();
        for entry in bytes.chunks_exact(16) {
            let (Some(tag), Some(value)) = (word(entry, 0), word(entry, 8)) else { break };
            match tag {
                0 => break,
                DT_SYMTAB => dynamic.symbols = Some(value),
                DT_STRTAB => dynamic.strings = Some(value),
                DT_STRSZ => dynamic.strings_size = value,
                DT_JMPREL => dynamic.plt = Some(value),
                DT_PLTRELSZ => dynamic.plt_size = value,
                DT_RELA => dynamic.relocations = Some(value),
                DT_RELASZ => dynamic.relocations_size = value,
                DT_VERSYM => dynamic.versions = Some(value),
                DT_VERNEED => dynamic.needed_versions = Some(value),
                _ => {}
            }
        }
        dynamic
    }
}

/// How a relocation of this machine uses a slot.
fn kind_of(relocation: u32) -> Option<SlotKind> {
    #[cfg(target_arch = "x86_64")]
    const KINDS: [u32; 3] = [7, 6, 1];
    #[cfg(target_arch = "aarch64")]
    const KINDS: [u32; 3] = [1026, 1025, 257];
    let kinds = [SlotKind::Function, SlotKind::Import, SlotKind::Data];
    KINDS.iter().position(|&known| known == relocation).map(|index| kinds[index])
}

/// Bytes of an entry of a symbol table, and of a relocation with an addend.
const SYMBOL: usize = 24;
const RELOCATION: usize = 24;

fn references(memory: &Memory<'_>, name: &[u8]) -> Option<Vec<Reference>> {
    let header = memory.headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC)?;
    let at = memory.bias.wrapping_add(header.p_vaddr as usize);
    let dynamic = Dynamic::read(&memory.bytes(at, header.p_memsz as usize)?);
    let symbols = memory.rest(memory.address(dynamic.symbols?))?;
    let strings = memory.bytes(memory.address(dynamic.strings?), dynamic.strings_size as usize)?;
    let tables = [(dynamic.plt, dynamic.plt_size), (dynamic.relocations, dynamic.relocations_size)];
    let mut found = Vec::new();
    for (at, size) in tables {
        let Some(table) = at.and_then(|at| memory.bytes(memory.address(at), size as usize)) else { continue };
        for entry in table.chunks_exact(RELOCATION) {
            let (Some(place), Some(info), Some(addend)) = (word(entry, 0), word(entry, 8), word(entry, 16))
            else {
                continue;
            };
            let Some(kind) = kind_of(info as u32) else { continue };
            let index = (info >> 32) as usize;
            let symbol = index.checked_mul(SYMBOL).and_then(|start| symbols.get(start..start + SYMBOL));
            let Some(symbol) = symbol.filter(|_| index != 0) else { continue };
            if !is_named(symbol, &strings, name) || is_thread_local(symbol) {
                continue;
            }
            let at = memory.bias.wrapping_add(place as usize);
            // SAFETY: in a readable segment, as `segment` says, of a module that stays loaded meanwhile.
            let holds = memory.segment(at, 8).and_then(|_| unsafe { Word::new(at) }).map(Word::load);
            let Some(holds) = holds else { continue };
            let version = version_of(memory, &dynamic, &strings, index);
            let own = definition(symbol).map(|value| memory.bias.wrapping_add(value as usize));
            let (addend, is_inside) = (addend.cast_signed(), memory.segment(holds, 1).is_some());
            // Slots of functions have no addend on these machines, whatever the table says.
            let addend = if kind == SlotKind::Function { 0 } else { addend };
            found.push(Reference { at, kind, addend, version, own, holds, is_inside });
        }
    }
    Some(found)
}

fn is_named(symbol: &[u8], strings: &[u8], name: &[u8]) -> bool {
    let start = quarter(symbol, 0).map(|start| start as usize);
    let text = start.and_then(|start| strings.get(start..));
    text.is_some_and(|text| text.starts_with(name) && text.get(name.len()) == Some(&0))
}

fn is_thread_local(symbol: &[u8]) -> bool {
    const STT_TLS: u8 = 6;
    symbol.get(4).is_some_and(|info| info & 15 == STT_TLS)
}

/// A symbol's value, if it is defined and no indirect function, whose slots hold something else.
fn definition(symbol: &[u8]) -> Option<u64> {
    const STT_GNU_IFUNC: u8 = 10;
    let (info, section) = (*symbol.get(4)?, half(symbol, 6)?);
    (section != 0 && info & 15 != STT_GNU_IFUNC).then(|| word(symbol, 8)).flatten()
}

/// The version that a reference asks for (`DT_VERSYM`, `DT_VERNEED`).
fn version_of(memory: &Memory<'_>, dynamic: &Dynamic, strings: &[u8], index: usize) -> Option<CString> {
    let at = memory.address(dynamic.versions?).checked_add(index.checked_mul(2)?)?;
    let wanted = half(&memory.bytes(at, 2)?, 0)? & 0x7fff;
    if wanted < 2 {
        return None;
    }
    let mut file = memory.address(dynamic.needed_versions?);
    // As many as a module can have: each is 16 bytes of it.
    for _ in 0..u16::MAX {
        let entry = memory.bytes(file, 16)?;
        let mut version = file.checked_add(quarter(&entry, 8)? as usize)?;
        for _ in 0..half(&entry, 2)? {
            let entry = memory.bytes(version, 16)?;
            if half(&entry, 6)? & 0x7fff == wanted {
                let text = strings.get(quarter(&entry, 8)? as usize..)?;
                return CStr::from_bytes_until_nul(text).ok().map(CStr::to_owned);
            }
            version = version.checked_add(quarter(&entry, 12)? as usize)?;
        }
        match quarter(&entry, 12)? {
            0 => break,
            next => file = file.checked_add(next as usize)?,
        }
    }
    None
}
