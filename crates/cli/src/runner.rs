//! The runner: what `cargo run` calls in place of the program.
//!
//! It notes what cargo would have started, with the environment that cargo computed for it, and ends.

use livepatch_build::capture::{NativeString, write_atomically};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The name that this role is called by.
pub const NAME: &str = "livepatch-runner";

/// Environment variable: where to write the note.
pub const NOTE_VARIABLE: &str = "LIVEPATCH_RUNNER_NOTE";

/// What cargo would have started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    /// The executable, as cargo names it: the program's argument zero.
    pub program: NativeString,
    /// The other arguments.
    pub arguments: Vec<NativeString>,
    /// The working directory.
    pub cwd: NativeString,
    /// The whole environment.
    pub environment: Vec<(NativeString, NativeString)>,
}

impl Note {
    /// Reads a note.
    pub fn read(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
    }

    /// The executable's absolute path.
    pub fn executable(&self) -> PathBuf {
        self.cwd.as_path().join(self.program.as_path())
    }
}

/// Runs as the runner.
pub fn main(command_line: Vec<OsString>) -> ExitCode {
    let mut command_line = command_line.into_iter();
    let Some(program) = command_line.next() else { return ExitCode::from(2) };
    let arguments: Vec<OsString> = command_line.collect();
    let Some(path) = std::env::var_os(NOTE_VARIABLE) else {
        let error = Command::new(&program).args(arguments).exec();
        eprintln!("{}: {error}", program.display());
        return ExitCode::from(127);
    };
    match note(program, &arguments).and_then(|note| write_atomically(Path::new(&path), &note)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn note(program: OsString, arguments: &[OsString]) -> io::Result<Vec<u8>> {
    let note = Note {
        program: NativeString(program),
        arguments: arguments.iter().map(NativeString::from).collect(),
        cwd: NativeString(std::env::current_dir()?.into()),
        environment: std::env::vars_os()
            .map(|(name, value)| (NativeString(name), NativeString(value)))
            .collect(),
    };
    serde_json::to_vec(&note).map_err(io::Error::other)
}
