//! What is wrong with a shared object, in the words of Android's linker.

use super::machine::{Class, machine_name};
use std::fmt;

/// A file that cannot be loaded, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadError {
    /// The file, as the one who wanted it named it.
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a shared object.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The file ends before its ELF header does.
    TooSmall {
        /// How long it is.
        length: usize,
    },
    /// It does not begin with `\x7fELF`.
    BadMagic([u8; 4]),
    /// `EI_CLASS` is neither 1 nor 2.
    BadClass(u8),
    /// It is for addresses of the other width.
    WrongClass {
        /// Whose it is.
        found: Class,
        /// Whose was wanted.
        wanted: Class,
    },
    /// `EI_DATA` is not `ELFDATA2LSB`.
    NotLittleEndian(u8),
    /// `e_type` is not `ET_DYN`.
    BadType(u16),
    /// `e_version` is not 1.
    BadVersion(u32),
    /// `e_machine` is another one.
    WrongMachine {
        /// Whose it is.
        found: u16,
        /// Whose was wanted.
        wanted: u16,
    },
    /// `e_shentsize` is not the size of a section header.
    BadSectionHeaderSize {
        /// What it is.
        found: u16,
        /// What it must be.
        wanted: usize,
    },
    /// `e_shstrndx` is 0.
    BadSectionNames,
    /// No program headers, more than 64 KiB of them, or headers of another size.
    BadProgramHeaderCount(u16),
    /// Program headers outside the file.
    ProgramHeadersOutside {
        /// `e_phoff`.
        offset: u64,
        /// Their size.
        size: u64,
    },
    /// There is nothing to load.
    NoLoadableSegments,
    /// A segment whose bytes are not in the file.
    SegmentPastEnd {
        /// Its index among the program headers.
        index: usize,
        /// `p_offset`.
        offset: u64,
        /// `p_filesz`.
        size: u64,
        /// The file's length.
        length: u64,
    },
    /// A segment that cannot be as it says.
    BadSegment {
        /// Its index among the program headers.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A segment that is writable and executable.
    WritableAndExecutable {
        /// Its index among the program headers.
        index: usize,
    },
    /// `PT_PHDR`, or where the headers would be mapped, is in no segment.
    ProgramHeadersNotLoaded,
    /// There is no `PT_DYNAMIC`.
    NoDynamic,
    /// A table that every shared object needs is not there.
    Missing {
        /// `DT_*`.
        tag: &'static str,
    },
    /// Neither `DT_HASH` nor `DT_GNU_HASH`.
    NoHash,
    /// A value that this machine's shared objects cannot have.
    Unsupported {
        /// `DT_*`.
        tag: &'static str,
    },
    /// A value that makes no sense.
    Invalid {
        /// Which field.
        what: &'static str,
        /// What it is.
        value: u64,
    },
    /// A table outside the segments' bytes.
    TableOutside {
        /// Which one.
        what: &'static str,
        /// Its link-time address.
        address: u64,
    },
    /// A size of a GNU hash table's bloom filter that is no power of two.
    BadBloomSize(u32),
    /// It has text relocations.
    TextRelocations,
    /// A relocation of a kind that a loader of this machine does not know.
    UnknownRelocation {
        /// `R_*`.
        kind: u32,
        /// Its place's link-time address.
        address: u64,
    },
    /// A copy relocation, which only an executable may have.
    CopyRelocation,
    /// A relocation whose place is outside the writable segments.
    RelocationOutside {
        /// Its place's link-time address.
        address: u64,
    },
    /// A relocation whose result does not fit.
    RelocationOverflow {
        /// `R_*`.
        kind: u32,
        /// Its place's link-time address.
        address: u64,
    },
    /// A compressed relocation table that ends early or has the wrong beginning.
    BadPackedRelocations(&'static str),
    /// A symbol that a relocation names and that is not in the table.
    BadSymbol {
        /// Its index.
        index: u32,
    },
    /// A relocation to thread-local storage in an object, or of a symbol, that has none.
    NoThreadLocal {
        /// The symbol.
        symbol: String,
    },
    /// A version definition or need that cannot be read.
    BadVersions(&'static str),
    /// A version need of a library that is not among those needed.
    VersionOfStranger {
        /// The library.
        library: String,
        /// Which version need.
        index: usize,
    },
    /// A function that the loader would have to call, at an address that is not code of the object.
    NotCode {
        /// Which function.
        what: &'static str,
        /// Its link-time address.
        address: u64,
    },
}

impl Problem {
    /// Whose problem it is.
    pub fn of(self, file: impl Into<String>) -> LoadError {
        LoadError { file: file.into(), problem: self }
    }
}

impl std::error::Error for LoadError {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.problem {
            Problem::TooSmall { length } => {
                write!(f, "\"{file}\" is too small to be an ELF executable: only found {length} bytes")
            }
            Problem::BadMagic([a, b, c, d]) => {
                write!(f, "\"{file}\" has bad ELF magic: {a:02x}{b:02x}{c:02x}{d:02x}")
            }
            Problem::BadClass(class) => write!(f, "\"{file}\" has unknown ELF class: {class}"),
            Problem::WrongClass { found, wanted } => {
                write!(f, "\"{file}\" is {found} instead of {wanted}")
            }
            Problem::NotLittleEndian(data) => write!(f, "\"{file}\" not little-endian: {data}"),
            Problem::BadType(kind) => write!(f, "\"{file}\" has unexpected e_type: {kind}"),
            Problem::BadVersion(version) => write!(f, "\"{file}\" has unexpected e_version: {version}"),
            Problem::WrongMachine { found, wanted } => write!(
                f,
                "\"{file}\" is for {} ({found}) instead of {} ({wanted})",
                machine_name(*found),
                machine_name(*wanted)
            ),
            Problem::BadSectionHeaderSize { found, wanted } => {
                write!(f, "\"{file}\" has unsupported e_shentsize: {found:#x} (expected {wanted:#x})")
            }
            Problem::BadSectionNames => write!(f, "\"{file}\" has invalid e_shstrndx"),
            Problem::BadProgramHeaderCount(count) => {
                write!(f, "\"{file}\" has invalid e_phnum: {count}")
            }
            Problem::ProgramHeadersOutside { offset, size } => {
                write!(f, "\"{file}\" has invalid phdr offset/size: {offset}/{size}")
            }
            Problem::NoLoadableSegments => write!(f, "\"{file}\" has no loadable segments"),
            Problem::SegmentPastEnd { index, offset, size, length } => write!(
                f,
                "invalid ELF file \"{file}\" load segment[{index}]: p_offset ({offset:#x}) + p_filesz \
                 ({size:#x}) ( = {:#x}) past end of file ({length:#x})",
                offset.wrapping_add(*size)
            ),
            Problem::BadSegment { index, what } => {
                write!(f, "invalid ELF file \"{file}\" segment[{index}]: {what}")
            }
            Problem::WritableAndExecutable { .. } => {
                write!(f, "\"{file}\": W+E load segments are not allowed")
            }
            Problem::ProgramHeadersNotLoaded => {
                write!(f, "\"{file}\" loaded phdr not in loadable segment")
            }
            Problem::NoDynamic => write!(f, "missing PT_DYNAMIC in \"{file}\""),
            Problem::Missing { tag } => write!(f, "empty/missing {tag} in \"{file}\""),
            Problem::NoHash => {
                write!(f, "empty/missing DT_HASH/DT_GNU_HASH in \"{file}\" (new hash type from the future?)")
            }
            Problem::Unsupported { tag } => write!(f, "unsupported {tag} in \"{file}\""),
            Problem::Invalid { what, value } => write!(f, "invalid {what}: {value} in \"{file}\""),
            Problem::TableOutside { what, address } => {
                write!(f, "\"{file}\": {what} at {address:#x} is not in a loadable segment")
            }
            Problem::BadBloomSize(words) => {
                write!(f, "invalid maskwords for gnu_hash = {words:#x}, in \"{file}\" expecting power of two")
            }
            Problem::TextRelocations => write!(f, "\"{file}\" has text relocations"),
            Problem::UnknownRelocation { kind, address } => {
                write!(f, "unknown reloc type {kind} @ {address:#x} in \"{file}\"")
            }
            Problem::CopyRelocation => write!(f, "\"{file}\": COPY relocations are not supported"),
            Problem::RelocationOutside { address } => {
                write!(f, "\"{file}\": relocation at {address:#x} is not in a writable segment")
            }
            Problem::RelocationOverflow { kind, address } => {
                write!(f, "\"{file}\": relocation of type {kind} at {address:#x} does not fit its field")
            }
            Problem::BadPackedRelocations(what) => {
                write!(f, "\"{file}\" has invalid packed relocations: {what}")
            }
            Problem::BadSymbol { index } => {
                write!(f, "\"{file}\": symbol {index} is not in its symbol table")
            }
            Problem::NoThreadLocal { symbol } => {
                write!(f, "unexpected TLS reference to {symbol} in \"{file}\"")
            }
            Problem::BadVersions(what) => write!(f, "\"{file}\" has invalid version tables: {what}"),
            Problem::VersionOfStranger { library, index } => {
                write!(f, "cannot find \"{library}\" from verneed[{index}] in DT_NEEDED list for \"{file}\"")
            }
            Problem::NotCode { what, address } => {
                write!(f, "\"{file}\": {what} at {address:#x} is not in an executable segment")
            }
        }
    }
}
