//! What became of each symbol that a patch needs.

use super::references::References;
use livepatch_object::address::RuntimeAddress;

/// What a stub object has for a symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stubbed {
    /// Code that jumps to the function.
    Trampoline {
        /// Where the process has it.
        address: RuntimeAddress,
    },
    /// Code that jumps to where a slot of the host leads, which the loader has filled: a function of another
    /// image that the host imports, or the implementation that an indirect function's resolver chose.
    ThroughSlot {
        /// Where the process has the slot.
        slot: RuntimeAddress,
    },
    /// An indirect function whose resolver is the host's: the loader asks it, as it did for the host.
    Resolver {
        /// Where the process has the resolver.
        address: RuntimeAddress,
    },
    /// An absolute symbol.
    Absolute {
        /// Its value: where the process has the data.
        address: RuntimeAddress,
    },
    /// A read-only word that holds the address of what the name says it does (`__imp_X`).
    AddressCell {
        /// Where the process has it.
        address: RuntimeAddress,
    },
    /// A read-only word that holds a thread-local's offset from the thread pointer.
    ThreadOffsetCell {
        /// The offset in bytes.
        offset: i64,
    },
    /// Nothing: the host has none and the reference is weak, so that its address is zero.
    Zero,
    /// Nothing: the linker or the start-up files define it for each image.
    OfTheImage,
}

/// Why a stub object has nothing for a symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unresolved {
    /// The host neither defines nor imports it.
    NotInHost,
    /// The host imports it by a slot that nobody but the host can go through before the host has: link it with
    /// `-z now`.
    ImportedLazily,
    /// The host defines it at several addresses.
    Ambiguous {
        /// How many.
        definitions: usize,
    },
    /// It is data, and references of these kinds do not reach it, or the linker would get them wrong.
    Data {
        /// The references.
        references: References,
    },
    /// It is a function, and these references cannot hold the address of a trampoline.
    Function {
        /// The references.
        references: References,
    },
    /// It is a thread-local, and these references leave the offset to the loader or the linker.
    ThreadLocal {
        /// The references.
        references: References,
    },
    /// It is a thread-local of a shared object, whose offset from the thread pointer the file does not say.
    ThreadLocalOfLibrary,
    /// The object refers to a thread-local and the host has something else, or the other way round.
    KindMismatch {
        /// What the host has.
        host: &'static str,
    },
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotInHost => f.write_str("the host neither defines it nor calls it"),
            Self::ImportedLazily => {
                f.write_str("the host imports it when it first calls it: link the host with -z now")
            }
            Self::Ambiguous { definitions } => write!(f, "the host defines it {definitions} times"),
            Self::Data { references } => write!(f, "data, out of reach of what refers to it ({references})"),
            Self::Function { references } => {
                write!(
                    f,
                    "a function, and what refers to it cannot hold a trampoline’s address ({references})"
                )
            }
            Self::ThreadLocal { references } => {
                write!(f, "thread-local, and the offset is not the stub’s to say ({references})")
            }
            Self::ThreadLocalOfLibrary => {
                f.write_str("thread-local of a shared object, at an offset that only the loader knows")
            }
            Self::KindMismatch { host } => write!(f, "referred to as something else than the host’s {host}"),
        }
    }
}

/// A needed symbol, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportEntry {
    /// Its name, as the object spells it.
    pub name: String,
    /// The host's name for it, where that is another (`.llvm.<n>`).
    pub host_name: Option<String>,
    /// What became of it.
    pub outcome: Result<Stubbed, Unresolved>,
}

/// What became of each symbol that a patch needs, ascending by name: all of them are here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StubReport {
    entries: Vec<ReportEntry>,
}

impl StubReport {
    pub(super) fn new(entries: Vec<ReportEntry>) -> Self {
        Self { entries }
    }

    /// All of them.
    pub fn entries(&self) -> &[ReportEntry] {
        &self.entries
    }

    /// What became of a symbol; none if it was not needed.
    pub fn get(&self, name: &str) -> Option<&Result<Stubbed, Unresolved>> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        Some(&self.entries[at].outcome)
    }

    /// The symbols that the stub object has nothing for, and why.
    pub fn unresolved(&self) -> impl Iterator<Item = (&str, &Unresolved)> {
        self.entries.iter().filter_map(|e| Some((e.name.as_str(), e.outcome.as_ref().err()?)))
    }
}
