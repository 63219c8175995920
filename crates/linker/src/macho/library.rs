//! A handle of an image: as long as there is one, the image stays loaded.

use super::error::Error;
use super::link::lazy;
use super::linker::Linker;
use super::loaded::Loaded;
use crate::call;
use crate::loaded::LibraryId;
use livepatch_object::address::RuntimeAddress;
use livepatch_object::macho::commands::Entry;
use livepatch_object::macho::{Exports, ImageKind, Table};
use std::ffi::CString;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An image that was opened. Dropping it is `dlclose`; [`Library::leak`] keeps it open for good.
pub struct Library {
    linker: Linker,
    loaded: Arc<Loaded>,
}

impl Library {
    pub(super) fn new(linker: Linker, loaded: Arc<Loaded>) -> Self {
        Self { linker, loaded }
    }

    /// Its number.
    pub fn id(&self) -> LibraryId {
        self.loaded.id
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.loaded.path
    }

    /// Where it is in memory: the first byte, and how many.
    pub fn memory(&self) -> (RuntimeAddress, u64) {
        let reservation = self.loaded.mapped.reservation();
        (reservation.start(), reservation.size())
    }

    /// Run-time minus link-time addresses.
    pub fn slide(&self) -> livepatch_object::address::Slide {
        self.loaded.mapped.slide()
    }

    /// What was read of its file.
    pub fn image(&self) -> &livepatch_object::macho::Image {
        &self.loaded.image
    }

    /// What it exports itself.
    pub fn exports(&self) -> &Exports {
        &self.loaded.exports
    }

    /// How often the binder was called for it.
    pub fn binder_calls(&self) -> u64 {
        self.loaded.binder_calls.load(Ordering::Relaxed)
    }

    /// The address of a symbol of the image, of what it re-exports, or of what it needs (`dlsym`). A name that is
    /// not there is looked for with an underscore before it, which C compilers add.
    pub fn symbol(&self, name: &str) -> Result<RuntimeAddress, Error> {
        let underscored = format!("_{name}");
        for name in [name, &underscored] {
            if let Some(found) = self.linker.symbol_of(&self.loaded, name.as_bytes())? {
                return Ok(found);
            }
        }
        Err(Error::UndefinedSymbol { path: self.loaded.path.to_string(), symbol: name.to_owned() })
    }

    /// Does what the binder does at the first call of an imported function, without a call: decodes, looks up, stores to
    /// the slot. Where the slot leads then; none if it was bound when the image was loaded.
    pub fn bind(&self, symbol: &str) -> Result<Option<RuntimeAddress>, Error> {
        let fixups = self.loaded.image.fixups().map_err(|problem| self.loaded.wrong(problem))?;
        let underscored = format!("_{symbol}");
        let is_it = |name: &[u8]| name == symbol.as_bytes() || name == underscored.as_bytes();
        let entry = fixups.records.iter().find_map(|record| match record.table {
            Table::LazyBind { entry } if is_it(&fixups.import_of(record)?.symbol) => Some(entry),
            _ => None,
        });
        // Nobody has called: there is nothing to return to.
        let bound = entry.filter(|entry| self.loaded.lazy.get().is_some_and(|lazy| lazy.contains_key(entry)));
        let bound = bound.map(|entry| lazy::bind_entry(&self.loaded, entry.into(), 0)).transpose()?;
        Ok(bound.map(RuntimeAddress))
    }

    /// Calls the main function of an executable with these arguments, the program's name among them; what it returns.
    ///
    /// # Safety
    /// It does what it does to this process, which may be to end it.
    pub unsafe fn run_main(&self, arguments: &[&str]) -> Result<i32, Error> {
        let image = &self.loaded.image;
        let no_main = || Error::NoMain(self.loaded.path.to_string());
        let is_main = matches!(image.entry, Some(Entry::Main { .. }));
        let entry = image.entry_point().filter(|_| is_main && image.header.kind == ImageKind::Executable);
        let at = entry.and_then(|entry| self.loaded.runtime(entry)).ok_or_else(no_main)?;
        if !self.loaded.is_code(at) {
            return Err(no_main());
        }
        let arguments: Vec<CString> =
            arguments.iter().map(|argument| CString::new(*argument).unwrap_or_default()).collect();
        // SAFETY: code of an executable that is bound and initialised; its load command says that it is its main
        // function. The rest is the caller's promise.
        Ok(unsafe { call::main(at, &arguments) })
    }

    /// Closes it (`dlclose`), which dropping it does as well.
    pub fn close(self) {}

    /// Keeps it open for as long as the process lives.
    pub fn leak(self) {
        std::mem::forget(self);
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.linker.close(self.loaded.id);
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Library({})", self.path())
    }
}
