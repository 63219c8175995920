//! Import slots: the words through which loaded images call or read what others define, led somewhere else
//! while the program runs.
//!
//! A module's calls of `strlen` go through one word of the module's own, which its loader fills in: at once, or at
//! the first call. Whoever stores another address there has all of the module's calls.
//!
//! ```
//! use livepatch::import_slot::Rebinder;
//! use std::sync::atomic::{AtomicUsize, Ordering};
//!
//! static REAL: AtomicUsize = AtomicUsize::new(0);
//!
//! unsafe extern "C" fn always_four() -> i32 {
//!     4
//! }
//!
//! let found = Rebinder::process().find("getppid");
//! // What it is, before anything is changed: a hook that passes on has it when it is called first.
//! REAL.store(found.original().unwrap_or(0), Ordering::Release);
//! // SAFETY: the function takes and returns what `getppid` does, and stays where it is.
//! let rebinding = unsafe { found.rebind(always_four as *const ()) }?;
//! assert_eq!(std::os::unix::process::parent_id(), 4);
//! rebinding.undo()?;
//! assert_ne!(std::os::unix::process::parent_id(), 4);
//! # Ok::<(), livepatch::import_slot::RebindError>(())
//! ```
//!
//! * Every slot is *resolved before it is hooked*. A slot that was not bound yet is given the hook, and keeps it:
//!   the original is the function, not the code that would bind the slot, and over the hook.
//! * A slot is one aligned word that is stored whole: other threads call the old function, or the new one.
//! * Pages that are read-only (`RELRO`) are made writable for the store, and what they were afterwards; one lock over
//!   all stores keeps threads from taking each other's permission away.
//! * It is reversible ([`Rebinding::undo`]), and modules that are loaded later can be included
//!   ([`Rebinding::include_new`]).
//!
//! # Limits
//! * A thread that is inside the C library's own lazy binding of the very slot while it is rebound stores the
//!   function over the hook when it is done. [`Rebinding::renew`] finds and mends such slots.
//! * Calls that go through no slot are not reached: within a module, and where a compiler has inlined.
//! * Words at addresses that are not a multiple of their size are left out.

mod elf;
mod pages;
mod word;

pub use word::Word;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

/// How an image uses a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SlotKind {
    /// Code jumps through it (`R_*_JUMP_SLOT`, `__la_symbol_ptr`); it may be bound at the first call.
    Function,
    /// Code loads an address from it (`R_*_GLOB_DAT`, `__got`).
    Import,
    /// A pointer among data (`R_X86_64_64`, `R_AARCH64_ABS64`, a bind record).
    Data,
}

/// A slot of a loaded image.
#[derive(Clone, Debug)]
pub struct ImportSlot {
    /// Path of the image whose slot it is; empty for the program itself.
    pub image: Arc<str>,
    /// The symbol that it stands for, as the image spells it.
    pub symbol: String,
    /// The symbol's version, if the image asks for one.
    pub version: Option<String>,
    /// How the image uses it.
    pub kind: SlotKind,
    /// What is added to the symbol's address.
    pub addend: i64,
    /// Whether it holds the symbol's address already.
    pub is_bound: bool,
    /// What it leads to, or would if it were bound: the symbol's address, without the addend. None if nobody
    /// defines the symbol.
    pub original: Option<usize>,
    /// Where it is.
    pub word: Word,
    /// Keeps its image loaded.
    pub keep: Keep,
}

/// Something that keeps an image loaded while it exists; it may be nothing where images stay by themselves.
#[derive(Clone, Default)]
pub struct Keep(Option<Arc<dyn Send + Sync>>);

impl Keep {
    /// Keeps what this keeps.
    pub fn new(what: impl Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(what)))
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "kept" } else { "permanent" })
    }
}

/// Images that the program's own loader knows nothing of, and that have slots.
pub trait SlotSource: Send + Sync {
    /// Every slot of a symbol. Names are as C has them, without an underscore that a format puts before.
    fn slots(&self, symbol: &str) -> Vec<ImportSlot>;
}

/// Finds slots. Clones find the same.
#[derive(Clone)]
pub struct Rebinder {
    sources: Vec<Arc<dyn SlotSource>>,
}

impl Rebinder {
    /// In all modules of the program's own loader: the program, and every shared object.
    pub fn process() -> Self {
        Self { sources: vec![Arc::new(elf::Process)] }
    }

    /// In images of that source only.
    pub fn of(source: impl SlotSource + 'static) -> Self {
        Self { sources: vec![Arc::new(source)] }
    }

    /// In that source's images as well.
    #[must_use]
    pub fn with(mut self, source: impl SlotSource + 'static) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Every slot of a symbol, resolved. Nothing is changed by that.
    pub fn find(&self, symbol: &str) -> Found {
        self.find_where(symbol, |_| true)
    }

    /// The same, of slots that a function chooses: of one image, of one version.
    pub fn find_where(
        &self,
        symbol: &str,
        chosen: impl Fn(&ImportSlot) -> bool + Send + Sync + 'static,
    ) -> Found {
        let search = Search { rebinder: self.clone(), symbol: symbol.to_owned(), chosen: Arc::new(chosen) };
        Found { slots: search.slots(), search }
    }
}

impl fmt::Debug for Rebinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebinder").field("sources", &self.sources.len()).finish()
    }
}

/// What is looked for, again when modules were loaded.
#[derive(Clone)]
struct Search {
    rebinder: Rebinder,
    symbol: String,
    chosen: Arc<dyn Fn(&ImportSlot) -> bool + Send + Sync>,
}

impl Search {
    fn slots(&self) -> Vec<ImportSlot> {
        let all = self.rebinder.sources.iter().flat_map(|source| source.slots(&self.symbol));
        let mut seen = BTreeSet::new();
        all.filter(|slot| (self.chosen)(slot) && seen.insert(slot.word)).collect()
    }
}

/// Slots of a symbol.
pub struct Found {
    search: Search,
    slots: Vec<ImportSlot>,
}

impl Found {
    /// All of them.
    pub fn slots(&self) -> &[ImportSlot] {
        &self.slots
    }

    /// The address that the first of them leads to that leads anywhere: in most programs all lead to the same. What
    /// each leads to is in [`Found::slots`].
    pub fn original(&self) -> Option<usize> {
        self.slots.iter().find_map(|slot| slot.original)
    }

    /// Leads all of them to another address; or none, if that fails for one.
    ///
    /// # Safety
    /// There must be a function or an object there of the kind that those who use the slots expect, which stays for as
    /// long as anything may use them: until [`Rebinding::undo`] has succeeded and no thread runs in it any more, or
    /// for good.
    pub unsafe fn rebind(self, to: *const ()) -> Result<Rebinding, RebindError> {
        let mut rebinding = Rebinding { search: self.search, to: to as usize, slots: Vec::new() };
        rebinding.take(self.slots)?;
        Ok(rebinding)
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.slots).finish()
    }
}

/// Slots that lead somewhere else. They stay so when this is dropped.
#[must_use = "what was there before is known to this only"]
pub struct Rebinding {
    search: Search,
    to: usize,
    slots: Vec<ImportSlot>,
}

impl Rebinding {
    /// Those that were changed, with what they led to before.
    pub fn slots(&self) -> &[ImportSlot] {
        &self.slots
    }

    /// As [`Found::original`].
    pub fn original(&self) -> Option<usize> {
        self.slots.iter().find_map(|slot| slot.original)
    }

    /// Rebinds slots of images that were loaded in the meantime; how many.
    pub fn include_new(&mut self) -> Result<usize, RebindError> {
        let mut new = self.search.slots();
        new.retain(|slot| !self.slots.iter().any(|known| known.word == slot.word));
        let count = new.len();
        self.take(new)?;
        Ok(count)
    }

    /// Rebinds slots that were given back their old address by a thread that was binding them; how many.
    pub fn renew(&mut self) -> Result<usize, RebindError> {
        let old = |slot: &&ImportSlot| {
            let original = slot.original.map(|original| original.wrapping_add_signed(slot.addend as isize));
            original.is_some_and(|original| slot.word.load() == original && original != self.value(slot))
        };
        let changes: Vec<_> =
            self.slots.iter().filter(old).map(|slot| (slot.word, self.value(slot))).collect();
        pages::store_all(&changes).map_err(|source| self.failed(source))?;
        Ok(changes.len())
    }

    /// Gives every slot what it led to before. Slots that something else was stored to since are left as they are:
    /// how many.
    pub fn undo(self) -> Result<usize, RebindError> {
        let mut changes = Vec::new();
        for slot in &self.slots {
            let Some(original) = slot.original else { continue };
            let original = original.wrapping_add_signed(slot.addend as isize);
            changes.push((slot.word, self.value(slot), original));
        }
        let exchanged = pages::exchange_all(&changes).map_err(|source| self.failed(source))?;
        Ok(self.slots.len() - exchanged)
    }

    fn value(&self, slot: &ImportSlot) -> usize {
        self.to.wrapping_add_signed(slot.addend as isize)
    }

    fn take(&mut self, slots: Vec<ImportSlot>) -> Result<(), RebindError> {
        let changes: Vec<_> = slots.iter().map(|slot| (slot.word, self.value(slot))).collect();
        pages::store_all(&changes).map_err(|source| self.failed(source))?;
        self.slots.extend(slots);
        Ok(())
    }

    fn failed(&self, source: io::Error) -> RebindError {
        RebindError { symbol: self.search.symbol.clone(), source }
    }
}

impl fmt::Debug for Rebinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebinding").field("to", &self.to).field("slots", &self.slots).finish()
    }
}

/// A page with slots could not be made writable; all slots are what they were.
#[derive(Debug)]
pub struct RebindError {
    symbol: String,
    source: io::Error,
}

impl fmt::Display for RebindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot store to an import slot of {}: {}", self.symbol, self.source)
    }
}

impl std::error::Error for RebindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Leads one slot somewhere else, whatever its page allows.
///
/// # Safety
/// As for [`Found::rebind`].
pub unsafe fn store(word: Word, to: usize) -> io::Result<()> {
    pages::store_all(&[(word, to)])
}
