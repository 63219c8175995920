//! Having a thread of another process load the agent, and call its entry.
//!
//! A thread is looked for that stands at a safe place (`safe_place`). It is stopped, given code and a stack
//! of its own (`livepatch_proto::attach::block`), and sent there while all others run on; then it is put
//! back to the instruction. Its signals wait meanwhile.

use super::library::{Library, code_of};
use super::maps::Maps;
use super::memory::Memory;
use super::safe_place::Judge;
use super::stack::Unwinding;
use super::status::threads;
use super::trace::{Stopped, TraceError};
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::attach::block::{
    AGENT, ANSWER, CALLED, CODE, DLERROR, DLOPEN, DLSYM, ENTRY, MASK, NAME, NAP, REGISTERS, SIZE, SOCKET,
    STAGE, TEXT, TEXT_SIZE, TOKEN, VECTORS,
};
use livepatch_proto::{Token, attach};
use std::cell::OnceCell;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a thread at a safe place is looked for.
const SEARCH: Duration = Duration::from_secs(5);
/// How often it is looked for when real-time signals come between.
const TRIES: usize = 20;
const SEARCH_PAUSE: Duration = Duration::from_millis(10);
/// How long the call may take: the dynamic linker may have to wait for other threads.
const CALL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_micros(500);

// Linux on x86-64, by number.
const SYS_MMAP: u64 = 9;
const SYS_MPROTECT: u64 = 10;
const SYS_MUNMAP: u64 = 11;
const SYS_SIGPROCMASK: u64 = 14;
const SIG_SETMASK: u64 = 2;
const PROT_READ_WRITE: u64 = 3;
const PROT_READ_EXEC: u64 = 5;
const MAP_PRIVATE_ANONYMOUS: u64 = 0x22;
/// All signals but those that a thread's own instructions raise: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV.
const ASYNCHRONOUS: u64 = !(1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10);
/// What lies below a stack pointer belongs to the function that is there (psABI, "The red zone"), and a
/// little more is left to be careful.
const RED_ZONE: u64 = 256;

/// What is to be called.
#[derive(Debug)]
pub struct Call<'a> {
    /// The code of `livepatch_borrowed`.
    pub code: &'a [u8],
    /// The entry of the agent, if one is loaded.
    pub entry: Option<RuntimeAddress>,
    /// The agent's file, to be loaded otherwise.
    pub agent: &'a Path,
    /// The socket that the agent is to dial.
    pub socket: &'a Path,
    /// The session's secret.
    pub token: &'a Token,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Called {
    /// The thread that was borrowed.
    pub thread: u32,
    /// Where it stood.
    pub place: String,
    /// What the entry answered.
    pub answer: i32,
    /// For how long the thread was away.
    pub took: Duration,
}

/// No thread could be borrowed, or the call failed.
#[derive(Debug, thiserror::Error)]
pub enum BorrowError {
    /// A thread could not be stopped.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// No thread was at a safe place.
    #[error("no thread of it came to a place where it could load the agent within {} s", SEARCH.as_secs())]
    NoSafePlace,
    /// It is not linked with glibc dynamically.
    #[error("it has no C library loaded (libc.so.6)")]
    NoCLibrary,
    /// The agent was not loaded.
    #[error("its dynamic linker did not load the agent: {said}")]
    NotLoaded {
        /// What the dynamic linker said.
        said: String,
    },
    /// The thread is not back yet.
    #[error("the thread {thread} that was to load the agent is not back yet")]
    Away {
        /// Which.
        thread: u32,
    },
    /// It has no memory for it.
    #[error("it gave no memory for the call (errno {errno})")]
    NoMemory {
        /// What the kernel said.
        errno: u64,
    },
    /// A path is too long.
    #[error("the path {path} is too long")]
    TooLong {
        /// Which.
        path: String,
    },
    /// Its memory or its state could not be read or written.
    #[error("it cannot be looked at")]
    Io(#[from] io::Error),
}

/// Borrows a thread of a process, which runs the file with that inode, for a call.
pub fn call(pid: u32, inode: u64, call: &Call<'_>) -> Result<Called, BorrowError> {
    // The tracer is a thread, which lets go when it ends.
    let search = || {
        std::thread::scope(|scope| {
            let tracer = scope.spawn(|| search(pid, inode, call));
            tracer.join().unwrap_or_else(|_| Err(io::Error::other("the tracing thread panicked").into()))
        })
    };
    for _ in 0..TRIES {
        match search() {
            Err(BorrowError::Trace(TraceError::RealTime)) => {}
            outcome => return outcome,
        }
    }
    Err(TraceError::RealTime.into())
}

fn search(pid: u32, inode: u64, call: &Call<'_>) -> Result<Called, BorrowError> {
    let since = Instant::now();
    let memory = Memory::open_writable(pid)?;
    let symbols = OnceCell::new();
    loop {
        let maps = Maps::read(pid)?;
        let code = code_of(&maps, "libc.so.6").ok_or(BorrowError::NoCLibrary)?;
        let libc = Library::read(&maps, code).ok_or(BorrowError::NoCLibrary)?;
        let library = CLibrary::find(&libc, &memory).ok_or(BorrowError::NoCLibrary)?;
        let name = |address| {
            let program = || Library::read_all(&maps, maps.iter().find(|mapping| mapping.inode == inode)?);
            symbols.get_or_init(program).as_ref()?.names_at(address).next().map(str::to_owned)
        };
        let judge = Judge::new(&maps, libc, inode, &name);
        let mut unwinding = Unwinding::new(&maps, &memory);
        for thread in threads(pid)? {
            let stopped = match Stopped::stop(thread) {
                Ok(stopped) => stopped,
                Err(TraceError::Ended | TraceError::Unresponsive | TraceError::Interrupted) => continue,
                Err(error) => return Err(error.into()),
            };
            let stack = unwinding.stack(stopped.registers());
            let Some(place) = judge.place(&stack) else {
                stopped.release()?;
                continue;
            };
            let begun = Instant::now();
            let borrowed = match Borrowed::take(stopped, &memory, &library) {
                Err(BorrowError::Trace(TraceError::Interrupted | TraceError::Ended)) => continue,
                other => other?,
            };
            let answer = borrowed.call(thread, call)?;
            return Ok(Called { thread, place, answer, took: begun.elapsed() });
        }
        if since.elapsed() > SEARCH {
            return Err(BorrowError::NoSafePlace);
        }
        std::thread::sleep(SEARCH_PAUSE);
    }
}

/// What is used of the C library.
struct CLibrary {
    /// A `syscall` instruction.
    system_call: RuntimeAddress,
    dlopen: RuntimeAddress,
    dlsym: RuntimeAddress,
    dlerror: RuntimeAddress,
}

impl CLibrary {
    fn find(libc: &Library, memory: &Memory) -> Option<Self> {
        let function = |name: &str| Some(libc.function(name)?.start);
        let range = libc.function("syscall")?;
        let mut code = vec![0; usize::try_from(range.end.checked_since(range.start)?).ok()?];
        memory.read(range.start, &mut code).ok()?;
        let at = code.windows(2).position(|bytes| bytes == [0x0f, 0x05])?;
        Some(Self {
            system_call: range.start.checked_add(at as u64)?,
            dlopen: function("dlopen")?,
            dlsym: function("dlsym")?,
            dlerror: function("dlerror")?,
        })
    }
}

/// A thread that is stopped, whose signals wait.
struct Borrowed<'a> {
    stopped: Stopped,
    memory: &'a Memory,
    library: &'a CLibrary,
    /// Its own signal mask.
    mask: u64,
    /// Where a word of its stack can be used.
    scratch: RuntimeAddress,
}

impl<'a> Borrowed<'a> {
    fn take(mut stopped: Stopped, memory: &'a Memory, library: &'a CLibrary) -> Result<Self, BorrowError> {
        let scratch = stopped.registers().sp.0.saturating_sub(RED_ZONE) & !15;
        let (new, old) = (RuntimeAddress(scratch), scratch + 8);
        if let Err(error) = memory.write(new, &ASYNCHRONOUS.to_le_bytes()) {
            stopped.release()?;
            return Err(error.into());
        }
        let arguments = [SIG_SETMASK, new.0, old, 8, 0, 0];
        stopped.system_call(library.system_call, SYS_SIGPROCMASK, arguments)?;
        let mask = memory.word(RuntimeAddress(old))?;
        Ok(Self { stopped, memory, library, mask, scratch: new })
    }

    fn system_call(&mut self, number: u64, arguments: [u64; 6]) -> Result<u64, BorrowError> {
        let result = self.stopped.system_call(self.library.system_call, number, arguments)?;
        match result.wrapping_neg() {
            errno @ 1..=4095 => Err(BorrowError::NoMemory { errno }),
            _ => Ok(result),
        }
    }

    fn call(mut self, thread: u32, call: &Call<'_>) -> Result<i32, BorrowError> {
        let length = (CODE + SIZE) as u64;
        let outcome = match self
            .system_call(SYS_MMAP, [0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, u64::MAX, 0])
        {
            Ok(region) => {
                let outcome = self.call_in(region, thread, call);
                if matches!(outcome, Err(BorrowError::Away { .. })) {
                    // It puts itself back, some time.
                    return outcome;
                }
                self.system_call(SYS_MUNMAP, [region, length, 0, 0, 0, 0]).and(outcome)
            }
            Err(error) => Err(error),
        };
        self.give_back().and(outcome)
    }

    fn call_in(&mut self, region: u64, thread: u32, call: &Call<'_>) -> Result<i32, BorrowError> {
        let (registers, goes_on) = self.stopped.own_registers();
        let block = region + CODE as u64;
        let mut code = call.code.to_vec();
        let last = code.len().saturating_sub(8);
        code[last..].copy_from_slice(&goes_on.to_le_bytes());
        self.memory.write(RuntimeAddress(region), &code)?;
        let contents = contents(call, self.library, self.mask, &registers)?;
        self.memory.write(RuntimeAddress(block), &contents)?;
        self.system_call(SYS_MPROTECT, [region, CODE as u64, PROT_READ_EXEC, 0, 0, 0])?;
        self.stopped.go_to(RuntimeAddress(region), RuntimeAddress(block + SIZE as u64), block)?;
        let word = |offset: usize| self.memory.word(RuntimeAddress(block + offset as u64));
        let since = Instant::now();
        let stage = loop {
            match word(STAGE)? {
                0 if !self.stopped.attend() => return Err(TraceError::Ended.into()),
                0 if since.elapsed() > CALL => return Err(BorrowError::Away { thread }),
                0 => std::thread::sleep(POLL),
                stage => break stage,
            }
        };
        let answer = word(ANSWER)?;
        let mut text = vec![0; TEXT_SIZE];
        self.memory.read(RuntimeAddress(block + TEXT as u64), &mut text)?;
        self.stopped.stop_again()?;
        if stage == CALLED {
            // The answer is an `int`: the register's upper half is anything.
            #[expect(clippy::cast_possible_truncation, reason = "see above")]
            return Ok((answer as u32).cast_signed());
        }
        let said = text.split(|&byte| byte == 0).next().unwrap_or_default();
        Err(BorrowError::NotLoaded { said: String::from_utf8_lossy(said).into_owned() })
    }

    /// The thread goes on where it stood.
    fn give_back(mut self) -> Result<(), BorrowError> {
        self.memory.write(self.scratch, &self.mask.to_le_bytes())?;
        self.system_call(SYS_SIGPROCMASK, [SIG_SETMASK, self.scratch.0, 0, 8, 0, 0])?;
        Ok(self.stopped.release()?)
    }
}

/// The block up to the vector registers.
fn contents(
    call: &Call<'_>,
    library: &CLibrary,
    mask: u64,
    registers: &[u64; 17],
) -> Result<Vec<u8>, BorrowError> {
    let mut block = vec![0; VECTORS];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let words = [
        (ENTRY, call.entry.map_or(0, |entry| entry.0)),
        (DLOPEN, library.dlopen.0),
        (DLSYM, library.dlsym.0),
        (DLERROR, library.dlerror.0),
        (MASK, mask),
        (NAP, 0),
        (NAP + 8, 1_000_000),
    ];
    words.iter().for_each(|(at, word)| put(*at, &word.to_le_bytes()));
    for (number, register) in registers.iter().enumerate() {
        put(REGISTERS + number * 8, &register.to_le_bytes());
    }
    put(TOKEN, call.token.to_hex().as_bytes());
    put(NAME, attach::ENTRY.as_bytes());
    for (at, end, path) in [(SOCKET, TEXT, call.socket), (AGENT, VECTORS, call.agent)] {
        let bytes = path.as_os_str().as_bytes();
        // One byte stays zero: the path's end.
        if at + bytes.len() >= end {
            return Err(BorrowError::TooLong { path: path.display().to_string() });
        }
        put(at, bytes);
    }
    Ok(block)
}
