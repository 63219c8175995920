//! Which methods are running: their records are on the stacks of threads.
//!
//! A body that runs finds what it refers to through its method's record, and so would go on with another file's
//! tables if that record changed. Frames of the interpreter and of compiled code name their record by its address,
//! on the thread's own stack: where no word of a stack is the address, the method is not running there. (The other
//! way round, a word may be left over, or be an id in native code.)

use super::memory::RecordAddress;
use super::{kernel, maps};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Stacks are read in pieces of so many bytes.
const PIECE: usize = 64 << 10;

/// Whether other threads run a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Running {
    /// None does.
    Nowhere,
    /// This one may be on some stack.
    Somewhere(RecordAddress),
    /// A thread is in native code and on a processor, or the kernel does not know its stack, because it is an
    /// emulator's thread: where its stack ends cannot be told.
    Unknown,
}

/// Looks at all threads but this one, which wait, or are in native code.
pub(super) fn running(records: &[RecordAddress]) -> Running {
    look(records).unwrap_or(Running::Unknown)
}

fn look(records: &[RecordAddress]) -> io::Result<Running> {
    let _readable = kernel::Readable::new()?;
    let own = std::fs::read_link("/proc/thread-self")?;
    let maps = maps::read()?;
    let memory = File::open("/proc/self/mem")?;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.file_name();
        if own.file_name() == Some(&task) {
            continue;
        }
        let Some(pointer) = stack_pointer(&Path::new("/proc/self/task").join(&task)) else {
            return Ok(Running::Unknown);
        };
        // A thread that ends has no stack any more.
        if pointer == 0 {
            continue;
        }
        let Some(mapping) = maps::at(&maps, pointer) else { return Ok(Running::Unknown) };
        let end = mapping.range.end;
        // A mapping may go on behind a thread's stack with something else.
        let control = task.to_str().and_then(|task| kernel::robust_list(task.parse().ok()?));
        let end = control.filter(|control| (pointer..end).contains(control)).unwrap_or(end);
        if let Some(found) = search(&memory, pointer, end, records)? {
            return Ok(Running::Somewhere(found));
        }
    }
    Ok(Running::Nowhere)
}

/// Where a waiting thread's stack ends: the last but one word of `syscall` (proc(5)).
fn stack_pointer(task: &Path) -> Option<u64> {
    for _ in 0..20 {
        let text = std::fs::read_to_string(task.join("syscall")).ok()?;
        let word = text.split_whitespace().rev().nth(1).and_then(|word| word.strip_prefix("0x"));
        if let Some(pointer) = word.and_then(|word| u64::from_str_radix(word, 16).ok()) {
            return Some(pointer);
        }
        // "running"
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    None
}

/// Searches a stack, upwards.
fn search(memory: &File, from: u64, to: u64, records: &[RecordAddress]) -> io::Result<Option<RecordAddress>> {
    let mut at = from.next_multiple_of(WORD as u64);
    let mut piece = vec![0; PIECE];
    while at + WORD as u64 <= to {
        let length = PIECE.min(usize::try_from(to - at).unwrap_or(PIECE)) / WORD * WORD;
        memory.read_exact_at(&mut piece[..length], at)?;
        let mut words = piece[..length].chunks_exact(WORD).map(word);
        let found = words.find_map(|word| records.iter().find(|record| record.as_usize() == word));
        if let Some(found) = found {
            return Ok(Some(*found));
        }
        at += length as u64;
    }
    Ok(None)
}

const WORD: usize = size_of::<usize>();

fn word(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}
