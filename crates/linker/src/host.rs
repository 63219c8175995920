//! The modules that the program's own loader has loaded: their symbols, as far as they are for everyone.
//!
//! Those that were there when the program began are never unloaded. A later one is used only after it was
//! pinned, and stays pinned.

use crate::module::Definitions;
use crate::process::{self, RawModule};
use bytes::Bytes;
use livepatch_object::address::{LinkAddress, RuntimeAddress, Slide};
use livepatch_object::loadable::Problem;
use livepatch_object::loadable::dynamic::Dynamic;
use livepatch_object::loadable::image::Image;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::program::{ProgramHeader, ProgramHeaders};
use livepatch_object::loadable::relocation::{Entry, Formula, howto};
use livepatch_object::loadable::tables::Tables;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The parts of the C library, which there can be only one of in a process: always the program's.
const C_LIBRARY: [&str; 14] = [
    "libc.so.6",
    "libm.so.6",
    "libmvec.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libanl.so.1",
    "libresolv.so.2",
    "libthread_db.so.1",
    "libBrokenLocale.so.1",
    "libnsl.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// A module that the program's own loader has loaded.
#[derive(Debug)]
pub(crate) struct HostModule {
    pub(crate) path: String,
    pub(crate) soname: Option<String>,
    pub(crate) definitions: Definitions,
    pub(crate) headers: ProgramHeaders,
    /// Its number for `__tls_get_addr`; 0 if it has no thread-locals.
    pub(crate) tls_module: u64,
    tls_offset: OnceLock<Option<i64>>,
}

impl HostModule {
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.soname.as_deref() == Some(name) || self.path == name
    }

    /// Where its block of thread-locals is from the thread pointer, if that is the same in every thread.
    pub(crate) fn tls_offset(&self) -> Option<i64> {
        let offset = || process::static_tls_offset(self.tls_module);
        (self.tls_module != 0).then(|| *self.tls_offset.get_or_init(offset)).flatten()
    }

    /// What its loader has bound its own reference to a symbol to, if it has one.
    pub(crate) fn bound(&self, symbol: u32) -> Option<RuntimeAddress> {
        let machine = Machine::native()?;
        let relocations = &self.definitions.tables.relocations;
        let is_reference = |entry: &Entry| {
            let formula = howto(machine, entry.kind).map(|howto| howto.formula);
            entry.symbol == symbol
                && matches!(formula, Some(Formula::Import | Formula::Symbol))
                && entry.addend == 0
        };
        let entry = relocations.plain.iter().flat_map(|table| table.iter()).find(is_reference)?;
        self.headers.load_of(entry.place, 8).filter(|segment| segment.readable())?;
        let at = self.definitions.slide.runtime(entry.place)?;
        // SAFETY: in a readable segment of a module that is never unloaded.
        let word = unsafe { process::copy(at, size_of::<usize>()) };
        Some(RuntimeAddress(usize::from_le_bytes(word.as_ref().try_into().ok()?) as u64))
    }

    /// Whether an address is executable code of the module.
    pub(crate) fn is_code(&self, address: RuntimeAddress) -> bool {
        let link = self.definitions.slide.link(address);
        link.is_some_and(|link| self.headers.is_code(link))
    }
}

/// Whether only the program's own loader can load a library of this name.
pub(crate) fn is_c_library(name: &str) -> bool {
    C_LIBRARY.contains(&name)
}

/// The modules that were there when the program began, in the order in which it looks symbols up.
pub(crate) fn initial() -> &'static [Arc<HostModule>] {
    static INITIAL: OnceLock<Vec<Arc<HostModule>>> = OnceLock::new();
    INITIAL.get_or_init(|| {
        let modules: Vec<_> = process::modules().into_iter().filter_map(read).collect();
        let end = end_of_initial(&modules);
        modules.into_iter().take(end).map(Arc::new).collect()
    })
}

/// Those that the program needs, directly or not, and whatever was put before them: what comes after the last
/// of these was loaded by `dlopen`.
fn end_of_initial(modules: &[HostModule]) -> usize {
    let mut reached = vec![false; modules.len()];
    let mut queue = vec![0];
    let mut end = 0;
    while let Some(index) = queue.pop() {
        let Some(module) = modules.get(index).filter(|_| !std::mem::replace(&mut reached[index], true))
        else {
            continue;
        };
        end = end.max(index + 1);
        for name in module.definitions.tables.needed() {
            queue.extend(modules.iter().position(|other| other.is_named(&name)));
        }
    }
    end
}

static PINNED: Mutex<Vec<Arc<HostModule>>> = Mutex::new(Vec::new());

/// The module of this name, if the program's loader has it; pinned.
pub(crate) fn find(name: &str) -> Option<Arc<HostModule>> {
    let initial = initial().iter().find(|module| module.is_named(name));
    initial.cloned().or_else(|| pinned(name)).or_else(|| pin(name, false))
}

/// Has the program's loader load a library, for good.
pub(crate) fn load(name: &str) -> Option<Arc<HostModule>> {
    find(name).or_else(|| pin(name, true))
}

fn pinned(name: &str) -> Option<Arc<HostModule>> {
    let pinned = PINNED.lock().unwrap_or_else(PoisonError::into_inner);
    pinned.iter().find(|module| module.is_named(name)).cloned()
}

fn pin(name: &str, load: bool) -> Option<Arc<HostModule>> {
    let slide = process::pin(name, load)?;
    let module = Arc::new(read(process::module_at(slide)?)?);
    let mut pinned = PINNED.lock().unwrap_or_else(PoisonError::into_inner);
    pinned.push(Arc::clone(&module));
    Some(module)
}

fn read(raw: RawModule) -> Option<HostModule> {
    let machine = Machine::native()?;
    let headers = ProgramHeaders::from_table(&raw.headers, machine.class(), None).ok()?;
    let slide = Slide::between(LinkAddress(0), RuntimeAddress(raw.slide));
    let image = MemoryImage { slide, headers: &headers };
    let tables = read_tables(&headers, &image, machine, slide).ok()?;
    let soname = tables.soname();
    let definitions = Definitions { tables, slide };
    Some(HostModule {
        path: raw.name,
        soname,
        definitions,
        headers,
        tls_module: raw.tls_module,
        tls_offset: OnceLock::new(),
    })
}

fn read_tables(
    headers: &ProgramHeaders,
    image: &MemoryImage<'_>,
    machine: Machine,
    slide: Slide,
) -> Result<Tables, Problem> {
    let segment = headers.dynamic()?;
    let bytes = image.bytes(segment.address, segment.memory_size).ok_or(Problem::NoDynamic)?;
    let mut dynamic = Dynamic::read(&bytes, machine.class())?;
    // Some loaders put run-time addresses there when they load, others leave what the file had.
    dynamic.map_addresses(|address| {
        let link = slide.link(RuntimeAddress(address.0));
        link.filter(|&link| headers.load_of(link, 1).is_some()).unwrap_or(address)
    });
    Tables::read_loaded(dynamic, image, machine)
}

/// A module's bytes where its loader has put them.
struct MemoryImage<'a> {
    slide: Slide,
    headers: &'a ProgramHeaders,
}

impl MemoryImage<'_> {
    fn segment(&self, address: LinkAddress) -> Option<&ProgramHeader> {
        self.headers.load_of(address, 1).filter(|segment| segment.readable())
    }
}

impl Image for MemoryImage<'_> {
    fn rest(&self, address: LinkAddress) -> Option<Bytes> {
        let segment = self.segment(address)?;
        self.bytes(address, segment.address.checked_add(segment.file_size)?.checked_since(address)?)
    }

    fn bytes(&self, address: LinkAddress, length: u64) -> Option<Bytes> {
        let segment = self.segment(address).filter(|segment| segment.contains(address, length))?;
        let at = self.slide.runtime(address)?;
        let length = usize::try_from(length).ok()?;
        match segment.writable() {
            // SAFETY: in a readable segment of a module that is loaded.
            true => Some(unsafe { process::copy(at, length) }),
            // SAFETY: a segment that is read-only, of a module that is never unloaded: it was there when the
            // program began, or is pinned.
            false => Some(unsafe { process::share(at, length) }),
        }
    }
}
