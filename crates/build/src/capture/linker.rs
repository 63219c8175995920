//! The linker shim: records what rustc links, leaves out what would take the symbols away, and runs
//! the real linker.

use super::record::{self, LinkInput, LinkRecord};
use super::{
    CAPTURE_VARIABLE, Folders, NO_LINK_VARIABLE, NativeString, UNIT_VARIABLE, USER_LINKER_VARIABLE, keep,
    wrapper,
};
use crate::session::UnitId;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What rustc calls the object with a shared library's metadata.
const METADATA: &str = "rmeta.o";

/// Longest command line that is passed directly; rustc itself falls back to a file far later.
const DIRECT_LIMIT: usize = 100_000;

/// Runs as the linker with the arguments rustc passed.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let linker = std::env::var_os(USER_LINKER_VARIABLE).unwrap_or_else(|| "cc".into());
    match run(&linker, &arguments) {
        Ok(code) => code,
        Err(error) => {
            // rustc shows a linker's stderr.
            eprintln!("livepatch linker shim: {}: {error}", linker.display());
            ExitCode::FAILURE
        }
    }
}

fn run(linker: &OsStr, arguments: &[OsString]) -> io::Result<ExitCode> {
    let line = LinkLine::read(arguments)?;
    if std::env::var_os(NO_LINK_VARIABLE).is_some() {
        return line.pretend();
    }
    let captured = std::env::var_os(CAPTURE_VARIABLE).zip(std::env::var(UNIT_VARIABLE).ok());
    // A linker that writes over the file would also write over the kept name of it.
    let _ = std::fs::remove_file(&line.output);
    let status = line.command(linker)?.status()?;
    if status.success()
        && let Some((root, unit)) = captured
    {
        line.record(&Folders::at(root.into()), &UnitId(unit))?;
    }
    Ok(wrapper::exit_as(status))
}

/// What the linker is asked to do, without what we take out.
struct LinkLine {
    arguments: Vec<OsString>,
    removed: Vec<OsString>,
    output: PathBuf,
}

impl LinkLine {
    fn read(arguments: &[OsString]) -> io::Result<Self> {
        let mut line = Self { arguments: Vec::new(), removed: Vec::new(), output: PathBuf::from("a.out") };
        for argument in arguments {
            match argument.as_bytes().strip_prefix(b"@") {
                Some(file) => {
                    let contents = std::fs::read(OsStr::from_bytes(file))?;
                    parse_response_file(&contents).into_iter().for_each(|argument| line.push(argument));
                }
                None => line.push(argument.clone()),
            }
        }
        let output = line.arguments.iter().position(|argument| argument == "-o");
        if let Some(output) = output.and_then(|at| line.arguments.get(at + 1)) {
            line.output = output.into();
        }
        let has_build_id = line.arguments.iter().any(|argument| mentions(argument, b"--build-id"));
        if !has_build_id {
            // A bare linker (`ld.lld`, `rust-lld`) takes no `-Wl`.
            let direct = line
                .arguments
                .iter()
                .any(|argument| argument == "--as-needed" || argument == "--eh-frame-hdr");
            line.arguments.push(if direct { "--build-id" } else { "-Wl,--build-id" }.into());
        }
        Ok(line)
    }

    fn push(&mut self, argument: OsString) {
        match keep_of(&argument) {
            Kept::All => self.arguments.push(argument),
            Kept::Nothing => self.removed.push(argument),
            Kept::Part(rest) => {
                self.arguments.push(rest);
                self.removed.push(argument);
            }
        }
    }

    fn command(&self, linker: &OsStr) -> io::Result<Command> {
        let mut command = Command::new(linker);
        if self.arguments.iter().map(|argument| argument.len() + 1).sum::<usize>() < DIRECT_LIMIT {
            command.args(&self.arguments);
            return Ok(command);
        }
        let mut name = self.output.as_os_str().to_owned();
        name.push(".livepatch-arguments");
        std::fs::write(&name, response_file(&self.arguments))?;
        let mut at = OsString::from("@");
        at.push(&name);
        command.arg(at);
        Ok(command)
    }

    /// Links nothing, and leaves an output for those who read it: rustc itself goes on to process it, and
    /// compiles other crates against the metadata in it. That comes in an object of its own, which is read
    /// as well as a shared object that contains it.
    fn pretend(&self) -> io::Result<ExitCode> {
        let metadata = self.arguments.iter().map(Path::new).find(|path| path.ends_with(METADATA));
        match metadata {
            Some(metadata) => drop(std::fs::copy(metadata, &self.output)?),
            None if self.output.exists() => {}
            None => std::fs::write(&self.output, b"")?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn record(&self, folders: &Folders, unit: &UnitId) -> io::Result<()> {
        let _ = std::fs::remove_file(with_suffix(&self.output, ".livepatch-arguments"));
        let cwd = std::env::current_dir()?;
        let output = cwd.join(&self.output);
        let kept = folders.links(unit).join(wrapper::now().to_string());
        std::fs::create_dir_all(&kept)?;
        let name = output.file_name().unwrap_or(OsStr::new("host"));
        let kept_output = kept.join(name);
        keep(&output, &kept_output)?;
        let mut inputs = Vec::new();
        for path in inputs_of(&self.arguments, &cwd) {
            inputs.push(keep_input(&path, &kept, inputs.len())?);
        }
        let record = LinkRecord {
            version: record::VERSION,
            unit: unit.0.clone(),
            arguments: self.arguments.iter().map(NativeString::from).collect(),
            removed: self.removed.iter().map(NativeString::from).collect(),
            output: NativeString::from(&output),
            kept_output: NativeString::from(&kept_output),
            inputs,
        };
        record::write(&folders.link_record(unit, name), &record)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Archives of cargo's are kept under a second name; shared objects, and files that belong to the
/// toolchain or the system, stay where they are.
fn keep_input(path: &Path, folder: &Path, index: usize) -> io::Result<LinkInput> {
    let is_archive = path.extension().is_some_and(|extension| extension == "rlib" || extension == "a");
    let name = path.file_name().unwrap_or_default();
    let mut kept = path.to_owned();
    if is_archive {
        let link = folder.join(format!("{index:04}-{}", name.to_string_lossy()));
        // Only a link: on another file system it is not one of cargo's.
        if std::fs::hard_link(path, &link).is_ok() {
            kept = link;
        }
    }
    Ok(LinkInput { path: NativeString::from(path), kept: NativeString::from(&kept) })
}

enum Kept {
    All,
    Part(OsString),
    Nothing,
}

/// What stays of an argument: identical-code folding gives two functions one address, and stripping
/// takes the symbol table, so neither does. A build id must be there.
fn keep_of(argument: &OsStr) -> Kept {
    let bytes = argument.as_bytes();
    let Some(list) = bytes.strip_prefix(b"-Wl,") else {
        return if unwanted(bytes) { Kept::Nothing } else { Kept::All };
    };
    // To a compiler driver `-x` alone means something else.
    let unwanted = |part: &[u8]| unwanted(part) || matches!(part, b"-x" | b"-X" | b"--discard-locals");
    let parts: Vec<&[u8]> = list.split(|&byte| byte == b',').collect();
    let kept: Vec<&[u8]> = parts.iter().copied().filter(|part| !unwanted(part)).collect();
    if kept.len() == parts.len() {
        Kept::All
    } else if kept.is_empty() {
        Kept::Nothing
    } else {
        Kept::Part(OsString::from_vec([b"-Wl,".as_slice(), &kept.join(&b',')].concat()))
    }
}

fn unwanted(option: &[u8]) -> bool {
    matches!(option, b"-s" | b"--strip-all" | b"--discard-all" | b"--build-id=none")
        || option.starts_with(b"--icf=")
        || option.starts_with(b"-icf=")
}

fn mentions(argument: &OsStr, option: &[u8]) -> bool {
    argument.as_bytes().split(|&byte| byte == b',').any(|part| part.starts_with(option))
}

/// The archives and shared objects that a link line names, in order: by path, or by `-l` where one of
/// its own `-L` folders has them (the system's libraries are found in the process instead).
fn inputs_of(arguments: &[OsString], cwd: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = arguments.iter();
    while let Some(argument) = at.next() {
        if let Some(folder) = argument.as_bytes().strip_prefix(b"-L") {
            let folder =
                if folder.is_empty() { at.next().cloned() } else { Some(OsStr::from_bytes(folder).into()) };
            folders.extend(folder.map(|folder| cwd.join(folder)));
        }
    }
    let mut inputs = Vec::new();
    let mut statically = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        match bytes {
            b"-o" | b"-L" => drop(arguments.next()),
            b"-Wl,-Bstatic" | b"-Bstatic" => statically = true,
            b"-Wl,-Bdynamic" | b"-Bdynamic" => statically = false,
            _ if bytes.starts_with(b"-l") => inputs.extend(find_library(&bytes[2..], &folders, statically)),
            _ if !bytes.starts_with(b"-") && is_library(Path::new(argument)) => {
                inputs.push(cwd.join(argument))
            }
            _ => {}
        }
    }
    inputs
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    [b".rlib".as_slice(), b".a", b".so"].iter().any(|end| name.ends_with(end))
        || name.windows(4).any(|part| part == b".so.")
}

fn find_library(name: &[u8], folders: &[PathBuf], statically: bool) -> Option<PathBuf> {
    let names: Vec<OsString> = match name.strip_prefix(b":") {
        Some(exact) => vec![OsStr::from_bytes(exact).into()],
        None => {
            let ends: &[&[u8]] = if statically { &[b".a"] } else { &[b".so", b".a"] };
            ends.iter().map(|end| OsString::from_vec([b"lib", name, end].concat())).collect()
        }
    };
    folders
        .iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|path| path.is_file())
}

/// A response file's arguments: separated by white space, quoted by backslashes and quotes.
pub(crate) fn parse_response_file(contents: &[u8]) -> Vec<OsString> {
    let mut all = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = contents.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => word.get_or_insert_default().extend(bytes.next()),
            (_, Some(open)) if byte == open => quote = None,
            (b'"' | b'\'', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (_, None) if byte.is_ascii_whitespace() => all.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    all.extend(word);
    all.into_iter().map(OsString::from_vec).collect()
}

pub(crate) fn response_file(arguments: &[OsString]) -> Vec<u8> {
    let mut contents = Vec::new();
    for argument in arguments {
        for &byte in argument.as_bytes() {
            if byte.is_ascii_whitespace() || matches!(byte, b'\\' | b'"' | b'\'') {
                contents.push(b'\\');
            }
            contents.push(byte);
        }
        contents.push(b'\n');
    }
    contents
}

#[cfg(test)]
mod tests;
