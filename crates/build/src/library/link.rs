//! The command that makes patch libraries: the program's own link, edited.

use super::LibraryError;
use crate::capture::record::{LinkRecord, read_link};
use crate::capture::{Folders, Program};
use crate::link_plan::{CapturedLink, PatchLink, anchor_object};
use crate::stubs::{Format, StubTarget};
use livepatch_object::architecture::Architecture;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// How a program was linked, and so its patch libraries are.
#[derive(Clone, Debug)]
pub struct LibraryLink {
    link: CapturedLink,
    /// Where the program was linked, and with which environment.
    cwd: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl LibraryLink {
    /// What was captured of the executable's link.
    pub fn of_program(program: &Program, folders: &Folders) -> Result<Self, LibraryError> {
        let file = &program.executable.file;
        let name = file.file_name().ok_or(LibraryError::NotCaptured)?;
        let is_its = |record: &LinkRecord| record.kept_output.as_path() == file;
        let mut linked = program.units.iter().rev().filter_map(|unit| {
            let record = read_link(&folders.link_record(&unit.id, name)).filter(is_its)?;
            Some((&unit.record, record))
        });
        let (unit, record) = linked.next().ok_or(LibraryError::NotCaptured)?;
        let link = CapturedLink::of_record(&unit.linker, &record, Format::Elf)
            .map_err(LibraryError::io("read the arguments in", file))?;
        let environment = unit.environment.iter().map(|(name, value)| (name.0.clone(), value.0.clone()));
        Ok(Self { link, cwd: unit.cwd.as_path().to_owned(), environment: environment.collect() })
    }

    pub(super) fn target(&self, architecture: Architecture) -> StubTarget {
        match architecture {
            Architecture::X86_64 => StubTarget::ELF_X86_64,
            Architecture::Aarch64 => StubTarget::ELF_AARCH64,
        }
    }

    /// Links objects, with an anchor, to the library at `output`. Their files are gone afterwards.
    pub(super) fn link(&self, objects: &[(&str, &[u8])], output: &Path) -> Result<(), LibraryError> {
        let first = objects.first().map_or(&[][..], |(_, bytes)| bytes);
        let anchor = anchor_object(first).map_err(|error| LibraryError::Linker(error.to_string()))?;
        let mut inputs = Vec::new();
        let all = objects.iter().copied().chain([("anchor", &*anchor)]);
        let written = all.map(|(name, bytes)| {
            let path = output.with_extension(format!("{name}.o"));
            inputs.push(path.clone());
            std::fs::write(&path, bytes).map_err(LibraryError::io("write", &path))
        });
        let written: Result<(), LibraryError> = written.collect();
        let linked = written.and_then(|()| self.run(&inputs, output));
        inputs.iter().for_each(|path| drop(std::fs::remove_file(path)));
        linked
    }

    fn run(&self, inputs: &[PathBuf], output: &Path) -> Result<(), LibraryError> {
        // One that is there may be mapped: it is left to who did.
        let _ = std::fs::remove_file(output);
        let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
        let plan = self.link.plan(&PatchLink { inputs: &inputs, output });
        let mut command = plan.command(output).map_err(LibraryError::io("write", output))?;
        command.current_dir(&self.cwd).env_clear().stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let done = command.output().map_err(LibraryError::io("run", Path::new(&plan.linker)))?;
        if done.status.success() {
            return Ok(());
        }
        let _ = std::fs::remove_file(output);
        let said = String::from_utf8_lossy(&done.stderr);
        let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        Err(LibraryError::Linker(said.join("; ")))
    }
}
