//! What the wrapper and the linker shim leave behind, as JSON.

use super::arguments::Arguments;
use super::{NativeString, write_atomically};
use crate::session::UnitId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Raised whenever a record's meaning changes; records of another version count as missing.
pub const VERSION: u32 = 3;

/// What a rustc invocation makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitKind {
    /// Something that is linked: a binary, an example, a shared object.
    Linked,
    /// A Rust library.
    Library,
    /// A procedural macro: runs in the compiler, is never patched.
    ProcMacro,
    /// A build script: runs before the compiler, is never patched.
    BuildScript,
}

/// What the wrapper changed of cargo's command.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Additions {
    /// `-C codegen-units` was added.
    pub codegen_units: bool,
    /// Stripping the symbol table was switched off.
    pub strip: bool,
}

/// One rustc invocation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnitRecord {
    /// [`VERSION`].
    pub version: u32,
    /// What it makes.
    pub kind: UnitKind,
    /// The crate's name as rustc knows it.
    pub crate_name: String,
    /// The package's name.
    pub package: String,
    /// The package's folder.
    pub manifest_dir: NativeString,
    /// The real rustc.
    pub rustc: NativeString,
    /// The arguments as rustc got them, additions included.
    pub arguments: Vec<NativeString>,
    /// The working directory.
    pub cwd: NativeString,
    /// Where cargo makes rustc write. The arguments name a link to it ([`super::Folders::out`]).
    pub out_dir: NativeString,
    /// The whole environment, without what concerns only the build that ran then.
    pub environment: Vec<(NativeString, NativeString)>,
    /// The linker that the user chose.
    pub linker: NativeString,
    /// What differs from cargo's command.
    pub additions: Additions,
    /// Where the base objects are kept; none for units that are never patched.
    pub base: Option<NativeString>,
    /// When rustc was started, in Unix nanoseconds: files changed later may not be what it read.
    pub started: u64,
}

/// One linker invocation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkRecord {
    /// [`VERSION`].
    pub version: u32,
    /// Which rustc invocation linked: one may link several times, to several kinds of output.
    pub unit: String,
    /// The arguments as the linker got them.
    pub arguments: Vec<NativeString>,
    /// The arguments that were taken out.
    pub removed: Vec<NativeString>,
    /// Where the linker was told to write.
    pub output: NativeString,
    /// Another name of what it wrote, which a later build does not overwrite.
    pub kept_output: NativeString,
    /// Archives and shared objects, in link order.
    pub inputs: Vec<LinkInput>,
}

/// An archive or a shared object on a link line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkInput {
    /// Where it was.
    pub path: NativeString,
    /// Where it stays readable.
    pub kept: NativeString,
}

impl UnitRecord {
    /// The arguments, to be read or changed.
    pub fn arguments(&self) -> Arguments {
        // Argument files were expanded before the record was written.
        Arguments::from_expanded(self.arguments.iter().map(|argument| argument.0.clone()).collect())
    }

    /// What names the invocation.
    pub fn unit(&self) -> UnitId {
        self.arguments().unit().unwrap_or_else(|| UnitId(self.crate_name.clone()))
    }

    /// What the names of its outputs are made from.
    pub fn file_stem(&self) -> String {
        self.arguments().file_stem().unwrap_or_else(|| self.crate_name.clone())
    }

    /// Whether it makes a shared object that other crates are compiled against.
    pub fn is_dylib(&self) -> bool {
        self.arguments().crate_types().contains(&"dylib")
    }

    /// Where cargo makes rustc write.
    pub fn out_dir(&self) -> &Path {
        self.out_dir.as_path()
    }

    /// The dep-info file of cargo's build.
    pub fn dep_info(&self) -> PathBuf {
        self.out_dir().join(format!("{}.d", self.file_stem()))
    }

    /// The metadata-bearing outputs that dependents may name: `lib<stem>.rlib` and `.rmeta`, and `.so` where
    /// it is a Rust one.
    pub fn library_outputs(&self) -> Vec<PathBuf> {
        let output = |extension| self.out_dir().join(format!("lib{}.{extension}", self.file_stem()));
        let mut outputs = vec![output("rlib"), output("rmeta")];
        outputs.extend(self.is_dylib().then(|| output("so")));
        outputs
    }
}

/// Writes a record.
pub fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    write_atomically(path, &serde_json::to_vec(record).map_err(io::Error::other)?)
}

/// Reads a unit's record; none where there is none of this version.
pub fn read_unit(path: &Path) -> Option<UnitRecord> {
    read::<UnitRecord>(path).filter(|record| record.version == VERSION)
}

/// Reads a link's record; none where there is none of this version.
pub fn read_link(path: &Path) -> Option<LinkRecord> {
    read::<LinkRecord>(path).filter(|record| record.version == VERSION)
}

/// Reads a record; none where there is none that can be read.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
