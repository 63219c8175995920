//! Which files a process has mapped, and where (proc_pid_maps(5)).

use livepatch_object::address::{FileOffset, RuntimeAddress};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The mappings of a process, ascending.
#[derive(Debug)]
pub struct Maps {
    pid: u32,
    mappings: Vec<Mapping>,
}

/// A range of memory that is mapped alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Its addresses.
    pub range: Range<RuntimeAddress>,
    /// Where in the file it begins.
    pub offset: FileOffset,
    /// Whether code there can be executed.
    pub executable: bool,
    /// The file's inode; 0 where there is no file.
    pub inode: u64,
    /// The file's path, or a name in brackets.
    pub path: String,
}

impl Mapping {
    /// The last part of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

impl Maps {
    /// Reads the mappings of a process.
    pub fn read(pid: u32) -> io::Result<Self> {
        let text = std::fs::read(format!("/proc/{pid}/maps"))?;
        Ok(Self { pid, mappings: String::from_utf8_lossy(&text).lines().filter_map(parse).collect() })
    }

    /// All mappings.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter()
    }

    /// The mapping that an address lies in.
    pub fn at(&self, address: RuntimeAddress) -> Option<&Mapping> {
        let after = self.mappings.partition_point(|mapping| mapping.range.start <= address);
        self.mappings[..after].last().filter(|mapping| address < mapping.range.end)
    }

    /// Opens the file of a mapping: the very one, even if another has its name by now.
    pub fn open(&self, mapping: &Mapping) -> io::Result<File> {
        let names = [PathBuf::from(format!("/proc/{}/exe", self.pid)), PathBuf::from(&mapping.path)];
        for name in names {
            if let Ok(file) = File::open(name)
                && file.metadata()?.ino() == mapping.inode
            {
                return Ok(file);
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

fn parse(line: &str) -> Option<Mapping> {
    let (addresses, rest) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let mut rest = rest.splitn(5, ' ');
    let (protection, offset, _device, inode) = (rest.next()?, rest.next()?, rest.next()?, rest.next()?);
    Some(Mapping {
        range: RuntimeAddress(hex(start)?)..RuntimeAddress(hex(end)?),
        offset: FileOffset(hex(offset)?),
        executable: protection.as_bytes().get(2) == Some(&b'x'),
        inode: inode.parse().ok()?,
        path: rest.next().unwrap_or_default().trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = "7f0c4d200000-7f0c4d222000 r-xp 00001000 fd:00 1234       /a folder/lib c.so (deleted)";
        let mapping = parse(line).unwrap();
        assert_eq!(mapping.range, RuntimeAddress(0x7f0c_4d20_0000)..RuntimeAddress(0x7f0c_4d22_2000));
        assert_eq!((mapping.offset, mapping.inode, mapping.executable), (FileOffset(0x1000), 1234, true));
        assert_eq!(mapping.path, "/a folder/lib c.so (deleted)");
        let anonymous = parse("00400000-00401000 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!((anonymous.inode, anonymous.executable, &*anonymous.path), (0, false, ""));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn this_program_is_found_in_its_own_memory() {
        let maps = Maps::read(std::process::id()).unwrap();
        let here = RuntimeAddress(parse as *const () as u64);
        let mapping = maps.at(here).unwrap();
        assert!(mapping.executable && mapping.range.contains(&here));
        let file = maps.open(mapping).unwrap().metadata().unwrap();
        assert_eq!(file.ino(), std::env::current_exe().unwrap().metadata().unwrap().ino());
        assert!(maps.at(RuntimeAddress(8)).is_none());
    }
}
