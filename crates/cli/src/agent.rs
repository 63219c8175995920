//! What this command carries inside itself for programs: the agent, and the dynamic linker for patch libraries.

mod cross;

use crate::arguments::At;
use crate::error::Failure;
use crate::private_dir::PrivateDir;
use crate::project::Project;
use livepatch_build::capture::{Folders, write_atomically};
use livepatch_proto::attach::block::{BORROWED, CODE};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

static AGENT: &[u8] = include_bytes!(env!("LIVEPATCH_AGENT_FILE"));
static LINKER: &[u8] = include_bytes!(env!("LIVEPATCH_LINKER_FILE"));

/// Environment variable: another agent than the one inside this command, for work on the agent.
const OVERRIDE_VARIABLE: &str = "LIVEPATCH_AGENT";

/// The target whose programs take the agent inside this command.
pub const OWN_TRIPLE: &str = env!("LIVEPATCH_HOST_TRIPLE");

/// Puts the agent for programs of a target where it can be preloaded from: `LD_PRELOAD` takes no path with a
/// space or a colon. One that is not inside this command is built, once; `say` is told so.
pub fn place(
    project: &Project,
    private: &PrivateDir,
    triple: &str,
    at: &At,
    say: impl FnOnce(&str),
) -> Result<PathBuf, Failure> {
    let link = private.path().join("agent.so");
    let cannot_write = || Failure::system("cannot write the agent");
    let agent = if triple == OWN_TRIPLE || std::env::var_os(OVERRIDE_VARIABLE).is_some() {
        path(&project.folders).map_err(cannot_write())?
    } else {
        cross::path(project, triple, at, say)?
    };
    std::os::unix::fs::symlink(agent, &link).map_err(cannot_write())?;
    Ok(link)
}

/// The code that a thread runs which is to load the agent (`livepatch_proto::attach::block`).
pub fn borrowed_code(agent: &Path) -> Option<Vec<u8>> {
    let file = std::fs::read(agent).ok()?;
    let elf = object::read::elf::ElfFile64::<object::LittleEndian>::parse(&*file).ok()?;
    let mut symbols = elf.dynamic_symbols().filter(|symbol| symbol.name() == Ok(BORROWED));
    let symbol = symbols.next()?;
    let code =
        elf.sections().find_map(|section| section.data_range(symbol.address(), symbol.size()).ok()?)?;
    (code.len() <= CODE).then(|| code.to_vec())
}

/// The path of the agent, written out where that was not done before.
pub fn path(folders: &Folders) -> io::Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE_VARIABLE) {
        return std::path::absolute(path);
    }
    written(folders, "agent", AGENT)
}

/// The path of the dynamic linker that patch libraries are loaded with, for programs of this machine.
pub fn linker(folders: &Folders) -> io::Result<PathBuf> {
    written(folders, "linker", LINKER)
}

fn written(folders: &Folders, name: &str, library: &[u8]) -> io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    library.hash(&mut hasher);
    let path = folders.root().join(format!("{name}-{:016x}.so", hasher.finish()));
    let is_there = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == library.len() as u64);
    if !is_there {
        std::fs::create_dir_all(folders.root())?;
        write_atomically(&path, library)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_object_is_written_once() {
        assert!(AGENT.starts_with(b"\x7fELF"));
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::in_target(dir.path());
        let first = path(&folders).unwrap();
        let time = std::fs::metadata(&first).unwrap().modified().unwrap();
        assert_eq!(path(&folders).unwrap(), first);
        assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), time);
        assert_eq!(std::fs::read(&first).unwrap(), AGENT);
    }

    #[test]
    fn it_has_code_for_borrowed_threads() {
        let dir = tempfile::tempdir().unwrap();
        let code = borrowed_code(&path(&Folders::in_target(dir.path())).unwrap()).unwrap();
        // It jumps to where its last eight bytes say: `jmp *0(%rip)`.
        let (code, target) = code.split_at(code.len() - 8);
        assert!(code.ends_with(&[0xff, 0x25, 0, 0, 0, 0]));
        assert_eq!(target, [0; 8]);
    }
}
