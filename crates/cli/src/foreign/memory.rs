//! The memory of another process (proc_pid_mem(5)).

use livepatch_object::address::RuntimeAddress;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A process's memory.
#[derive(Debug)]
pub struct Memory {
    file: File,
}

impl Memory {
    /// Opens the memory of a process for reading. Who may is said in ptrace(2).
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self { file: File::open(format!("/proc/{pid}/mem"))? })
    }

    /// Opens it for writing as well.
    pub fn open_writable(pid: u32) -> io::Result<Self> {
        Ok(Self { file: File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))? })
    }

    /// Writes bytes at `address`, whatever the protection there.
    pub fn write(&self, address: RuntimeAddress, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, address.0)
    }

    /// Fills `buffer` with what is at `address`.
    pub fn read(&self, address: RuntimeAddress, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, address.0)
    }

    /// The word at `address`.
    pub fn word(&self, address: RuntimeAddress) -> io::Result<u64> {
        let mut word = [0; 8];
        self.read(address, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_holes_are_errors() {
        static WORD: u64 = 0x1122_3344_5566_7788;
        let memory = Memory::open(std::process::id()).unwrap();
        assert_eq!(memory.word(RuntimeAddress(&raw const WORD as u64)).unwrap(), WORD);
        assert!(memory.word(RuntimeAddress(8)).is_err());
    }
}
