//! Applying a patch library: load it, find out where it came to be, publish its jump table.

use crate::jump_table::JumpTable;
use crate::library::Library;
use crate::loaded::{LoadedModule, module_at};
use crate::{anchor, callbacks, published};
use livepatch_proto::{ApplyError, ImageSource, Jump, LibraryPatch, ModuleAddress, Times, WireAddress};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Applies a patch library to this process: loads it, and has [`call`](crate::call) and
/// [`HotFn`](crate::HotFn) arrive at what its jump table names from then on.
///
/// Whatever fails, nothing has changed. Calls that are under way end in the code that they began with; the
/// library stays loaded for ever. Patches are applied one at a time, in the order of their numbers.
///
/// ```
/// use livepatch::proto::{ApplyError, BuildId, ImageSource, LibraryPatch};
///
/// let patch = LibraryPatch {
///     number: 1,
///     predecessor: 0,
///     build_id: livepatch::build_id(),
///     library: ImageSource::in_message(b"no library at all".to_vec()),
///     host_anchor: 0x1000,
///     library_anchor: 0x2000,
///     jumps: Vec::new(),
/// };
/// // SAFETY: what cannot be loaded cannot do harm.
/// let refused = unsafe { livepatch::apply(&patch) };
/// assert!(matches!(refused, Err(ApplyError::ImageRejected { .. })));
/// assert_eq!(livepatch::version(), 0);
/// ```
///
/// # Safety
///
/// * What runs when the library is loaded is sound to run now.
/// * Every jump leads to a function that can take the place of the one it leads from: same signature, and for
///   closures the same captures; data that both use has the same layout for both.
pub unsafe fn apply(patch: &LibraryPatch) -> Result<Times, ApplyError> {
    // SAFETY: as the caller promises.
    unsafe { apply_from(patch, &std::env::temp_dir()) }
}

/// As [`apply`]; bytes lie in a file in `folder` while they are loaded.
///
/// # Safety
///
/// As for [`apply`].
pub(crate) unsafe fn apply_from(patch: &LibraryPatch, folder: &Path) -> Result<Times, ApplyError> {
    let began = Instant::now();
    let mut state = lock();
    state.check(patch)?;
    let checked = Instant::now();
    // SAFETY: the caller vouches for the library.
    let library =
        unsafe { open(&patch.library, folder) }.map_err(|detail| ApplyError::ImageRejected { detail })?;
    let mapped = Instant::now();
    match state.prepare(patch, &library) {
        Ok((table, module)) => state.commit(patch.number, table, module),
        Err(error) => {
            library.close();
            return Err(error);
        }
    }
    let done = Instant::now();
    drop(state);
    callbacks::tell(patch.number);
    let nanoseconds = |from: Instant, to: Instant| to.duration_since(from).as_nanos() as u64;
    Ok(Times {
        check: nanoseconds(began, checked),
        map: nanoseconds(checked, mapped),
        islands: 0,
        redirect: nanoseconds(mapped, done),
        total: nanoseconds(began, done),
    })
}

/// Goes back to patch `to`, or to the program as it was started: 0.
pub(crate) fn roll_back(from: u32, to: u32) -> Result<(), ApplyError> {
    let mut state = lock();
    if state.current() != from {
        return Err(ApplyError::OutOfOrder { current: state.current(), predecessor: from });
    }
    let keep = match to {
        0 => 0,
        to => {
            1 + state
                .live
                .iter()
                .position(|(number, _)| *number == to)
                .ok_or_else(|| ApplyError::Invalid { detail: format!("patch {to} is not live") })?
        }
    };
    state.live.truncate(keep);
    state.publish();
    drop(state);
    callbacks::tell(to);
    Ok(())
}

/// The number of the patch that this process is at.
pub(crate) fn current() -> u32 {
    CURRENT.load(Ordering::Acquire)
}

/// What has been applied.
struct State {
    /// The patches that are live, in order, and their tables.
    live: Vec<(u32, &'static JumpTable)>,
    /// All that were ever loaded, those that were rolled back included.
    modules: Vec<PatchModule>,
}

struct PatchModule {
    number: u32,
    place: Place,
}

/// Where a module is.
#[derive(Clone)]
struct Place {
    /// Run-time minus link-time address.
    slide: i64,
    module: LoadedModule,
}

static STATE: Mutex<State> = Mutex::new(State { live: Vec::new(), modules: Vec::new() });
static CURRENT: AtomicU32 = AtomicU32::new(0);

fn lock() -> std::sync::MutexGuard<'static, State> {
    // Nothing is half done where something can panic.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
///
/// As for [`Library::open`].
unsafe fn open(source: &ImageSource, folder: &Path) -> Result<Library, String> {
    if !source.is_intact() {
        return Err("it was damaged on the way".to_owned());
    }
    match source {
        ImageSource::Path { path, length } => {
            let path = PathBuf::from(path);
            let found =
                std::fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            if found != *length {
                return Err(format!("{} is {found} bytes long, not {length}", path.display()));
            }
            // SAFETY: the caller vouches for the library.
            unsafe { Library::open(&path) }
        }
        // SAFETY: the same.
        ImageSource::Bytes { bytes, .. } => unsafe { Library::open_bytes(bytes, folder) },
    }
}

impl State {
    fn current(&self) -> u32 {
        self.live.last().map_or(0, |(number, _)| *number)
    }

    fn check(&self, patch: &LibraryPatch) -> Result<(), ApplyError> {
        let current = self.current();
        if patch.predecessor != current {
            return Err(ApplyError::OutOfOrder { current, predecessor: patch.predecessor });
        }
        let newest = self.modules.last().map_or(0, |module| module.number);
        if patch.number <= newest {
            return Err(invalid(format!("patch {} comes after patch {newest}", patch.number)));
        }
        let build_id = crate::build_id();
        if patch.build_id != build_id {
            return Err(ApplyError::WrongBuild { process: build_id.to_string() });
        }
        Ok(())
    }

    /// The table as it will be, and where the library is. Changes nothing.
    fn prepare(
        &self,
        patch: &LibraryPatch,
        library: &Library,
    ) -> Result<(JumpTable, PatchModule), ApplyError> {
        let host = Place::of(anchor::aslr_reference(), patch.host_anchor)?;
        let name = CString::new(livepatch_proto::PATCH_ANCHOR).map_err(|_| invalid("its anchor"))?;
        let own = library.symbol(&name).ok_or_else(|| ApplyError::ImageRejected {
            detail: format!("it does not export {}", livepatch_proto::PATCH_ANCHOR),
        })?;
        let own = PatchModule { number: patch.number, place: Place::of(own, patch.library_anchor)? };
        let find = |address: ModuleAddress| match address.module {
            0 => host.find(address.address),
            module => {
                let modules = self.modules.iter().chain([&own]);
                let place = modules.rev().find(|loaded| loaded.number == module).map(|loaded| &loaded.place);
                place.ok_or_else(|| invalid(format!("patch {module} is not loaded")))?.find(address.address)
            }
        };
        let jumps = patch.jumps.iter().map(|Jump { from, to }| Ok((find(*from)?, find(*to)?)));
        let jumps = jumps.collect::<Result<Vec<_>, ApplyError>>()?;
        Ok((JumpTable::new(&jumps), own))
    }

    /// Nothing fails from here on.
    fn commit(&mut self, number: u32, table: JumpTable, module: PatchModule) {
        // Calls that are under way may ask any table there was: all of them stay.
        self.live.push((number, Box::leak(Box::new(table))));
        self.modules.push(module);
        self.publish();
    }

    fn publish(&self) {
        published::publish(self.live.last().map(|(_, table)| *table));
        CURRENT.store(self.current(), Ordering::Release);
    }
}

impl Place {
    /// The module whose anchor is at `runtime` in the process, and at `link` in the file.
    fn of(runtime: usize, link: u64) -> Result<Self, ApplyError> {
        let module = module_at(runtime).ok_or_else(|| invalid("an anchor is in no module"))?;
        Ok(Self { slide: (runtime as u64).wrapping_sub(link).cast_signed(), module })
    }

    /// The run-time address of a function: what came over the wire has passed this check.
    fn find(&self, link: u64) -> Result<usize, ApplyError> {
        let address = link.checked_add_signed(self.slide).and_then(|address| usize::try_from(address).ok());
        address.filter(|address| self.module.may_have_code_at(*address)).ok_or_else(|| {
            ApplyError::BadAddress {
                address: WireAddress(link.wrapping_add_signed(self.slide)),
                purpose: "where a function begins".to_owned(),
            }
        })
    }
}

fn invalid(detail: impl Into<String>) -> ApplyError {
    ApplyError::Invalid { detail: detail.into() }
}
