//! What the linker did, step by step: which phase, with which addresses, and when.
//!
//! Nothing here knows about a file format: whatever loads images can say what it does with these events.
//! As JSON (`serde`), each event is one object; [`VERSION`] changes when a field changes its meaning.

use serde::Serialize;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The version of [`Record`].
pub const VERSION: u32 = 1;

/// A phase of loading, unloading or running.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Which file is meant.
    Find,
    /// Headers, and segments into memory.
    Read,
    /// The dynamic section and its tables.
    Prelink,
    /// Relocation and protection.
    Link,
    /// Initialisers.
    Construct,
    /// Calls that bind on the way.
    Bind,
    /// Finalisers, and unmapping.
    Close,
}

/// How many words of each sort were changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Base + addend.
    pub relative: u64,
    /// By a symbol: data, and slots of imports.
    pub symbolic: u64,
    /// Slots of functions, bound at once.
    pub plt: u64,
    /// Slots of functions, to be bound at the first call.
    pub lazy: u64,
    /// By a function that says the address.
    pub indirect: u64,
    /// Thread-locals.
    pub thread_local: u64,
    /// How often a name was looked for.
    pub lookups: u64,
}

/// One step.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A name was looked for.
    Search {
        /// As it was asked for.
        name: String,
        /// Who needs it.
        by: Option<String>,
        /// In which namespace.
        namespace: String,
        /// What was found.
        outcome: Outcome,
    },
    /// A file was opened.
    Open {
        /// The library, by its path, as in all events that follow.
        library: String,
        /// Where in the file it begins.
        offset: u64,
        /// How long it is.
        size: u64,
        /// `st_dev`.
        device: u64,
        /// `st_ino`.
        inode: u64,
    },
    /// Address space for all segments was reserved.
    Reserve {
        /// Which library.
        library: String,
        /// The first address.
        start: u64,
        /// How much.
        size: u64,
        /// Run-time minus link-time addresses.
        slide: u64,
    },
    /// A segment was mapped.
    Segment {
        /// Which library.
        library: String,
        /// Its index among the program headers.
        index: usize,
        /// Where it begins in memory.
        start: u64,
        /// How much memory it takes.
        size: u64,
        /// How much of it is from the file.
        file_size: u64,
        /// Where in the file, from the library's beginning.
        offset: u64,
        /// What it allows, as `r-x`.
        protection: String,
        /// What it is called, where segments have names.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The dynamic section was read.
    Dynamic {
        /// Which library.
        library: String,
        /// `DT_SONAME`.
        soname: Option<String>,
        /// `DT_NEEDED`.
        needed: Vec<String>,
        /// `DT_RUNPATH`.
        runpath: Option<String>,
        /// How many symbols its hash table knows of.
        symbols: u32,
        /// How many relocations it has.
        relocations: usize,
        /// `DT_GNU_HASH` or `DT_HASH`.
        hash: &'static str,
    },
    /// A library got a block for its thread-locals.
    ThreadLocals {
        /// Which library.
        library: String,
        /// The module's number.
        module: u64,
        /// How much each thread gets.
        size: u64,
        /// Bytes from the thread pointer, if they are the same in every thread.
        offset: Option<i64>,
    },
    /// All relocations were done.
    Relocate {
        /// Which library.
        library: String,
        /// How many of which.
        counts: Counts,
    },
    /// A reference was bound to a definition.
    Bind {
        /// Who refers.
        library: String,
        /// To what.
        symbol: String,
        /// In which version.
        version: Option<String>,
        /// The slot or word that was changed.
        place: u64,
        /// What it leads to now.
        target: u64,
        /// Who defines it; none if nobody does and it is weak.
        definer: Option<String>,
    },
    /// What is read-only from now on.
    Protect {
        /// Which library.
        library: String,
        /// The first address.
        start: u64,
        /// How much.
        size: u64,
        /// How many of its bytes were mapped from a file that is shared.
        shared: u64,
    },
    /// A function of the library was called.
    Call {
        /// Which library.
        library: String,
        /// Why: `DT_INIT`, `DT_INIT_ARRAY`, `DT_FINI_ARRAY` or `DT_FINI`.
        kind: &'static str,
        /// Where it is.
        address: u64,
        /// Its name, if it has one that can be found.
        symbol: Option<String>,
        /// How long it ran.
        nanoseconds: u64,
    },
    /// A Mach-O file was read, and one of its slices chosen.
    Slice {
        /// Which library.
        library: String,
        /// Whose instructions the slice has.
        architecture: String,
        /// `executable`, `dylib` or `bundle`.
        kind: String,
        /// Whose slices there are.
        slices: Vec<String>,
        /// Whether imports name the library that they are from.
        two_level: bool,
        /// The libraries that it names, in the order of their ordinals, from 1.
        needed: Vec<String>,
    },
    /// All words of a Mach-O image were rebased, and those bound that are not left to the binder.
    Fixups {
        /// Which library.
        library: String,
        /// Which tables said so.
        format: &'static str,
        /// How many of which.
        counts: Counts,
    },
    /// A call came to the binder, by way of a stub, its slot, and a stub helper.
    StubHit {
        /// Whose stub.
        library: String,
        /// What the helper has pushed: an offset into the lazy entries.
        entry: u64,
        /// Where the call returns to.
        caller: u64,
    },
    /// A lazy entry was read.
    Decode {
        /// Which library.
        library: String,
        /// Its offset.
        entry: u64,
        /// The import.
        symbol: String,
        /// The library that has to define it: 1 for the first, 0 the image itself, −1 the main executable, −2 any,
        /// −3 the one that all agree upon.
        ordinal: i64,
        /// That library's name.
        expected: Option<String>,
        /// The slot.
        place: u64,
    },
    /// An import was looked up.
    Resolve {
        /// Who refers.
        library: String,
        /// To what.
        symbol: String,
        /// Where it is.
        target: u64,
        /// Who defines it: a library or a provider.
        definer: Option<String>,
    },
    /// A slot was changed, and what it leads to now is jumped to. If something else had been stored there in the
    /// meantime, that is what both values are.
    Store {
        /// Which library.
        library: String,
        /// The slot.
        place: u64,
        /// What it held.
        old: u64,
        /// What it holds.
        new: u64,
    },
    /// Something that is odd and not wrong.
    Warning {
        /// Which library.
        library: String,
        /// What is odd.
        text: String,
    },
    /// A library was unloaded.
    Unload {
        /// Which library.
        library: String,
        /// Where it was.
        start: u64,
        /// How much.
        size: u64,
    },
    /// A phase ended with an error, and all that was loaded for it was unloaded.
    Failed {
        /// What was to be opened.
        name: String,
        /// The error.
        error: String,
    },
    /// A phase is over.
    Done {
        /// Which library, or what was opened.
        name: String,
        /// How long it took.
        nanoseconds: u64,
    },
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// A library that is loaded already.
    Loaded {
        /// Its path.
        library: String,
    },
    /// A library that the program's own loader has loaded.
    Host {
        /// Its path.
        library: String,
    },
    /// A provider stands for it.
    Provider {
        /// Its name.
        provider: String,
    },
    /// A file.
    File {
        /// Its path.
        path: String,
    },
    /// Nothing.
    Nothing,
}

/// An event, with when and where it was.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Record {
    /// Nanoseconds since the trace began.
    pub at: u64,
    /// Which phase.
    pub phase: Phase,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What is written down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Detail {
    /// Phases, segments, calls.
    Phases,
    /// Each binding of a symbol as well.
    Bindings,
}

/// Collects events. Clones collect into the same trace.
#[derive(Clone, Debug)]
pub struct Trace {
    shared: Arc<Shared>,
}

/// Is told every event as it is written down.
type Listener = Box<dyn Fn(&Record) + Send + Sync>;

struct Shared {
    detail: Detail,
    began: Instant,
    records: Mutex<Vec<Record>>,
    listener: Option<Listener>,
    /// Whether the time is asked for: a trace without times is the same in every run.
    timed: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("detail", &self.detail).field("records", &self.records).finish()
    }
}

impl Trace {
    /// An empty trace, which begins now.
    pub fn new(detail: Detail) -> Self {
        Self::make(detail, None)
    }

    /// The same, with a function that is told every event at once: what a library does to the process that
    /// loads it cannot take these back.
    pub fn with_listener(detail: Detail, listener: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        Self::make(detail, Some(Box::new(listener)))
    }

    fn make(detail: Detail, listener: Option<Listener>) -> Self {
        let (records, timed) = (Mutex::new(Vec::new()), AtomicBool::new(true));
        let shared = Shared { detail, began: Instant::now(), records, listener, timed };
        Self { shared: Arc::new(shared) }
    }

    /// From now on, every time is 0.
    pub fn without_times(self) -> Self {
        self.shared.timed.store(false, Ordering::Relaxed);
        self
    }

    /// What is written down.
    pub fn detail(&self) -> Detail {
        self.shared.detail
    }

    /// Writes an event down.
    pub fn record(&self, phase: Phase, event: Event) {
        let at = self.nanoseconds(self.shared.began);
        let record = Record { at, phase, event };
        if let Some(listener) = &self.shared.listener {
            listener(&record);
        }
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// How long ago that was, or 0 in a trace without times.
    pub fn nanoseconds(&self, since: Instant) -> u64 {
        match self.shared.timed.load(Ordering::Relaxed) {
            true => u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX),
            false => 0,
        }
    }

    /// All that was written down so far.
    pub fn records(&self) -> Vec<Record> {
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The whole trace as one JSON object: `version`, and `events` in order.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Whole {
            version: u32,
            events: Vec<Record>,
        }
        serde_json::to_string_pretty(&Whole { version: VERSION, events: self.records() })
    }
}

/// One line for each event.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.records().iter().try_for_each(|record| writeln!(f, "{record}"))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = format!("{:?}", self.phase).to_lowercase();
        write!(f, "{:>9.3} ms  {phase:<9} {}", self.at as f64 / 1e6, self.event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Search { name, by, namespace, outcome } => {
                write!(f, "{name}")?;
                if let Some(by) = by {
                    write!(f, ", needed by {by}")?;
                }
                write!(f, ", in namespace {namespace}: {outcome}")
            }
            Self::Open { library, offset, size, .. } => write!(f, "{library}: {size} bytes at {offset:#x}"),
            Self::Reserve { library, start, size, slide } => {
                write!(f, "{library}: {size:#x} bytes reserved at {start:#x}, slide {slide:#x}")
            }
            Self::Segment { library, index, start, size, file_size, offset, protection, name } => {
                write!(f, "{library}: segment {index} {protection} ")?;
                name.iter().try_for_each(|name| write!(f, "{name} "))?;
                write!(f, "{start:#x}+{size:#x}, {file_size:#x} of it from {offset:#x}")
            }
            Self::Dynamic { library, needed, symbols, relocations, hash, .. } => write!(
                f,
                "{library}: {symbols} symbols ({hash}), {relocations} relocations, needs [{}]",
                needed.join(", ")
            ),
            Self::ThreadLocals { library, module, size, offset } => {
                write!(f, "{library}: thread-local module {module:#x}, {size:#x} bytes")?;
                offset.map_or(Ok(()), |offset| write!(f, " at {offset:#x} from the thread pointer"))
            }
            Self::Relocate { library, counts } => write!(
                f,
                "{library}: {} relative, {} symbolic, {} plt, {} lazy, {} indirect, {} thread-local; {} lookups",
                counts.relative,
                counts.symbolic,
                counts.plt,
                counts.lazy,
                counts.indirect,
                counts.thread_local,
                counts.lookups
            ),
            Self::Bind { library, symbol, version, place, target, definer } => {
                let version = version.as_deref().map(|version| format!("@{version}")).unwrap_or_default();
                let definer = definer.as_deref().unwrap_or("nobody");
                write!(f, "{library}: {symbol}{version} at {place:#x} → {target:#x} in {definer}")
            }
            Self::Protect { library, start, size, shared } => {
                write!(f, "{library}: {start:#x}+{size:#x} is read-only, {shared:#x} of it shared")
            }
            Self::Call { library, kind, address, symbol, nanoseconds } => {
                let symbol = symbol.as_deref().unwrap_or("?");
                let milliseconds = *nanoseconds as f64 / 1e6;
                write!(f, "{library}: {kind} {symbol} at {address:#x}, {milliseconds:.3} ms")
            }
            Self::Slice { library, architecture, kind, slices, two_level, needed } => {
                let level = if *two_level { "two-level" } else { "flat" };
                let of =
                    if slices.len() > 1 { format!(" of [{}]", slices.join(", ")) } else { String::new() };
                write!(f, "{library}: {architecture}{of} {kind}, {level}, needs [{}]", needed.join(", "))
            }
            Self::Fixups { library, format, counts } => write!(
                f,
                "{library}: {format}: {} rebased, {} bound, {} functions bound, {} left to the binder; {} lookups",
                counts.relative, counts.symbolic, counts.plt, counts.lazy, counts.lookups
            ),
            Self::StubHit { library, entry, caller } => {
                write!(
                    f,
                    "{library}: a call that returns to {caller:#x} came to the binder with entry {entry:#x}"
                )
            }
            Self::Decode { library, entry, symbol, ordinal, expected, place } => {
                let expected = expected.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
                write!(
                    f,
                    "{library}: entry {entry:#x} is {symbol} of library {ordinal}{expected}, slot {place:#x}"
                )
            }
            Self::Resolve { library, symbol, target, definer } => {
                let definer = definer.as_deref().unwrap_or("nobody");
                write!(f, "{library}: {symbol} is at {target:#x} in {definer}")
            }
            Self::Store { library, place, old, new } => {
                write!(f, "{library}: slot {place:#x}: {old:#x} → {new:#x}, and there")
            }
            Self::Warning { library, text } => write!(f, "{library}: warning: {text}"),
            Self::Unload { library, start, size } => {
                write!(f, "{library}: unloaded {start:#x}+{size:#x}")
            }
            Self::Failed { name, error } => write!(f, "{name}: failed: {error}"),
            Self::Done { name, nanoseconds } => {
                write!(f, "{name}: done in {:.3} ms", *nanoseconds as f64 / 1e6)
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded { library } => write!(f, "{library}, loaded already"),
            Self::Host { library } => write!(f, "{library}, of the program itself"),
            Self::Provider { provider } => write!(f, "provided by {provider}"),
            Self::File { path } => write!(f, "{path}"),
            Self::Nothing => write!(f, "nothing"),
        }
    }
}
