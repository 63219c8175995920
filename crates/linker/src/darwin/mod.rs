//! What code for macOS expects of `libSystem`, on glibc (x86-64).
//!
//! Most functions have the same name, arguments and structures as glibc's, and lead there: `_malloc` to `malloc`,
//! `_fopen$DARWIN_EXTSN` to `fopen`. The others are here: those that glibc does not have, and those that it has and
//! that mean something else ([`livepatch_object::macho::hazard`] lists them). A name of that list that is not here is
//! nothing, so that whoever calls it is told its name: it is not passed on to a function that would misread it.
//!
//! ```no_run
//! use livepatch_linker::{darwin, macho};
//!
//! let linker = darwin::add_to(macho::Linker::builder()).build();
//! let library = linker.dlopen("libsodium.23.dylib", macho::Mode::Lazy)?;
//! # Ok::<(), macho::Error>(())
//! ```
//!
//! | module | what differs |
//! | --- | --- |
//! | `errno` | numbers of errors |
//! | `threads` | objects that are initialised statically begin with a signature; kinds and states |
//! | `locks` | `os_unfair_lock`, `OSAtomic*`, `dispatch_once` |
//! | `files` | flags of `open` and `fcntl`; `stat`, `dirent`, `flock`, `rlimit`, `utsname` |
//! | `memory` | flags of `mmap`, `madvise`; `memset_s`, `memset_pattern*`; zones |
//! | `sysctl`, `clocks` | `sysconf`, `sysctl`; numbers of clocks, Mach's times |
//! | `system` | random bytes, the program, what glibc has in its static part |
//! | `signals` | numbers, sets, `sigaction` |
//! | `text` | `_DefaultRuneLocale`, BSD's functions of texts |
//! | `math` | names of `libm`'s own |
//! | `cxx` | mutexes and condition variables of `libc++` |
//! | `dynamic` | `dlopen` and its kin, thread-locals' destructors |
//!
//! Each of these functions is called by code that was compiled for Apple's headers: what they say of its arguments is
//! what it promises.

mod clocks;
mod cxx;
mod dynamic;
mod errno;
mod files;
mod locks;
mod math;
mod memory;
mod signals;
mod sysctl;
mod system;
mod text;
mod threads;

use crate::macho::LinkerBuilder;
use crate::process;
use crate::provider::{Precedence, SymbolProvider};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::macho::hazard;
use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Arc, LazyLock};

/// Names, as C has them, and where they are.
type Symbols = Vec<(&'static str, *const ())>;

/// Lets a linker load images for macOS.
#[must_use]
pub fn add_to(builder: LinkerBuilder) -> LinkerBuilder {
    let others = OTHERS
        .iter()
        .fold(builder, |builder, other| builder.provider(Precedence::AsLibrary, Arc::new(other.clone())));
    others.provider(Precedence::AsLibrary, Arc::new(System))
}

/// The functions and variables of this module, in decimal addresses: pointers are not to be shared between threads.
static SYMBOLS: LazyLock<HashMap<&'static str, u64>> = LazyLock::new(|| {
    let all = [
        clocks::symbols(),
        cxx::symbols(),
        dynamic::symbols(),
        errno::symbols(),
        files::symbols(),
        locks::symbols(),
        math::symbols(),
        memory::symbols(),
        signals::symbols(),
        sysctl::symbols(),
        system::symbols(),
        text::symbols(),
        threads::symbols(),
        variables(),
    ];
    all.into_iter().flatten().map(|(name, at)| (name, at as u64)).collect()
});

/// glibc's libraries that have what `libSystem` has.
const HOSTS: [&CStr; 3] = [c"libc.so.6", c"libm.so.6", c"libgcc_s.so.1"];

unsafe extern "C" {
    static stdin: *const ();
    static stdout: *const ();
    static stderr: *const ();
}

/// Variables that code reads.
fn variables() -> Symbols {
    static GUARD: u64 = 0x6c76_7061_7463_6800;
    static TASK: u32 = 0x103;
    static PAGE: LazyLock<u64> = LazyLock::new(crate::page::size);
    static CLASS: [u64; 32] = [0; 32];
    vec![
        ("__stdinp", (&raw const stdin).cast()),
        ("__stdoutp", (&raw const stdout).cast()),
        ("__stderrp", (&raw const stderr).cast()),
        ("__stack_chk_guard", (&raw const GUARD).cast()),
        ("mach_task_self_", (&raw const TASK).cast()),
        ("vm_page_size", (&raw const *PAGE).cast()),
        ("vm_kernel_page_size", (&raw const *PAGE).cast()),
        ("_NSConcreteStackBlock", (&raw const CLASS).cast()),
        ("_NSConcreteGlobalBlock", (&raw const CLASS).cast()),
    ]
}

/// `libSystem` and everything else of the system's.
struct System;

impl SymbolProvider for System {
    fn name(&self) -> &str {
        "libSystem on glibc"
    }

    fn stands_for(&self, library: &str) -> bool {
        library.starts_with("/usr/lib/") || library.starts_with("/System/Library/")
    }

    fn find(&self, symbol: &str, _version: Option<&str>) -> Option<RuntimeAddress> {
        let name = symbol.strip_prefix('_')?;
        let own = |name: &str| SYMBOLS.get(name).map(|&at| RuntimeAddress(at));
        // A variant that differs has its own name here.
        if let Some(found) = own(name).or_else(|| own(plain(symbol)?)) {
            return Some(found);
        }
        if name.starts_with("_Unwind_") {
            return crate::macho::unwinder_function(name);
        }
        if hazard::hazard(symbol.as_bytes()).is_some() && !SAME_ENOUGH.contains(&plain(symbol)?) {
            return None;
        }
        host(plain(symbol)?)
    }
}

fn plain(symbol: &str) -> Option<&str> {
    hazard::plain_name(symbol.as_bytes()).and_then(|name| std::str::from_utf8(name).ok())
}

/// Functions of which only what nearly nobody uses differs: flags and fields that Linux does not have, attributes that
/// are 0 in both, sizes that are smaller here.
const SAME_ENOUGH: [&str; 12] = [
    "getopt",
    "getpriority",
    "getrusage",
    "localeconv",
    "poll",
    "pthread_attr_setinheritsched",
    "pthread_kill",
    "pthread_setcancelstate",
    "pthread_setcanceltype",
    "readlinkat",
    "sched_get_priority_max",
    "sched_get_priority_min",
];

/// What the program's own loader has under a name.
fn host(name: &str) -> Option<RuntimeAddress> {
    let libraries = || HOSTS.iter().find_map(|library| process::symbol_of(library, name.as_bytes()));
    process::default_symbol(name.as_bytes(), None).or_else(libraries)
}

/// A library that both systems have, by the beginning of its name there.
#[derive(Clone)]
struct Other {
    there: &'static str,
    here: &'static CStr,
    name: &'static str,
}

const OTHERS: [Other; 8] = [
    Other { there: "/usr/lib/libz.", here: c"libz.so.1", name: "libz.so.1" },
    Other { there: "/usr/lib/libbz2.", here: c"libbz2.so.1.0", name: "libbz2.so.1.0" },
    Other { there: "/usr/lib/liblzma.", here: c"liblzma.so.5", name: "liblzma.so.5" },
    Other { there: "/usr/lib/libsqlite3.", here: c"libsqlite3.so.0", name: "libsqlite3.so.0" },
    Other { there: "/usr/lib/libexpat.", here: c"libexpat.so.1", name: "libexpat.so.1" },
    Other { there: "/usr/lib/libffi.", here: c"libffi.so.8", name: "libffi.so.8" },
    // The library of LLVM's, whose names no other has.
    Other { there: "/usr/lib/libc++.", here: c"libc++.so.1", name: "libc++.so.1" },
    Other { there: "/usr/lib/libc++abi.", here: c"libc++abi.so.1", name: "libc++abi.so.1" },
];

impl SymbolProvider for Other {
    fn name(&self) -> &str {
        self.name
    }

    fn stands_for(&self, library: &str) -> bool {
        library.starts_with(self.there)
    }

    fn find(&self, symbol: &str, version: Option<&str>) -> Option<RuntimeAddress> {
        let name = symbol.strip_prefix('_')?;
        // Of a library that is not there, what the system has of it: `libc++` re-exports the C++ ABI, and `libstdc++`
        // has that, too.
        let abi = || {
            let is_abi = self.here == c"libc++.so.1" || self.here == c"libc++abi.so.1";
            is_abi.then(|| process::symbol_of(c"libstdc++.so.6", name.as_bytes())).flatten()
        };
        if let Some(&at) = SYMBOLS.get(name) {
            return Some(RuntimeAddress(at));
        }
        let found = process::symbol_of(self.here, name.as_bytes()).or_else(abi);
        found.or_else(|| System.find(symbol, version))
    }
}
