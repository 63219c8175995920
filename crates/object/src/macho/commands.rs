//! Load commands (`<mach-o/loader.h>`): libraries, search paths, the entry point, and where tables are.

use super::header::Raw;
use super::{Problem, Segments};
use crate::address::FileOffset;
use crate::loadable::fields::{u32_at, u64_at};
use crate::strings::checked_range;
use object::LittleEndian as LE;
use object::macho;
use object::read::macho::{LoadCommandData, LoadCommandVariant, MachHeader as _};
use std::ops::Range;

/// How a library is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LibraryKind {
    /// It must be there.
    Load,
    /// It may be missing; so are its symbols then (`LC_LOAD_WEAK_DYLIB`).
    Weak,
    /// What it exports is exported here, too (`LC_REEXPORT_DYLIB`).
    Reexport,
    /// It needs this one in turn (`LC_LOAD_UPWARD_DYLIB`).
    Upward,
    /// It is loaded when it is first used (`LC_LAZY_LOAD_DYLIB`).
    Lazy,
}

impl LibraryKind {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Weak => "weak",
            Self::Reexport => "re-export",
            Self::Upward => "upward",
            Self::Lazy => "lazy",
        }
    }
}

/// A library that is needed, or what an image says of itself as a library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Library {
    /// Its install name.
    pub name: String,
    /// How it is needed.
    pub kind: LibraryKind,
    /// `X.Y.Z` as 16, 8 and 8 bits.
    pub current_version: u32,
    /// The same of the oldest version that would do.
    pub compatibility_version: u32,
}

impl Library {
    /// The last part of its name without `.dylib` and without a version: `libSystem` of `libSystem.B.dylib`.
    pub fn short_name(&self) -> &str {
        let file = self.name.rsplit('/').next().unwrap_or(&self.name);
        let stem = file.strip_suffix(".dylib").unwrap_or(file);
        stem.split('.').next().unwrap_or(stem)
    }
}

/// Where an executable begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// `LC_MAIN`: a function, called with what `main` is called with.
    Main {
        /// Where it is.
        offset: FileOffset,
        /// How large a stack it wants; 0 if it does not say.
        stack_size: u64,
    },
    /// `LC_UNIXTHREAD`: code that finds its arguments on the stack, at this link-time address.
    Thread(u64),
}

/// What an image was built for (`LC_BUILD_VERSION`, `LC_VERSION_MIN_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuildVersion {
    /// `PLATFORM_*`.
    pub platform: u32,
    /// `X.Y.Z` as 16, 8 and 8 bits.
    pub minimum: u32,
    /// The same of the SDK.
    pub sdk: u32,
}

/// Where tables are in the slice; empty if there are none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tables {
    /// Whether there is an `LC_DYLD_INFO` or `LC_DYLD_INFO_ONLY`.
    pub has_dyld_info: bool,
    /// Rebase opcodes.
    pub rebase: Range<usize>,
    /// Bind opcodes.
    pub bind: Range<usize>,
    /// Weak bind opcodes.
    pub weak_bind: Range<usize>,
    /// Lazy bind opcodes.
    pub lazy_bind: Range<usize>,
    /// The exports trie, of either command that can name it.
    pub exports: Range<usize>,
    /// Whether there is an `LC_DYLD_CHAINED_FIXUPS`.
    pub has_chained_fixups: bool,
    /// Chained fixups.
    pub chained_fixups: Range<usize>,
    /// `nlist_64`s.
    pub symbols: Range<usize>,
    /// Their names.
    pub strings: Range<usize>,
    /// Indirect symbols: numbers of four bytes.
    pub indirect_symbols: Range<usize>,
    /// External relocation entries of eight bytes.
    pub external_relocations: Range<usize>,
    /// Local ones.
    pub local_relocations: Range<usize>,
}

/// What all load commands say.
#[derive(Clone, Debug, Default)]
pub(super) struct Commands {
    pub(super) segments: Segments,
    pub(super) libraries: Vec<Library>,
    pub(super) id: Option<Library>,
    pub(super) rpaths: Vec<String>,
    pub(super) entry: Option<Entry>,
    pub(super) build: Option<BuildVersion>,
    pub(super) uuid: Option<[u8; 16]>,
    pub(super) routine: Option<u64>,
    pub(super) is_encrypted: bool,
    pub(super) tables: Tables,
}

/// `dylib_use_command`: a library command with flags, told by what stands where an old one has a time.
const DYLIB_USE_MARKER: u32 = 0x1a74_1800;

impl Commands {
    pub(super) fn read(raw: &Raw, bytes: &[u8]) -> Result<Self, Problem> {
        let unreadable = Problem::unreadable("load commands");
        let mut commands = raw.load_commands(LE, bytes, 0).map_err(&unreadable)?;
        let mut all = Self::default();
        while let Some(command) = commands.next().map_err(&unreadable)? {
            all.add(&command, bytes)?;
        }
        Ok(all)
    }

    fn add(&mut self, command: &LoadCommandData<'_, LE>, bytes: &[u8]) -> Result<(), Problem> {
        let unreadable = Problem::unreadable("load command");
        match command.variant().map_err(unreadable)? {
            LoadCommandVariant::Segment64(segment, sections) => {
                self.segments.add(segment, sections, bytes)?;
            }
            LoadCommandVariant::Segment32(..) => {
                return Err(Problem::Unsupported { what: "a 32-bit segment, command", value: 1 });
            }
            LoadCommandVariant::Dylib(dylib) => self.libraries.push(library(command, dylib)?),
            LoadCommandVariant::IdDylib(dylib) => self.id = Some(library(command, dylib)?),
            LoadCommandVariant::Rpath(rpath) => self.rpaths.push(text(command, rpath.path)?),
            LoadCommandVariant::Uuid(uuid) => self.uuid = Some(uuid.uuid),
            LoadCommandVariant::EntryPoint(entry) => {
                let offset = FileOffset(entry.entryoff.get(LE));
                self.entry = Some(Entry::Main { offset, stack_size: entry.stacksize.get(LE) });
            }
            LoadCommandVariant::Thread(_, state) if command.cmd() == macho::LC_UNIXTHREAD => {
                self.entry = self.entry.or(thread_entry(state).map(Entry::Thread));
            }
            LoadCommandVariant::Routines64(routines) => {
                self.routine = Some(routines.init_address.get(LE));
            }
            LoadCommandVariant::BuildVersion(version) => {
                let (minimum, sdk) = (version.minos.get(LE), version.sdk.get(LE));
                self.build = Some(BuildVersion { platform: version.platform.get(LE), minimum, sdk });
            }
            LoadCommandVariant::VersionMin(version) => {
                let platform = platform_of(command.cmd());
                let (minimum, sdk) = (version.version.get(LE), version.sdk.get(LE));
                self.build = self.build.or(Some(BuildVersion { platform, minimum, sdk }));
            }
            LoadCommandVariant::EncryptionInfo64(info) => self.is_encrypted |= info.cryptid.get(LE) != 0,
            other => self.tables.add(command.cmd(), &other, bytes.len())?,
        }
        Ok(())
    }
}

impl Tables {
    fn add(&mut self, cmd: u32, command: &LoadCommandVariant<'_, LE>, length: usize) -> Result<(), Problem> {
        let range = |what, offset: u32, count: u32, each: u64| {
            let (offset, size) = (u64::from(offset), u64::from(count) * each);
            let outside = Problem::Outside { what, offset, size };
            // Some linkers name a place for a table that has nothing in it.
            if size == 0 { Ok(0..0) } else { checked_range(offset, size, length).ok_or(outside) }
        };
        match command {
            LoadCommandVariant::DyldInfo(info) => {
                self.has_dyld_info = true;
                let of = |what, offset: object::U32<LE>, size: object::U32<LE>| {
                    range(what, offset.get(LE), size.get(LE), 1)
                };
                self.rebase = of("rebase opcodes", info.rebase_off, info.rebase_size)?;
                self.bind = of("bind opcodes", info.bind_off, info.bind_size)?;
                self.weak_bind = of("weak bind opcodes", info.weak_bind_off, info.weak_bind_size)?;
                self.lazy_bind = of("lazy bind opcodes", info.lazy_bind_off, info.lazy_bind_size)?;
                let exports = of("exports trie", info.export_off, info.export_size)?;
                if !exports.is_empty() {
                    self.exports = exports;
                }
            }
            LoadCommandVariant::LinkeditData(data) => {
                let range = |what| range(what, data.dataoff.get(LE), data.datasize.get(LE), 1);
                match cmd {
                    macho::LC_DYLD_CHAINED_FIXUPS => {
                        self.has_chained_fixups = true;
                        self.chained_fixups = range("chained fixups")?;
                    }
                    macho::LC_DYLD_EXPORTS_TRIE => self.exports = range("exports trie")?,
                    _ => {}
                }
            }
            LoadCommandVariant::Symtab(table) => {
                self.symbols = range("the symbol table", table.symoff.get(LE), table.nsyms.get(LE), 16)?;
                self.strings = range("the string table", table.stroff.get(LE), table.strsize.get(LE), 1)?;
            }
            LoadCommandVariant::Dysymtab(table) => {
                let of = |what, offset: object::U32<LE>, count: object::U32<LE>, each| {
                    range(what, offset.get(LE), count.get(LE), each)
                };
                self.indirect_symbols = of("indirect symbols", table.indirectsymoff, table.nindirectsyms, 4)?;
                self.external_relocations = of("external relocations", table.extreloff, table.nextrel, 8)?;
                self.local_relocations = of("local relocations", table.locreloff, table.nlocrel, 8)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn platform_of(command: u32) -> u32 {
    match command {
        macho::LC_VERSION_MIN_MACOSX => macho::PLATFORM_MACOS,
        macho::LC_VERSION_MIN_IPHONEOS => macho::PLATFORM_IOS,
        macho::LC_VERSION_MIN_TVOS => macho::PLATFORM_TVOS,
        _ => macho::PLATFORM_WATCHOS,
    }
}

fn text(command: &LoadCommandData<'_, LE>, text: macho::LcStr<LE>) -> Result<String, Problem> {
    let bytes = command.string(LE, text).map_err(Problem::unreadable("a load command's text"))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn library(command: &LoadCommandData<'_, LE>, raw: &macho::DylibCommand<LE>) -> Result<Library, Problem> {
    let dylib = &raw.dylib;
    let kind = match command.cmd() {
        macho::LC_LOAD_WEAK_DYLIB => LibraryKind::Weak,
        macho::LC_REEXPORT_DYLIB => LibraryKind::Reexport,
        macho::LC_LOAD_UPWARD_DYLIB => LibraryKind::Upward,
        macho::LC_LAZY_LOAD_DYLIB => LibraryKind::Lazy,
        _ => LibraryKind::Load,
    };
    let flags = u32_at(command.raw_data(), 24).filter(|_| dylib.timestamp.get(LE) == DYLIB_USE_MARKER);
    let kind = match flags {
        Some(flags) if flags & 1 != 0 => LibraryKind::Weak,
        Some(flags) if flags & 2 != 0 => LibraryKind::Reexport,
        Some(flags) if flags & 4 != 0 => LibraryKind::Upward,
        Some(flags) if flags & 8 != 0 => LibraryKind::Lazy,
        _ => kind,
    };
    let (current_version, compatibility_version) = match flags {
        Some(_) => (0, 0),
        None => (dylib.current_version.get(LE), dylib.compatibility_version.get(LE)),
    };
    Ok(Library { name: text(command, dylib.name)?, kind, current_version, compatibility_version })
}

/// The program counter of `x86_THREAD_STATE64` (flavor 4) or `ARM_THREAD_STATE64` (flavor 6).
fn thread_entry(state: &[u8]) -> Option<u64> {
    const REGISTERS: usize = 8;
    let register = |index: usize| u64_at(state, REGISTERS + index * 8);
    match u32_at(state, 0)? {
        4 => register(16),
        6 => register(32),
        _ => None,
    }
}
