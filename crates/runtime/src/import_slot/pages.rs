//! Stores to pages that may be read-only. Hazard: what pages allow is the process's, and changed for a moment.

use super::Word;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while any page allows more than it should. Without it, one thread would make a page read-only again that
/// another is about to store to.
static CHANGING: Mutex<()> = Mutex::new(());

fn hold() -> MutexGuard<'static, ()> {
    CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stores to all of these words, or to none.
pub(super) fn store_all(changes: &[(Word, usize)]) -> io::Result<()> {
    let _held = hold();
    let opened = Opened::new(changes.iter().map(|(word, _)| *word))?;
    for (word, value) in changes {
        // SAFETY: its page is writable as long as `opened` lives. What the value means is the promise of those who
        // call `Found::rebind`.
        unsafe { word.store(*value) };
    }
    drop(opened);
    Ok(())
}

/// Changes words that hold what is expected; how many did.
pub(super) fn exchange_all(changes: &[(Word, usize, usize)]) -> io::Result<usize> {
    let _held = hold();
    let opened = Opened::new(changes.iter().map(|(word, ..)| *word))?;
    let mut exchanged = 0;
    for &(word, old, new) in changes {
        // SAFETY: as in `store_all`; `new` is what the slot held before.
        exchanged += usize::from(unsafe { word.exchange(old, new) }.is_ok());
    }
    drop(opened);
    Ok(exchanged)
}

/// Pages that were made writable, until this is dropped.
struct Opened {
    pages: Vec<(usize, i32)>,
    size: usize,
}

impl Opened {
    /// To be called with the lock held.
    fn new(words: impl Iterator<Item = Word>) -> io::Result<Self> {
        let size = page_size();
        let mut pages: Vec<usize> = words.map(|word| word.address() & !(size - 1)).collect();
        pages.sort_unstable();
        pages.dedup();
        let mut opened = Self { pages: Vec::new(), size };
        if pages.is_empty() {
            return Ok(opened);
        }
        let maps = maps()?;
        let areas: Vec<_> = String::from_utf8_lossy(&maps).lines().filter_map(area).collect();
        for page in pages {
            let (_, protection) =
                areas.iter().find(|(range, _)| range.contains(&page)).ok_or(io::ErrorKind::NotFound)?;
            if protection & libc::PROT_WRITE == 0 {
                // What was opened before is closed if this fails: `opened` is dropped.
                protect(page, size, protection | libc::PROT_WRITE)?;
                opened.pages.push((page, *protection));
            }
        }
        Ok(opened)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for &(page, protection) in &self.pages {
            // It was so before; that it cannot be so again has no reason that is known, and leaves it writable.
            let _ = protect(page, self.size, protection);
        }
    }
}

/// All of `/proc/self/maps`, without the standard library's files: what programs have no use for otherwise, their
/// patches cannot always bring, and code of this crate may be in the same object as what they need.
fn maps() -> io::Result<Vec<u8>> {
    const STEP: usize = 1 << 16;
    // SAFETY: a text; the descriptor that is returned is closed below, and used by nobody else.
    let file = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut all = Vec::new();
    let result = loop {
        let length = all.len();
        all.resize(length + STEP, 0);
        // SAFETY: an open descriptor, and room for so many bytes behind the first `length`.
        let got = unsafe { libc::read(file, all.as_mut_ptr().add(length).cast(), STEP) };
        let error = io::Error::last_os_error();
        all.truncate(length + usize::try_from(got).unwrap_or(0));
        match got {
            0 => break Ok(all),
            1.. => {}
            _ if error.raw_os_error() == Some(libc::EINTR) => {}
            _ => break Err(error),
        }
    };
    // SAFETY: opened above.
    unsafe { libc::close(file) };
    result
}

fn page_size() -> usize {
    // SAFETY: it takes any number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn protect(page: usize, size: usize, protection: i32) -> io::Result<()> {
    // SAFETY: a page with a slot, which stays mapped while its `Word` is used. It allows what it did, and to be
    // written to while the lock is held: nobody counts on a fault meanwhile.
    match unsafe { libc::mprotect(page as *mut libc::c_void, size, protection) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A line of `/proc/self/maps`.
fn area(line: &str) -> Option<(Range<usize>, i32)> {
    let mut words = line.split(' ');
    let (start, end) = words.next()?.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    let letters = words.next()?.as_bytes();
    let bit = |index: usize, letter, bit| if letters.get(index) == Some(&letter) { bit } else { 0 };
    let protection =
        bit(0, b'r', libc::PROT_READ) | bit(1, b'w', libc::PROT_WRITE) | bit(2, b'x', libc::PROT_EXEC);
    Some((range, protection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let line = "7f00deadb000-7f00deadd000 r--p 00002000 08:01 1234   /usr/lib/x.so";
        assert_eq!(area(line), Some((0x7f00_dead_b000..0x7f00_dead_d000, libc::PROT_READ)));
        let line = "00400000-00401000 rwxs 00000000 00:00 0";
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        assert_eq!(area(line), Some((0x40_0000..0x40_1000, all)));
        assert_eq!(area("nothing"), None);
    }
}
