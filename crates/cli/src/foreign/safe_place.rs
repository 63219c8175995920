//! Where a thread can be borrowed: where it may allocate memory, load libraries and make threads.
//!
//! It may not where it holds, or is about to get, a lock that these take: inside the allocator, the dynamic
//! linker, the C library's other insides, or a library that stands in for one of them. What cannot be told
//! from those is no safe place. So that leaves two:
//!
//! * The thread waits in a function of the C library that is known to hold nothing while it waits, and was
//!   called by the program or a library of it.
//! * The thread runs code of the program that the Rust compiler made, and so did all its callers.
//!
//! What called the thread's first function is the C library again, in both.

use super::library::Library;
use super::maps::{Mapping, Maps};
use super::stack::Stack;
use livepatch_object::address::RuntimeAddress;

/// Functions that hold nothing while they wait, and go on waiting when they were interrupted: functions that
/// wait for a signal are not among them.
const WAITING: [&str; 24] = [
    "accept",
    "accept4",
    "clock_nanosleep",
    "connect",
    "epoll_wait",
    "nanosleep",
    "poll",
    "pthread_clockjoin_np",
    "pthread_cond_clockwait",
    "pthread_cond_timedwait",
    "pthread_cond_wait",
    "pthread_join",
    "pthread_timedjoin_np",
    "read",
    "readv",
    "recv",
    "recvfrom",
    "recvmsg",
    "select",
    "sleep",
    "syscall",
    "usleep",
    "wait4",
    "waitpid",
];

/// What is needed to judge.
pub struct Judge<'a> {
    maps: &'a Maps,
    libc: Library,
    /// The name of the program's function at an address, as its symbol table has it.
    program: &'a dyn Fn(RuntimeAddress) -> Option<String>,
    /// The program's file.
    inode: u64,
}

/// What code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Program,
    CLibrary,
    DynamicLinker,
    OtherLibrary,
    /// Made at run time, or the kernel's.
    Unknown,
}

impl<'a> Judge<'a> {
    /// For a process with that C library, whose program is the file with that inode.
    pub fn new(
        maps: &'a Maps,
        libc: Library,
        inode: u64,
        program: &'a dyn Fn(RuntimeAddress) -> Option<String>,
    ) -> Self {
        Self { maps, libc, program, inode }
    }

    /// Says what the thread does, for people, if it can be borrowed.
    pub fn place(&self, stack: &Stack) -> Option<String> {
        if !stack.whole {
            return None;
        }
        let kinds: Vec<Kind> = stack.frames.iter().map(|&at| self.kind(at)).collect();
        let (frames, kinds) = without_start(&stack.frames, &kinds)?;
        let waits = kinds.iter().take_while(|&&kind| kind == Kind::CLibrary).count();
        let callers = kinds.get(waits..).filter(|callers| !callers.is_empty())?;
        let Some(call) = waits.checked_sub(1) else {
            let is_rust = |&at: &RuntimeAddress| (self.program)(at).is_some_and(|name| is_rust(&name));
            let all = callers.iter().all(|&kind| kind == Kind::Program) && frames.iter().all(is_rust);
            return all.then(|| "runs".to_owned());
        };
        let known = |kind: &Kind| matches!(kind, Kind::Program | Kind::OtherLibrary);
        let name = self.libc.names_at(*frames.get(call)?).find(|name| WAITING.contains(name))?;
        callers.iter().all(known).then(|| format!("waits in `{name}`"))
    }

    fn kind(&self, address: RuntimeAddress) -> Kind {
        let Some(mapping) = self.maps.at(address) else { return Kind::Unknown };
        match mapping {
            Mapping { inode: 0, .. } => Kind::Unknown,
            Mapping { inode, .. } if *inode == self.inode => Kind::Program,
            mapping if mapping.file_name() == "libc.so.6" => Kind::CLibrary,
            mapping if mapping.file_name().starts_with("ld-linux") => Kind::DynamicLinker,
            _ => Kind::OtherLibrary,
        }
    }
}

/// The frames above those in which a thread starts: the C library's, and what called that at the very
/// beginning.
fn without_start<'f>(
    frames: &'f [RuntimeAddress],
    kinds: &'f [Kind],
) -> Option<(&'f [RuntimeAddress], &'f [Kind])> {
    let mut end = kinds.len();
    // `_start`, in the first thread.
    if end >= 2 && kinds[end - 1] == Kind::Program && kinds[end - 2] == Kind::CLibrary {
        end -= 1;
    }
    let start = kinds[..end].iter().rposition(|&kind| kind != Kind::CLibrary)? + 1;
    (start < end).then(|| (&frames[..start], &kinds[..start]))
}

/// Whether a symbol is one that the Rust compiler made of a path, or its `main`. (C++ mangles alike, but for
/// the hash in the end.)
fn is_rust(symbol: &str) -> bool {
    let hash = symbol.strip_suffix('E').and_then(|rest| rest.get(rest.len().checked_sub(19)?..));
    let legacy = symbol.starts_with("_ZN") && hash.is_some_and(|hash| hash.starts_with("17h"));
    symbol == "main" || symbol.starts_with("_R") || legacy
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{CLibrary as C, DynamicLinker as L, OtherLibrary as O, Program as P, Unknown as U};

    fn start(kinds: &[Kind]) -> Option<usize> {
        let frames: Vec<RuntimeAddress> = (0..kinds.len() as u64).map(RuntimeAddress).collect();
        without_start(&frames, kinds).map(|(frames, rest)| {
            assert_eq!(frames.len(), rest.len());
            rest.len()
        })
    }

    #[test]
    fn a_thread_starts_in_the_c_library() {
        assert_eq!(start(&[C, C, P, P, C, C, P]), Some(4), "the first thread");
        assert_eq!(start(&[C, P, O, P, C, C]), Some(4), "another");
        assert_eq!(start(&[P, P, C]), Some(2));
        assert_eq!(start(&[C, P, P]), None, "not begun by the C library");
        assert_eq!(start(&[C, C]), None);
        assert_eq!(start(&[C, L, U, C]), Some(3));
        assert_eq!(start(&[]), None);
    }

    #[test]
    fn rust_is_told_from_other_languages() {
        assert!(is_rust("_ZN3app4main17h0123456789abcdefE") && is_rust("_RNvC3app4main") && is_rust("main"));
        assert!(!is_rust("_ZN3foo3barEv") && !is_rust("_ZNE") && !is_rust("E"));
        assert!(!is_rust("malloc") && !is_rust("je_malloc") && !is_rust("_start"));
    }
}
