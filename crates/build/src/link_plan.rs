//! The captured link of the host, edited as little as a patch library needs.
//!
//! What a target's linker has to be told (its kind of machine, its folders, its hardening) stands in the command
//! that linked the host. A patch library takes that command, and
//!
//! * leaves out what went in, what came out, and what says which kind of image comes out: inputs, `-o`, `-pie`,
//!   `-shared`, entry points, names;
//! * leaves out what decides on symbols for the host's sake: version scripts, export lists, `-undefined`, garbage
//!   collection, folding, stripping;
//! * adds a shared object's options, the patch's objects, the stub object and the output.
//!
//! Everything else stays, in its order. [`LinkPlan::dropped`] says what was left out.
//!
//! ```
//! use livepatch_build::link_plan::{CapturedLink, PatchLink};
//! use livepatch_build::stubs::Format;
//! use std::path::Path;
//!
//! let captured = ["-m64", "main.o", "-lc", "-o", "app", "-pie", "-Wl,--gc-sections,-z,relro"];
//! let captured = CapturedLink::new("cc", captured.map(Into::into), Format::Elf)?;
//! let plan = captured.plan(&PatchLink { inputs: &["patch.o", "stub.o"].map(Path::new), output: Path::new("patch.so") });
//! assert_eq!(plan.arguments[..2], ["-m64", "-Wl,-z,relro"]);
//! assert!(plan.arguments.contains(&"stub.o".into()));
//! assert!(plan.dropped.contains(&"-pie".into()));
//! # Ok::<(), std::io::Error>(())
//! ```

mod anchor;
mod options;
mod words;

pub use anchor::{AnchorError, anchor_object};

use crate::capture::LinkRecord;
use crate::capture::linker::{parse_response_file, response_file};
use crate::stubs::Format;
use options::Table;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest command line that is passed directly; longer ones go through a response file.
const DIRECT_LIMIT: usize = 100_000;

/// How the host was linked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CapturedLink {
    linker: OsString,
    /// Without response files.
    arguments: Vec<OsString>,
    dialect: Dialect,
}

/// Which options a command understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dialect {
    /// Whether it is a compiler driver, which passes on what `-Wl,` and `-Xlinker` say.
    pub driver: bool,
    /// Whether the linker is Apple's, or one that understands its options; otherwise GNU's.
    pub apple: bool,
}

/// What is to be linked.
#[derive(Clone, Copy, Debug)]
pub struct PatchLink<'p> {
    /// Objects, the stub object among them.
    pub inputs: &'p [&'p Path],
    /// Where the library goes.
    pub output: &'p Path,
}

/// A command that links a patch library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkPlan {
    /// The linker.
    pub linker: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What was left out of the captured ones.
    pub dropped: Vec<OsString>,
}

impl CapturedLink {
    /// The command that linked a host of that container format. Response files among the arguments (`@file`) are
    /// read now.
    pub fn new(
        linker: impl Into<OsString>,
        arguments: impl IntoIterator<Item = OsString>,
        format: Format,
    ) -> io::Result<Self> {
        let linker = linker.into();
        let mut all = Vec::new();
        for argument in arguments {
            match argument.as_encoded_bytes() {
                [b'@', file @ ..] if !file.is_empty() => {
                    let path: PathBuf = argument.to_string_lossy()[1..].into();
                    all.extend(parse_response_file(&std::fs::read(path)?));
                }
                _ => all.push(argument),
            }
        }
        let dialect = Dialect { driver: !is_bare_linker(&linker, &all), apple: format == Format::MachO };
        Ok(Self { linker, arguments: all, dialect })
    }

    /// What the capture recorded of a link.
    pub fn of_record(linker: impl AsRef<OsStr>, record: &LinkRecord, format: Format) -> io::Result<Self> {
        Self::new(linker.as_ref(), record.arguments.iter().map(OsString::from), format)
    }

    /// What the command understands.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The command, edited.
    pub fn plan(&self, patch: &PatchLink<'_>) -> LinkPlan {
        let table = Table::of(self.dialect);
        let (mut arguments, dropped) = words::edit(&self.arguments, self.dialect, table);
        self.add(patch, &mut arguments);
        LinkPlan { linker: self.linker.clone(), arguments, dropped }
    }

    fn add(&self, patch: &PatchLink<'_>, arguments: &mut Vec<OsString>) {
        let Dialect { driver, apple } = self.dialect;
        let to_linker = |option: &str| if driver { format!("-Wl,{option}") } else { option.to_owned() };
        match (apple, driver) {
            (true, true) => arguments.push("-dynamiclib".into()),
            (true, false) => arguments.push("-dylib".into()),
            (false, _) => {
                arguments.push("-shared".into());
                // Its own functions are its own, whatever the host exports under their names.
                arguments.push(to_linker("-Bsymbolic").into());
                // It is told from the program's libraries by having none.
                arguments.push(to_linker("--build-id=none").into());
            }
        }
        arguments.extend(patch.inputs.iter().map(|input| input.as_os_str().to_owned()));
        arguments.extend(["-o".into(), patch.output.as_os_str().to_owned()]);
    }
}

impl LinkPlan {
    /// The command, to be run where the host was linked. Where it is longer than a command may be, it writes
    /// the arguments to a file beside `output`.
    pub fn command(&self, output: &Path) -> io::Result<Command> {
        let mut command = Command::new(&self.linker);
        if self.arguments.iter().map(|argument| argument.len() + 1).sum::<usize>() < DIRECT_LIMIT {
            command.args(&self.arguments);
            return Ok(command);
        }
        let mut file = output.as_os_str().to_owned();
        file.push(".arguments");
        std::fs::write(&file, response_file(&self.arguments))?;
        let mut at = OsString::from("@");
        at.push(&file);
        command.arg(at);
        Ok(command)
    }
}

/// Whether a command is a linker rather than a compiler that calls one: `ld`, `x86_64-linux-gnu-ld.bfd`,
/// `ld64.lld`, `rust-lld -flavor gnu`, `mold`, `wild`.
fn is_bare_linker(linker: &OsStr, arguments: &[OsString]) -> bool {
    let name = Path::new(linker).file_name().unwrap_or(linker).to_string_lossy();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    let last = name.rsplit('-').next().unwrap_or(name);
    arguments.first().is_some_and(|first| first == "-flavor")
        || matches!(last, "ld" | "lld" | "mold" | "wild" | "ld64" | "gold")
        || last.starts_with("ld.")
        || last.starts_with("ld64.")
}

#[cfg(test)]
mod tests;
